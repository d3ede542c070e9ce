package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/internal/value"
	"github.com/snakepit-go/snakepit/session"
)

// Call names a tool to be run, and how. Only Tool is required.
type Call struct {
	Tool string
	// Args is nil, a json.RawMessage, or anything that encoding/json encodes as
	// an object. A []byte anywhere in a map[string]any, nested ones and []any
	// travels raw. {"$bytes": i} stands for Attachments[i].
	Args        any
	Attachments [][]byte
	// Session is the session the call runs in, empty for none. It is created
	// if it does not exist, unless MustExist is set.
	Session   string
	MustExist bool
	// Pool is empty for the default one.
	Pool string
	// ID names the call, so that repeating it is safe: see snakepit.WithCallID.
	// Give a repetition the same id; the client makes none by itself, and
	// repeats no call.
	ID string
	// OnConflict is "ignore", "fail" or "retry": what becomes of the call if
	// another write has changed variables of its session that it has read or
	// written. Empty is what the tool says.
	OnConflict string
	// Idempotent allows the call to run again if its worker dies.
	Idempotent bool
	// Timeout bounds queueing and execution; 0 is the pool's own.
	Timeout time.Duration
	// CorrelationID marks the call's log records on the server and in Python:
	// up to 128 printable ASCII characters. The server makes one if it is
	// empty.
	CorrelationID string
}

// Result is what a tool returned.
type Result struct {
	// Value is JSON; {"$bytes": i} in it stands for Attachments[i].
	Value       json.RawMessage
	Attachments [][]byte
	// Worker is the id of the worker that ran the call.
	Worker string
	// StateVersion is the session's after the call, 0 without a session.
	StateVersion uint64
	// Position, given to a read, makes it include what this call wrote.
	Position string
	// Overwritten are the variables of the session that the call set or unset
	// although another write had changed them since the call got them.
	Overwritten []string
	// Repeated says that a call of this id had been committed before: this is
	// its answer, and the tool did not run again.
	Repeated bool
	// CorrelationID is the call's own, or the one that the server made.
	CorrelationID string
}

// Chunk is one value of a stream.
type Chunk struct {
	Value       json.RawMessage
	Attachments [][]byte
}

// Execute runs a tool and returns its result.
//
// Errors: as Execute and ExecuteInSession of package snakepit; session.ErrUnknown
// if the connection was lost before the answer.
func (c *Client) Execute(ctx context.Context, call Call) (*Result, error) {
	inv, err := call.message()
	if err != nil {
		return nil, err
	}
	res, err := c.calls.Execute(call.context(ctx), connect.NewRequest(&snakepitv1.ExecuteRequest{Invocation: inv}))
	if err != nil {
		return nil, err
	}
	return resultOf(res.Msg, res.Header()), nil
}

