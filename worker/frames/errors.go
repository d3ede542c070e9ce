package frames

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/snakepit-go/snakepit/worker"
)

// Error codes of docs/protocol.md.
const (
	codeMethodNotFound = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
	codeRaised         = -32001
	codeCanceled       = -32002
	codeStateMissing   = -32003
	codeUnencodable    = -32004
	codeRefused        = -32005
	codeNoVersion      = -32010
)

// rpcError is the error of an answer.
type rpcError struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Data    errorData `json:"data"`
}

type errorData struct {
	Type      string `json:"type,omitempty"`
	Traceback string `json:"traceback,omitempty"`
	Parameter string `json:"parameter,omitempty"`
	Tool      string `json:"tool,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// answerError is the error of a call that a worker answered with one.
func answerError(raw []byte) error {
	var e rpcError
	if err := json.Unmarshal(raw, &e); err != nil {
		return malformed(err)
	}
	tool := func(kind worker.ToolErrorKind) error {
		return &worker.ToolError{Kind: kind, Type: e.Data.Type, Message: e.Message, Traceback: e.Data.Traceback, Parameter: e.Data.Parameter}
	}
	switch e.Code {
	case codeMethodNotFound:
		if e.Data.Tool == "" {
			return tool(worker.WorkerFault)
		}
		return fmt.Errorf("%w: %q", worker.ErrToolNotFound, e.Data.Tool)
	case codeInvalidParams:
		return tool(worker.InvalidArguments)
	case codeRaised, codeRefused:
		return tool(worker.ToolRaised)
	case codeCanceled:
		return worker.ErrCanceled
	case codeStateMissing:
		return worker.ErrStateMissing
	case codeUnencodable:
		return tool(worker.Unencodable)
	default:
		return tool(worker.WorkerFault)
	}
}

// malformed is the error of a call whose answer is not one. Only that call is
// concerned: where the next frame begins is certain.
func malformed(err error) error {
	return &worker.ToolError{Kind: worker.WorkerFault, Type: "ProtocolError", Message: "the worker sent a malformed message: " + err.Error()}
}

// refusals are the reasons a worker is given when the host declines what a
// tool asks for.
var refusals = []struct {
	err    error
	reason string
}{
	{worker.ErrNoSession, "no_session"},
	{worker.ErrReadOnly, "read_only"},
	{worker.ErrProgramNotFound, "no_program"},
	{worker.ErrHostToolNotFound, "no_tool"},
	{errNoUpload, "no_upload"},
	{worker.ErrCallEnded, "no_call"},
	{errBusy, "busy"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "canceled"},
}

var (
	errNoUpload = errors.New("no such upload in this call")
	errBusy     = errors.New("too many requests of this call are waiting")
)

// refusal is the error answered to a worker's request that failed.
func refusal(err error) *rpcError {
	var e *rpcError
	if errors.As(err, &e) {
		return e
	}
	e = &rpcError{Code: codeRefused, Message: err.Error(), Data: errorData{Reason: "failed"}}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			e.Data.Reason = r.reason
			break
		}
	}
	return e
}

func (e *rpcError) Error() string { return e.Message }
