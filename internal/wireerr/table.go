// Package wireerr carries errors over the network: package server encodes
// them, package client decodes them, and errors.Is and errors.As give the same
// answers on both sides.
//
// Inside the program errors are sentinels and types; only here do they have
// codes. One table serves both directions, and a test fails when a sentinel of
// the packages it speaks for is missing.
package wireerr

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// ErrOverloaded means that the server has as many bytes of requests in work as
// it takes.
var ErrOverloaded = errors.New("the server is overloaded")

// Row is an error with what stands for it on the wire.
type Row struct {
	Err    error
	Reason string
	Code   connect.Code
	// Retryable: nothing was done, and the same request may succeed later.
	Retryable bool
}

// Table lists every error that callers can tell apart. An error that matches
// several rows has the code of the first. A kind of another error stands before
// that one, and only it goes over the wire.
var Table = []Row{
	{session.ErrStateConflict, "state_conflict", connect.CodeAborted, false},
	{execution.ErrStateNotCommitted, "state_not_committed", connect.CodeAborted, false},
	{execution.ErrCallIDReused, "call_id_reused", connect.CodeAlreadyExists, false},
	{execution.ErrCallClosed, "call_closed", connect.CodeFailedPrecondition, false},
	{execution.ErrAnswerNotKept, "answer_not_kept", connect.CodeAlreadyExists, false},
	{session.ErrAlreadyCommitted, "already_committed", connect.CodeAlreadyExists, false},
	{worker.ErrWorkerCrashed, "worker_crashed", connect.CodeAborted, false},
	{execution.ErrSessionWorkerGone, "session_worker_gone", connect.CodeUnavailable, true},
	{execution.ErrPoolNotFound, "pool_not_found", connect.CodeNotFound, false},

	{worker.ErrToolNotFound, "tool_not_found", connect.CodeNotFound, false},
	{worker.ErrWorkerNotFound, "worker_not_found", connect.CodeNotFound, false},
	{worker.ErrStartFailed, "worker_start_failed", connect.CodeFailedPrecondition, false},
	{worker.ErrProgramNotFound, "host_program_not_found", connect.CodeNotFound, false},
	{worker.ErrHostToolNotFound, "host_tool_not_found", connect.CodeNotFound, false},
	{worker.ErrNoSession, "no_session", connect.CodeFailedPrecondition, false},
	{worker.ErrReadOnly, "read_only", connect.CodeFailedPrecondition, false},
	{worker.ErrCallEnded, "call_ended", connect.CodeFailedPrecondition, false},
	{worker.ErrStateMissing, "state_missing", connect.CodeInternal, false},
	{worker.ErrStateUnreadable, "state_unreadable", connect.CodeFailedPrecondition, false},
	{worker.ErrCanceled, "call_canceled", connect.CodeCanceled, false},
	{worker.ErrSaturated, "pool_saturated", connect.CodeResourceExhausted, true},
	{worker.ErrQueueTimeout, "queue_timeout", connect.CodeUnavailable, true},
	{worker.ErrNoWorkers, "no_workers", connect.CodeUnavailable, true},
	{worker.ErrWorkerBusy, "worker_busy", connect.CodeUnavailable, true},
	{worker.ErrWorkerGone, "worker_gone", connect.CodeUnavailable, true},
	{worker.ErrDraining, "draining", connect.CodeUnavailable, true},
	{worker.ErrStopped, "stopped", connect.CodeAborted, false},
	{worker.ErrClosed, "pool_closed", connect.CodeUnavailable, false},

	{session.ErrUpdateFailed, "update_failed", connect.CodeAborted, false},
	{session.ErrFenced, "fenced", connect.CodeAborted, false},
	{session.ErrQuotaExceeded, "quota_exceeded", connect.CodeResourceExhausted, false},
	{session.ErrStoreFull, "store_full", connect.CodeResourceExhausted, true},
	{session.ErrUnknown, "outcome_unknown", connect.CodeAborted, false},
	{session.ErrCorrupt, "corrupt", connect.CodeDataLoss, false},
	{session.ErrTooLarge, "too_large", connect.CodeInvalidArgument, false},
	{session.ErrConflict, "revision_conflict", connect.CodeAborted, false},
	{session.ErrProgramNotFound, "program_not_found", connect.CodeNotFound, false},
	{session.ErrNotFound, "session_not_found", connect.CodeNotFound, false},
	{session.ErrLocked, "store_locked", connect.CodeUnavailable, false},
	{session.ErrUnsupported, "unsupported", connect.CodeUnimplemented, false},
	{session.ErrInvalid, "invalid", connect.CodeInvalidArgument, false},
	{session.ErrUnavailable, "store_unavailable", connect.CodeUnavailable, true},
	{session.ErrClosed, "store_closed", connect.CodeUnavailable, false},

	{ErrOverloaded, "overloaded", connect.CodeResourceExhausted, true},

	{context.DeadlineExceeded, "deadline_exceeded", connect.CodeDeadlineExceeded, false},
	{context.Canceled, "canceled", connect.CodeCanceled, false},
}

// toolCodes has the codes of tool errors. Their reason is "tool_" and the kind.
// No row of the table has the code of a tool that raised.
var toolCodes = map[worker.ToolErrorKind]connect.Code{
	worker.ToolRaised:       connect.CodeUnknown,
	worker.InvalidArguments: connect.CodeInvalidArgument,
	worker.Unencodable:      connect.CodeInternal,
	worker.WorkerFault:      connect.CodeInternal,
}
