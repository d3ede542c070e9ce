package execution

import (
	"errors"
	"fmt"
)

var (
	// ErrStateNotCommitted matches every *StateNotCommittedError.
	ErrStateNotCommitted = errors.New("state not committed")
	// ErrSessionWorkerGone: the worker that the strict affinity of the session
	// requires has ended. The session is free to use another one from the next
	// call on.
	ErrSessionWorkerGone = errors.New("session's worker is gone")
	// ErrPoolNotFound: there is no pool of that name.
	ErrPoolNotFound = errors.New("pool not found")
)

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
