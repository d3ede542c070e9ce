package execution

import (
	"errors"
	"fmt"
	"time"

	"github.com/snakepit-go/snakepit/session"
)

var (
	// ErrStateNotCommitted matches every *StateNotCommittedError.
	ErrStateNotCommitted = errors.New("state not committed")
	// ErrSessionWorkerGone: the worker that the strict affinity of the session
	// requires has ended. The session is free to use another one from the next
	// call on.
	ErrSessionWorkerGone = errors.New("session's worker is gone")
	// ErrCallIDReused: a call of this id was committed, of another tool or with
	// other arguments.
	ErrCallIDReused = errors.New("call id was used for another call")
	// ErrCallClosed: the id was closed before a call of it was committed.
	ErrCallClosed = errors.New("call id was closed")
	// ErrAnswerNotKept matches every *AnswerNotKeptError.
	ErrAnswerNotKept = errors.New("call was committed, and its answer is no longer kept")
	// ErrPoolNotFound: there is no pool of that name.
	ErrPoolNotFound = errors.New("pool not found")
)

// AnswerNotKeptError says that a call was committed before, and that its
// repetition cannot be answered: the answer was too large to be kept, or had to
// make room for newer ones.
type AnswerNotKeptError struct {
	ID        string
	Committed time.Time
	// Size and SHA256 are of the answer: chunks, value and attachments.
	Size   int64
	SHA256 string
}

func (e *AnswerNotKeptError) Error() string {
	return fmt.Sprintf("call %q: %v: committed on %s with an answer of %d bytes (kept up to %d), SHA-256 %s; it is not run again, read the session for its effect",
		e.ID, ErrAnswerNotKept, e.Committed.UTC().Format(time.RFC3339), e.Size, session.MaxAnswerSize, e.SHA256)
}

// Is makes errors.Is(err, ErrAnswerNotKept) true.
func (e *AnswerNotKeptError) Is(target error) bool { return target == ErrAnswerNotKept }

// StateNotCommittedError says that a call ran, and that what it changed in its
// session was not stored. If Err is session.ErrUnknown, it may have been.
type StateNotCommittedError struct {
	// Executed is true if the tool ran to its end.
	Executed bool
	Err      error
}

func (e *StateNotCommittedError) Error() string {
	return fmt.Sprintf("%v (the call was executed: %t): %v", ErrStateNotCommitted, e.Executed, e.Err)
}

// Is makes errors.Is(err, ErrStateNotCommitted) true.
func (e *StateNotCommittedError) Is(target error) bool { return target == ErrStateNotCommitted }

func (e *StateNotCommittedError) Unwrap() error { return e.Err }
