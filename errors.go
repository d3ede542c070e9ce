package snakepit

import (
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// The errors that callers most often tell apart, under the names they have where
// they are at home; those packages have more. All are found with errors.Is, also
// in what package client returns.
var (
	// ErrInvalid: an argument of this package's is not allowed; arguments of
	// tools are a *ToolError of the kind InvalidArguments.
	ErrInvalid = session.ErrInvalid
	// ErrToolNotFound: the pool offers no tool of that name.
	ErrToolNotFound = worker.ErrToolNotFound
	// ErrPoolNotFound: there is no pool of that name.
	ErrPoolNotFound = execution.ErrPoolNotFound
	// ErrNotFound: there is no such session or program, or it has expired.
	ErrNotFound = session.ErrNotFound

	// ErrSaturated: the queue is full. Nothing ran; try again later.
	ErrSaturated = worker.ErrSaturated
	// ErrQueueTimeout: the wait in the queue was too long. Nothing ran; try
	// again later.
	ErrQueueTimeout = worker.ErrQueueTimeout
	// ErrDraining: the engine is being stopped and takes no new calls.
	ErrDraining = worker.ErrDraining
	// ErrClosed: the engine has been stopped.
	ErrClosed = worker.ErrClosed
	// ErrStopped: the call ran when the engine was stopped, and was cancelled.
	ErrStopped = worker.ErrStopped
	// ErrWorkerCrashed matches every *CrashError.
	ErrWorkerCrashed = worker.ErrWorkerCrashed

	// ErrStateNotCommitted matches every *StateNotCommittedError.
	ErrStateNotCommitted = execution.ErrStateNotCommitted
	// ErrCallIDReused: a call of this id was committed, of another tool or with
	// other arguments.
	ErrCallIDReused = execution.ErrCallIDReused
	// ErrCallClosed: the call's id was closed before a call of it committed.
	ErrCallClosed = execution.ErrCallClosed
	// ErrAnswerNotKept matches every *AnswerNotKeptError.
	ErrAnswerNotKept = execution.ErrAnswerNotKept
	// ErrConflict: the session is not at the expected revision.
	ErrConflict = session.ErrConflict
	// ErrQuotaExceeded: the store holds as many sessions as it may.
	ErrQuotaExceeded = session.ErrQuotaExceeded
	// ErrTooLarge: a limit is exceeded; the message says which.
	ErrTooLarge = session.ErrTooLarge
	// ErrUnavailable: the store cannot serve now; nothing was written.
	ErrUnavailable = session.ErrUnavailable
	// ErrUnknown: a write may or may not have been made.
	ErrUnknown = session.ErrUnknown
)

type (
	// ToolError is an exception of a tool, or the refusal of its arguments or
	// of its result. Its Kind tells them apart.
	ToolError = worker.ToolError
	// CrashError says that a worker died, and whether the call may have been
	// executed.
	CrashError = worker.CrashError
	// StateNotCommittedError says that a call ran and what it changed in its
	// session was not stored.
	StateNotCommittedError = execution.StateNotCommittedError
	// AnswerNotKeptError says that a call was committed before, and that its
	// answer is not kept.
	AnswerNotKeptError = execution.AnswerNotKeptError
)

// The kinds of a *ToolError.
const (
	ToolRaised       = worker.ToolRaised
	InvalidArguments = worker.InvalidArguments
	Unencodable      = worker.Unencodable
	WorkerFault      = worker.WorkerFault
)
