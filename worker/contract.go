package worker

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"time"
)

// Transport starts workers and speaks with them. It is the seam between the
// pool and a protocol: package frames is one, workertest has a fake.
type Transport interface {
	// Start starts one worker and returns when it can take calls.
	//
	// It fails with a *StartError when the worker cannot be started or says
	// that it cannot serve (a user module that does not import); everything
	// it started has ended by then. When ctx ends first, the worker is killed
	// and the context's error returned.
	Start(ctx context.Context, spec Spec) (Conn, error)
}

// Spec is what the pool decides about one worker.
type Spec struct {
	// Pool and ID name the worker, for example "default" and "default-1". The
	// ID is a place in the pool: a restarted worker has the same one.
	Pool string
	ID   string
	// Generation counts the starts at this place, from 1.
	Generation uint64
	// Logger receives what the worker prints and logs, with pool and worker
	// already attached.
	Logger *slog.Logger
	// OnEvent receives the events that the worker's tools report, from the
	// goroutine that reads from the worker: it must be quick. nil drops them.
	OnEvent func(Event)
}

// Event is what a tool reports of its own: numbers, and what they belong to.
type Event struct {
	Name         string
	Measurements map[string]float64
	Attrs        map[string]any
	// CorrelationID and Session are those of the call that reports it, "" if
	// there is none.
	CorrelationID string
	Session       string
}

// Conn is one running worker. Its methods may be called concurrently; Call at
// most Info().Capacity times at once.
type Conn interface {
	// Info is what the worker said of itself when it started.
	Info() Info

	// Call runs a tool and returns its result. For a streaming call, every
	// chunk goes to call.OnChunk first, in order, in the goroutine that called
	// Call, and none after it has returned.
	//
	// When ctx ends before the worker has answered, or OnChunk fails, the
	// worker is told to cancel and Call returns an *UnansweredError without
	// waiting for it. The worker has the call until the error's Answered is
	// closed: a slot is free only when its worker says so, or is gone. The
	// pool waits for that, and kills a worker that takes too long. If ctx has
	// ended before anything was sent, its plain cause is returned.
	//
	// Errors: *ToolError (the tool raised, or refused its arguments),
	// ErrToolNotFound, ErrStateMissing, ErrCanceled (the worker stopped the
	// call, asked or not), *UnansweredError, *CrashError (the worker ended
	// before its answer; Done is closed by then and Exit is set).
	Call(ctx context.Context, call *Call) (*Result, error)

	// Ping asks the worker for a sign of life. It fails when ctx ends or the
	// worker is gone.
	Ping(ctx context.Context) error

	// Suspended reports whether the worker is seen to stand still: its process
	// was stopped by a signal. It is false where that cannot be seen.
	Suspended() bool

	// Forget tells the worker to drop what it holds of these sessions:
	// variables and local objects. It does not wait.
	Forget(sessions ...string)

	// Stop lets running calls finish, ends the worker, and ends whatever is
	// left of its process group when ctx ends. It returns when the worker is
	// gone. A second Stop waits for the same end.
	Stop(ctx context.Context) error

	// Kill ends the worker and its process group at once, without waiting. It
	// does nothing to one that is gone.
	Kill()

	// Done is closed when the worker is gone, for whatever reason.
	Done() <-chan struct{}

	// Exit says how the worker ended; valid once Done is closed.
	Exit() Exit
}

// Info describes a running worker.
type Info struct {
	PID int
	// Runtime is for people: "CPython 3.11.7 (/usr/bin/python3)".
	Runtime string
	// SDK is the worker library and its version: "snakepit-python 0.1.0".
	SDK string
	// Protocol is the negotiated version of the wire protocol.
	Protocol int
	// Capacity is the number of calls it runs at once.
	Capacity int
	Tools    []Tool
}

// Tool describes a function a worker offers.
type Tool struct {
	Name string `json:"name"`
	// Doc is the documentation of the function, "" if it has none.
	Doc string `json:"doc,omitempty"`
	// Parameters is a JSON Schema object of the arguments.
	Parameters json.RawMessage `json:"parameters,omitempty"`
	// ReadOnly tools never change their session: their calls may overlap
	// others of the session and commit nothing.
	ReadOnly bool `json:"readonly,omitempty"`
	// Idempotent tools may be run again after a crash.
	Idempotent bool `json:"idempotent,omitempty"`
	// Streams says that the tool yields chunks.
	Streams bool `json:"streams,omitempty"`
	// Session says that the tool takes the session.
	Session bool `json:"session,omitempty"`
	// Local says whether the tool uses the in-process objects of its session;
	// nil if it has not been declared.
	Local *bool `json:"local,omitempty"`
	// OnConflict says what becomes of a call that did not say so itself.
	OnConflict OnConflict `json:"on_conflict,omitempty"`
}

