package snakepit

import (
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// CallOption changes one call.
type CallOption func(*callOptions)

type callOptions struct {
	pool          string
	callID        string
	correlationID string
	timeout       time.Duration
	attachments   [][]byte
	idempotent    bool
	mustExist     bool
	onConflict    OnConflict
}

// InPool runs the call in the pool of that name instead of the default one.
func InPool(name string) CallOption { return func(o *callOptions) { o.pool = name } }

// WithCallID names a call, up to 256 bytes, so that repeating it is safe: what
// it changes in its session happens once. When a call of this id has been
// committed, a repetition does not run; it gets the same answer, and its
// Result.Repeated is true. One that comes while the first runs waits for it.
//
// An id belongs to its session, or to all calls without one. It is kept with
// the session for 24 hours (session.Options.CallRetention), in 4 MiB a session
// (MaxCallBytes); answers of up to 64 KiB are kept with it, the chunks of a
// stream included. A larger answer, or one that had to make room, gives an
// *AnswerNotKeptError, and nothing runs. Another tool, or other arguments,
// under the id give ErrCallIDReused. A call that failed leaves no id.
//
// What a tool does outside its session (a file, a mail, a payment) cannot be
// undone or done once by this: if the worker or this process dies before the
// commit, a repetition runs the tool again; hand the id on to whatever the tool
// calls. That holds for all effects of a call without a session, whose id is
// recorded after it ran.
func WithCallID(id string) CallOption { return func(o *callOptions) { o.callID = id } }

// Idempotent allows the call to run again on another worker if one dies.
func Idempotent() CallOption { return func(o *callOptions) { o.idempotent = true } }

// WithTimeout replaces the pool's CallTimeout or StreamTimeout; one that is
// longer than its MaxTimeout is refused with ErrInvalid. A deadline of
// the context holds besides.
func WithTimeout(d time.Duration) CallOption { return func(o *callOptions) { o.timeout = d } }

// MustExist makes a call in a session that does not exist fail with
// session.ErrNotFound instead of creating it.
func MustExist() CallOption { return func(o *callOptions) { o.mustExist = true } }

// OnConflict says what becomes of a call if another write has changed variables
// of its session that it has read or written.
type OnConflict = worker.OnConflict

// The ways to treat a conflict; without one, a call is treated as its tool says,
// or ignores conflicts.
const (
	// ConflictIgnore lets the last writer win, for each variable; what was
	// overwritten is told in Result.Overwritten.
	ConflictIgnore = worker.Ignore
	// ConflictFail ends the call with session.ErrStateConflict; nothing is
	// committed.
	ConflictFail = worker.Fail
	// ConflictRetry runs the tool again on the newer state, up to five times,
	// and then ends the call as ConflictFail does. A stream that has delivered
	// a chunk is not run again.
	ConflictRetry = worker.Retry
)

// WithOnConflict replaces what the tool says about conflicts.
func WithOnConflict(c OnConflict) CallOption { return func(o *callOptions) { o.onConflict = c } }

// WithCorrelationID sets the id that marks the call's log records here and in
// Python. Without it, the context's is used or a new one made.
func WithCorrelationID(id string) CallOption {
	return func(o *callOptions) { o.correlationID = id }
}

// WithAttachments gives the raw bytes that {"$bytes": i} stands for in the
// arguments. A []byte in Args needs no such number, with or without them.
func WithAttachments(parts ...[]byte) CallOption {
	return func(o *callOptions) { o.attachments = parts }
}
