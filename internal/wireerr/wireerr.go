package wireerr

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
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
		faultCode, known := toolCodes[fault.Kind]
		if !known {
			faultCode = connect.CodeInternal
		}
		add("tool_"+string(fault.Kind), faultCode)
		info.Tool = &snakepitv1.ErrorInfo_ToolFault{
			Kind: string(fault.Kind), Type: fault.Type, Message: head(fault.Message),
			Traceback: tail(fault.Traceback), Parameter: fault.Parameter,
		}
	}
	var matched []error
	for _, row := range Table {
		kindOf := func(special error) bool { return errors.Is(special, row.Err) }
		if errors.Is(err, row.Err) && !slices.ContainsFunc(matched, kindOf) {
			// What one reason forbids, another one cannot allow.
			info.Retryable = row.Retryable && (info.Retryable || len(info.Reasons) == 0)
			add(row.Reason, row.Code)
			matched = append(matched, row.Err)
		}
	}
	if crash, ok := errors.AsType[*worker.CrashError](err); ok {
		info.Crash = &snakepitv1.ErrorInfo_Crash{
			Worker: crash.Worker, MaybeExecuted: crash.MaybeExecuted, ExitCode: int32(crash.Exit.Code),
			ExitSignal: crash.Exit.Signal, ExitReason: crash.Exit.Reason,
			Cause: string(crash.Cause),
		}
		info.Retryable = !crash.MaybeExecuted
	}
	if e, ok := errors.AsType[*execution.StateNotCommittedError](err); ok {
		info.Uncommitted = &snakepitv1.ErrorInfo_Uncommitted{Executed: e.Executed, Cause: head(e.Err.Error())}
		info.Retryable = false
	}
	if e, ok := errors.AsType[*session.Error](err); ok {
		info.Operation = &snakepitv1.ErrorInfo_Operation{Name: e.Op, Session: e.ID, Driver: e.Driver, Cause: head(e.Err.Error())}
	}
	if e, ok := errors.AsType[*session.InvalidError](err); ok {
		info.Invalid = &snakepitv1.ErrorInfo_Invalid{Field: e.Field, Reason: e.Reason}
	}
	if e, ok := errors.AsType[*session.CorruptError](err); ok {
		info.Corrupt = &snakepitv1.ErrorInfo_Corrupt{Session: e.ID, Part: e.Part, Reason: e.Reason}
	}
	if e, ok := errors.AsType[*session.StateConflictError](err); ok {
		info.Conflict = &snakepitv1.ErrorInfo_Conflict{Keys: e.Keys}
	}
	if len(info.Reasons) == 0 {
		info.Reasons = []string{"internal"}
	}
	if text := err.Error(); len(text) > maxText || !utf8.ValidString(text) {
		err = errors.New(head(text))
	}
	wire := connect.NewError(code, err)
	if detail, derr := connect.NewErrorDetail(info); derr == nil {
		wire.AddDetail(detail)
	}
	return wire
}

// maxText bounds each text of an error on the wire: gRPC sends them in trailers,
// for which HTTP/2 implementations have limits. A longer traceback loses its
// beginning, other texts their end. Protobuf takes valid UTF-8 only.
const maxText = 16 << 10

const cut = "..."

func head(s string) string {
	if len(s) > maxText {
		s = s[:maxText-len(cut)] + cut
	}
	return strings.ToValidUTF8(s, "")
}

func tail(s string) string {
	if len(s) > maxText {
		s = cut + s[len(s)-maxText+len(cut):]
	}
	return strings.ToValidUTF8(s, "")
}

// Info is what an encoded error says of itself, nil if it does not come from
// Encode.
func Info(wire *connect.Error) *snakepitv1.ErrorInfo {
	for _, detail := range wire.Details() {
		value, err := detail.Value()
		if err != nil {
			continue // of a type that only a newer version knows
		}
		if info, ok := value.(*snakepitv1.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// Decode returns the error that Encode was given, as far as errors.Is,
// errors.As and its message go. What the protocol itself refused comes back
// with the sentinel that says the same, if there is one. An error of the
// connection rather than of the server stays as it is.
func Decode(err error) error {
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	info := Info(wire)
	if info == nil && !connect.IsWireError(wire) {
		return err
	}
	decoded := &remoteError{message: wire.Message(), causes: causes(info)}
	if sentinel, ok := ofCode[wire.Code()]; ok && len(decoded.causes) == 0 {
		decoded.causes = append(decoded.causes, sentinel)
	}
	decoded.causes = append(decoded.causes, wire)
	return decoded
}

// ofCode has what the protocol means by the codes that it uses itself.
var ofCode = map[connect.Code]error{
	connect.CodeInvalidArgument:   session.ErrInvalid,  // the request cannot be decoded
	connect.CodeResourceExhausted: session.ErrTooLarge, // the request is too large
	connect.CodeUnimplemented:     session.ErrUnsupported,
	connect.CodeUnavailable:       session.ErrUnavailable,
	connect.CodeDeadlineExceeded:  context.DeadlineExceeded,
	connect.CodeCanceled:          context.Canceled,
}

// causes are the errors that info stands for, which may be nil.
func causes(info *snakepitv1.ErrorInfo) []error {
	if info == nil {
		return nil
	}
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
			Exit:  worker.Exit{Code: int(c.ExitCode), Signal: c.ExitSignal, Reason: c.ExitReason},
			Cause: worker.Cause(c.Cause),
		})
	}
	if i := info.Invalid; i != nil {
		list = append(list, &session.InvalidError{Field: i.Field, Reason: i.Reason})
	}
	if c := info.Corrupt; c != nil {
		list = append(list, &session.CorruptError{ID: c.Session, Part: c.Part, Reason: c.Reason})
	}
	if c := info.Conflict; c != nil {
		list = append(list, &session.StateConflictError{Keys: c.Keys})
	}
	if o := info.Operation; o != nil {
		list = append(list, &session.Error{
			Op: o.Name, ID: o.Session, Driver: o.Driver, Err: &remoteError{message: o.Cause, causes: list},
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
