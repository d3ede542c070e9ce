package wireerr

import (
	"errors"

	"connectrpc.com/connect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/worker"
)

// Encode returns err as it goes to the client. An error that already is a
// connect.Error, because the protocol itself refused a request, stays.
func Encode(err error) *connect.Error {
	if wire, ok := errors.AsType[*connect.Error](err); ok {
		return wire
	}
	info := &snakepitv1.ErrorInfo{}
	code := connect.CodeInternal
	add := func(reason string, c connect.Code) {
		if len(info.Reasons) == 0 {
			code = c
		}
		info.Reasons = append(info.Reasons, reason)
	}
	if fault, ok := errors.AsType[*worker.ToolError](err); ok {
		add("tool_"+string(fault.Kind), toolCodes[fault.Kind])
		info.Tool = &snakepitv1.ErrorInfo_ToolFault{
			Kind: string(fault.Kind), Type: fault.Type, Message: fault.Message,
			Traceback: fault.Traceback, Parameter: fault.Parameter,
		}
	}
	for _, row := range Table {
		if errors.Is(err, row.Err) {
			// What one reason forbids, another one cannot allow.
			info.Retryable = row.Retryable && (info.Retryable || len(info.Reasons) == 0)
			add(row.Reason, row.Code)
		}
	}
	if crash, ok := errors.AsType[*worker.CrashError](err); ok {
		info.Crash = &snakepitv1.ErrorInfo_Crash{
			Worker: crash.Worker, MaybeExecuted: crash.MaybeExecuted, ExitCode: int32(crash.Exit.Code),
			ExitSignal: crash.Exit.Signal, ExitReason: crash.Exit.Reason,
		}
		info.Retryable = !crash.MaybeExecuted
	}
	if e, ok := errors.AsType[*execution.StateNotCommittedError](err); ok {
		info.Uncommitted = &snakepitv1.ErrorInfo_Uncommitted{Executed: e.Executed, Cause: e.Err.Error()}
		info.Retryable = false
	}
	if len(info.Reasons) == 0 {
		info.Reasons = []string{"internal"}
	}
	wire := connect.NewError(code, err)
	if detail, derr := connect.NewErrorDetail(info); derr == nil {
		wire.AddDetail(detail)
	}
	return wire
}

// Decode returns the error that Encode was given, as far as errors.Is,
// errors.As and its message go. Errors of the transport itself come back with
// the sentinel of their code, if there is one.
func Decode(err error) error {
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	for _, detail := range wire.Details() {
		value, derr := detail.Value()
		if derr != nil {
			continue
		}
		if info, ok := value.(*snakepitv1.ErrorInfo); ok {
			return &remoteError{message: wire.Message(), causes: causes(info)}
		}
	}
	return err
}

func causes(info *snakepitv1.ErrorInfo) []error {
	var list []error
	for _, row := range Table {
		for _, reason := range info.Reasons {
			if row.Reason == reason {
				list = append(list, row.Err)
			}
		}
	}
	if f := info.Tool; f != nil {
		list = append(list, &worker.ToolError{
			Kind: worker.ToolErrorKind(f.Kind), Type: f.Type, Message: f.Message, Traceback: f.Traceback, Parameter: f.Parameter,
		})
	}
	if c := info.Crash; c != nil {
		list = append(list, &worker.CrashError{
			Worker: c.Worker, MaybeExecuted: c.MaybeExecuted,
			Exit: worker.Exit{Code: int(c.ExitCode), Signal: c.ExitSignal, Reason: c.ExitReason},
		})
	}
	if u := info.Uncommitted; u != nil {
		list = append(list, &execution.StateNotCommittedError{
			Executed: u.Executed, Err: &remoteError{message: u.Cause, causes: list},
		})
	}
	return list
}

// remoteError has the message of an error of the server and matches what that
// matched.
type remoteError struct {
	message string
	causes  []error
}

func (e *remoteError) Error() string   { return e.message }
func (e *remoteError) Unwrap() []error { return e.causes }
