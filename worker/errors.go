package worker

import (
	"errors"
	"fmt"
)

var (
	// ErrToolNotFound: the worker offers no tool of that name.
	ErrToolNotFound = errors.New("tool not found")
	// ErrStateMissing: the worker does not hold the session state the call
	// relied on. Nothing was executed; the call is to be sent with the state.
	ErrStateMissing = errors.New("session state not held by the worker")
	// ErrStateUnreadable: the session has a variable that is nested too deeply
	// for workers, or a number that is too long or out of range for them.
	// Nothing was executed. Today's limits let no such variable in.
	ErrStateUnreadable = errors.New("session state no worker can read")
	// ErrCanceled: the call was cancelled, and the worker has stopped it.
	ErrCanceled = errors.New("call canceled")
	// ErrWorkerCrashed matches every *CrashError.
	ErrWorkerCrashed = errors.New("worker crashed")
	// ErrNoSession: a tool asked for its session in a call without one.
	ErrNoSession = errors.New("the call has no session")
	// ErrReadOnly: a call that may not change its session tried to.
	ErrReadOnly = errors.New("read-only call")
	// ErrWorkerNotFound: the pool has no place of that name.
	ErrWorkerNotFound = errors.New("worker not found")
	// ErrStartFailed matches every *StartError.
	ErrStartFailed = errors.New("start failed")
	// ErrCallEnded: a tool, or a thread it left running, asked its host for
	// something after its call was answered.
	ErrCallEnded = errors.New("the call has ended")
	// ErrProgramNotFound: the session has no program of that name.
	ErrProgramNotFound = errors.New("program not found")
	// ErrHostToolNotFound: the host offers no tool of that name.
	ErrHostToolNotFound = errors.New("host tool not found")
	// ErrSaturated: the pool's queue is full.
	ErrSaturated = errors.New("pool queue is full")
	// ErrQueueTimeout: the call waited longer than the pool's queue timeout,
	// for its session's turn, for a worker, or for both.
	ErrQueueTimeout = errors.New("timed out in the pool's queue")
	// ErrNoWorkers: no worker of the pool is running or starting.
	ErrNoWorkers = errors.New("no workers")
	// ErrWorkerBusy: the required worker is busy and the mode is not to wait.
	ErrWorkerBusy = errors.New("worker busy")
	// ErrWorkerGone: the required worker has ended or was restarted.
	ErrWorkerGone = errors.New("worker gone")
	// ErrDraining: the pool takes no new calls.
	ErrDraining = errors.New("draining")
	// ErrClosed: the pool was stopped before the call.
	ErrClosed = errors.New("closed")
	// ErrStopped: the call was cancelled because those who run the pool stop
	// it. The tool may have run; what it changed in its session is not
	// committed.
	ErrStopped = errors.New("cancelled because the pool is being stopped")
)

// ToolError is an exception of a tool, or the refusal of its arguments or of
// its result, as the worker reported it.
type ToolError struct {
	Kind ToolErrorKind
	// Type is the exception's type in the worker's language: "ValueError".
	Type      string
	Message   string
	Traceback string
	// Parameter names the argument at fault, if one is.
	Parameter string
}

// ToolErrorKind says which part of a call was at fault.
type ToolErrorKind string

const (
	// ToolRaised: the tool ran and raised.
	ToolRaised ToolErrorKind = "raised"
	// InvalidArguments: the arguments do not fit the tool; it did not run.
	InvalidArguments ToolErrorKind = "invalid_arguments"
	// Unencodable: what the tool returned, yielded or stored cannot be encoded.
	Unencodable ToolErrorKind = "unencodable"
	// WorkerFault: not the tool but the worker's library failed, or answered
	// what no one can read.
	WorkerFault ToolErrorKind = "worker_fault"
)

func (e *ToolError) Error() string {
	if e.Type == "" {
		return e.Message
	}
	return e.Type + ": " + e.Message
}

// CrashError says that a worker ended while it had a call.
type CrashError struct {
	Worker string
	// MaybeExecuted is false only if the call certainly never reached the
	// worker.
	MaybeExecuted bool
	Exit          Exit
	// Cause is why it ended; empty if no pool knows it.
	Cause Cause
}

func (e *CrashError) Error() string {
	executed := "the call did not reach it"
	if e.MaybeExecuted {
		executed = "the call may have been executed"
	}
	switch {
	case e.Cause != "" && e.Cause != CauseExited:
		return fmt.Sprintf("worker %s was ended by its pool, because %s (%s): %s", e.Worker, e.Cause, e.Exit.Reason, executed)
	case e.Exit.Signal == "SIGKILL":
		// Neither the pool nor the worker: most likely the kernel.
		return fmt.Sprintf("worker %s crashed (%s, from outside of its pool: out of memory, or by hand): %s", e.Worker, e.Exit.Reason, executed)
	}
	return fmt.Sprintf("worker %s crashed (%s): %s", e.Worker, e.Exit.Reason, executed)
}

// Is makes errors.Is(err, ErrWorkerCrashed) true.
func (e *CrashError) Is(target error) bool { return target == ErrWorkerCrashed }

// CallError is how a call fails that a worker was given: with its message, and
// what it is. It adds which worker that was.
type CallError struct {
	Worker string
	Err    error
}

func (e *CallError) Error() string { return e.Err.Error() }

func (e *CallError) Unwrap() error { return e.Err }

// UnansweredError is how Conn.Call returns when the call was given up before
// the worker had answered it. Callers of the pool never see it: Lease.Call
// passes on its Err and keeps the slot taken until Answered is closed.
type UnansweredError struct {
	// Err is why: the cause of the context's end, or the error of OnChunk.
	Err error
	// Answered is closed when the worker has answered, or is gone: then after
	// Conn.Done.
	Answered <-chan struct{}
}

func (e *UnansweredError) Error() string { return e.Err.Error() }

func (e *UnansweredError) Unwrap() error { return e.Err }

// StartError says why a worker could not be started.
type StartError struct {
	Worker string
	// Reason is for people and says what to do, if that is known.
	Reason string
	// Traceback is the worker's own, if its code failed to load.
	Traceback string
	Err       error
}

func (e *StartError) Error() string {
	msg := "start worker " + e.Worker + ": " + e.Reason
	if e.Traceback != "" {
		msg += "\n" + e.Traceback
	}
	return msg
}

func (e *StartError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrStartFailed) true.
func (e *StartError) Is(target error) bool { return target == ErrStartFailed }