// OnConflict says what becomes of a call if others have changed variables of
// its session that it has read or written.
type OnConflict string

const (
	// Ignore: the last writer wins, for each variable. It is the default.
	Ignore OnConflict = "ignore"
	// Fail: nothing is committed, and the call fails.
	Fail OnConflict = "fail"
	// Retry: nothing is committed, and the tool runs again on the newer state.
	Retry OnConflict = "retry"
)

// Valid reports whether c is one of the constants, or empty.
func (c OnConflict) Valid() bool {
	switch c {
	case "", Ignore, Fail, Retry:
		return true
	}
	return false
}

// Call is one execution of a tool.
type Call struct {
	// CorrelationID goes to the worker's log records and to its callbacks.
	CorrelationID string
	Tool          string
	// Args is a JSON object; nil is an empty one. {"$bytes": i} in it stands
	// for Attachments[i]; see docs/protocol.md for the other markers.
	Args        json.RawMessage
	Attachments [][]byte
	// Session is nil for a call without a session.
	Session *SessionState
	// OnChunk makes the call a streaming one. The worker does not run ahead
	// of it by more than a window. An error from it cancels the call.
	OnChunk func(Chunk) error
	// Host answers what the tool asks for while it runs; nil refuses all. Its
	// methods may run in any goroutine; their contexts end when the call
	// returns, for whatever reason, and none is started after that.
	Host Host
	// Idempotent allows the pool to run the call again on another worker
	// when one dies. The tool's own declaration does the same.
	Idempotent bool
}

// SessionState is the session as the worker sees it.
type SessionState struct {
	ID string
	// Incarnation tells a session from a later one of the same id.
	Incarnation string
	// Version advances whenever vars or programs change.
	Version uint64
	// Vars is the JSON object of all variables, or nil if the worker already
	// holds those of this incarnation and version.
	Vars json.RawMessage
	// Programs, Labels and Metadata travel with Vars.
	Programs []Program
	Labels   map[string]string
	Metadata map[string]string
	// ReadOnly calls may not change the session.
	ReadOnly bool
	// WantRead asks the worker to say which variables the call has read.
	WantRead bool
}

// Program is an entry of a session's program table.
type Program struct {
	Name        string `json:"name"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	ContentType string `json:"content_type,omitempty"`
}

// Chunk is one value a streaming tool yielded.
type Chunk struct {
	Value       json.RawMessage
	Attachments [][]byte
}

// Result is the answer of a tool.
type Result struct {
	// Worker is the id of the worker that answered; the pool sets it.
	Worker      string
	Value       json.RawMessage
	Attachments [][]byte
	// Change is what the call changed in its session; nil is nothing.
	Change *StateChange
	// Read is what the call has read of the variables, if it was asked; nil is
	// not known, which may be all.
	Read *VarsRead
	// Local says that the worker keeps in-process objects for the session.
	Local bool
	// LocalUnused says that the call did not look at them; a worker that does
	// not watch for that leaves it false.
	LocalUnused bool
}

// VarsRead says which variables a call has read, or looked for in vain.
type VarsRead struct {
	// All says that the call may have seen all of them: it has listed their
	// names, for example.
	All  bool
	Keys []string
}

// StateChange is a patch of a session's variables, by top-level key.
// Programs change through Host.
type StateChange struct {
	Set   map[string]json.RawMessage
	Unset []string
}

// Host is what a tool may ask for while its call runs. The caller of the pool
// implements it, one value for each call, so that an answer can never belong
// to another session. The contexts a transport passes descend from the context
// of the call.
type Host interface {
	// ReadProgram returns up to limit bytes of a program from offset on; an
	// empty result is the end.
	ReadProgram(ctx context.Context, name string, offset int64, limit int) ([]byte, error)
	// WriteProgram receives a new program. It becomes visible to the tool at
	// once and to others when the call commits. Close completes it; closing
	// is what makes it count. A writer that is given up is not closed: ctx
	// ends, and if the writer is an Aborter, it is told so.
	WriteProgram(ctx context.Context, name, contentType string) (io.WriteCloser, error)
	// DeleteProgram removes a program when the call commits.
	DeleteProgram(ctx context.Context, name string) error
	// CallTool runs a tool of the host and returns its JSON result.
	CallTool(ctx context.Context, name string, args json.RawMessage) (json.RawMessage, error)
}

// Aborter is what a writer of Host.WriteProgram is if it has to clean up when
// the program is not completed.
type Aborter interface{ Abort() error }

// Exit says how a worker ended.
type Exit struct {
	// Code is the exit status, or 128 + the signal's number.
	Code int
	// Signal names the signal that ended it, "" if none did.
	Signal string
	// Expected is true after Stop.
	Expected bool
	// Reason is for people: "killed by signal 9 (SIGKILL)".
	Reason string
	Time   time.Time
}