// StreamFunc runs a tool and gives each chunk to fn, whose error cancels the
// tool and is returned. The result is known after the last chunk.
func (c *Client) StreamFunc(ctx context.Context, call Call, fn func(*Chunk) error) (*Result, error) {
	inv, err := call.message()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(call.context(ctx))
	stream, err := c.calls.Stream(ctx, connect.NewRequest(&snakepitv1.StreamRequest{Invocation: inv}))
	if err != nil {
		cancel()
		return nil, err
	}
	defer func() {
		// The stream is over or given up: nothing is left to be learned from
		// how its connection closes.
		cancel()
		_ = stream.Close()
	}()
	for stream.Receive() {
		if done := stream.Msg().GetDone(); done != nil {
			return resultOf(done, stream.ResponseHeader()), nil
		}
		if chunk := stream.Msg().GetChunk(); chunk != nil {
			if err := fn(&Chunk{Value: chunk.Value, Attachments: chunk.Attachments}); err != nil {
				return nil, err
			}
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("stream %s: %w: the server closed the connection before the end", call.Tool, session.ErrUnknown)
}

// errLeft ends a stream whose consumer left its loop.
var errLeft = errors.New("the consumer left")

// Stream runs a tool and yields its chunks as they come, or the result of a
// tool that does not stream. An error ends the sequence; leaving the loop early
// cancels the tool.
func (c *Client) Stream(ctx context.Context, call Call) iter.Seq2[*Chunk, error] {
	return func(yield func(*Chunk, error) bool) {
		res, err := c.StreamFunc(ctx, call, func(chunk *Chunk) error {
			if !yield(chunk, nil) {
				return errLeft
			}
			return nil
		})
		switch {
		case errors.Is(err, errLeft):
		case err != nil:
			yield(nil, err)
		case string(res.Value) != "null": // a tool that does not stream
			yield(&Chunk{Value: res.Value, Attachments: res.Attachments}, nil)
		}
	}
}

// CallStatus says what became of a call: see snakepit.CallStatus.
type CallStatus struct {
	State execution.CallState
	// At is when it was committed, or its id closed.
	At time.Time
	// Answer is what it returned, without the chunks of a stream; nil if it is
	// not kept, or there is none.
	Answer *Result
	// AnswerSize and AnswerSHA256 describe the answer also if it is not kept.
	AnswerSize   int64
	AnswerSHA256 string
	// KeptSince is from when on all committed ids are known.
	KeptSince time.Time
}

// CallStatus says what became of the call that was given an id, in a session, or
// without one if sessionID is empty. It changes nothing.
//
// Errors: as CallStatus of package snakepit.
func (c *Client) CallStatus(ctx context.Context, sessionID, callID string) (*CallStatus, error) {
	res, err := c.calls.GetCall(ctx, connect.NewRequest(&snakepitv1.GetCallRequest{Session: sessionID, CallId: callID}))
	if err != nil {
		return nil, err
	}
	return statusOf(res.Msg.GetStatus()), nil
}

// CloseCall is CallStatus that makes certain: unless a call of the id has been
// committed, or runs, none will be as long as ids are kept.
//
// Errors: as CloseCall of package snakepit.
func (c *Client) CloseCall(ctx context.Context, sessionID, callID string) (*CallStatus, error) {
	res, err := c.calls.CloseCall(ctx, connect.NewRequest(&snakepitv1.CloseCallRequest{Session: sessionID, CallId: callID}))
	if err != nil {
		return nil, err
	}
	return statusOf(res.Msg.GetStatus()), nil
}

var callStates = map[snakepitv1.CallStatus_State]execution.CallState{
	snakepitv1.CallStatus_STATE_NOT_COMMITTED: execution.CallNotCommitted,
	snakepitv1.CallStatus_STATE_COMMITTED:     execution.CallCommitted,
	snakepitv1.CallStatus_STATE_RUNNING:       execution.CallRunning,
	snakepitv1.CallStatus_STATE_CLOSED:        execution.CallClosed,
	snakepitv1.CallStatus_STATE_NOT_KEPT:      execution.CallNotKept,
}

func statusOf(m *snakepitv1.CallStatus) *CallStatus {
	status := &CallStatus{
		State: callStates[m.GetState()], AnswerSize: m.GetAnswerBytes(), AnswerSHA256: m.GetAnswerSha256(),
		KeptSince: m.GetKeptSince().AsTime(),
	}
	if m.GetAt() != nil {
		status.At = m.GetAt().AsTime()
	}
	if a := m.GetAnswer(); a != nil {
		status.Answer = resultOf(a, nil)
	}
	return status
}

// context is the context of the call's request.
func (call Call) context(ctx context.Context) context.Context {
	if call.CorrelationID == "" {
		return ctx
	}
	return correlation.NewContext(ctx, call.CorrelationID)
}

func (call Call) message() (*snakepitv1.Invocation, error) {
	if call.CorrelationID != "" && !correlation.Valid(call.CorrelationID) {
		return nil, &session.InvalidError{Field: "correlation id", Reason: "must be up to 128 printable ASCII characters without spaces"}
	}
	args, attachments, err := value.Encode(call.Args, call.Attachments)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w: %w", call.Tool, session.ErrInvalid, err)
	}
	inv := &snakepitv1.Invocation{
		Tool: call.Tool, Arguments: args, Attachments: attachments, Session: call.Session, SessionMustExist: call.MustExist,
		Pool: call.Pool, CallId: call.ID, Idempotent: call.Idempotent, OnConflict: call.OnConflict,
	}
	if call.Timeout != 0 {
		inv.Timeout = durationpb.New(call.Timeout)
	}
	return inv, nil
}

func resultOf(m *snakepitv1.ExecuteResponse, h http.Header) *Result {
	return &Result{
		Value: m.GetResult(), Attachments: m.GetAttachments(), Worker: m.GetWorker(), Overwritten: m.GetOverwritten(),
		StateVersion: m.GetStateVersion(), Position: m.GetPosition(), Repeated: m.GetRepeated(), CorrelationID: h.Get(correlationHeader),
	}
}

// Decode decodes the value as encoding/json does.
func (r *Result) Decode(v any) error { return value.Decode(r.Value, v) }

// Bytes returns the value of a tool that returned bytes.
func (r *Result) Bytes() ([]byte, bool) { return value.Bytes(r.Value, r.Attachments) }

// Decode decodes the value as encoding/json does.
func (c *Chunk) Decode(v any) error { return value.Decode(c.Value, v) }

// Bytes returns the value of a chunk of bytes.
func (c *Chunk) Bytes() ([]byte, bool) { return value.Bytes(c.Value, c.Attachments) }
