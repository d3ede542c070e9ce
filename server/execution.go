package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snakepit-go/snakepit"
	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/internal/jsontext"
	"github.com/snakepit-go/snakepit/session"
)

type executionService struct{ engine *snakepit.Engine }

func (s *executionService) Execute(ctx context.Context, req *connect.Request[snakepitv1.ExecuteRequest]) (*connect.Response[snakepitv1.ExecuteResponse], error) {
	inv, args, opts, err := invocation(req.Msg.GetInvocation(), req.Header())
	if err != nil {
		return nil, err
	}
	execute := s.engine.Execute
	if inv.GetSession() != "" {
		execute = func(ctx context.Context, tool string, args any, opts ...snakepit.CallOption) (*snakepit.Result, error) {
			return s.engine.ExecuteInSession(ctx, inv.GetSession(), tool, args, opts...)
		}
	}
	res, err := execute(ctx, inv.GetTool(), args, opts...)
	if err != nil {
		return nil, callError{err}
	}
	return connect.NewResponse(resultMessage(res)), nil
}

func (s *executionService) Stream(ctx context.Context, req *connect.Request[snakepitv1.StreamRequest], stream *connect.ServerStream[snakepitv1.StreamResponse]) error {
	return s.stream(ctx, req.Msg.GetInvocation(), req.Header(), stream.Send)
}

// stream runs a streaming call, and gives what it yields to send.
func (s *executionService) stream(ctx context.Context, invoked *snakepitv1.Invocation, header http.Header, send func(*snakepitv1.StreamResponse) error) error {
	inv, args, opts, err := invocation(invoked, header)
	if err != nil {
		return err
	}
	res, err := s.engine.StreamFunc(ctx, inv.GetSession(), inv.GetTool(), args, func(c *snakepit.Chunk) error {
		return send(&snakepitv1.StreamResponse{Event: &snakepitv1.StreamResponse_Chunk_{
			Chunk: &snakepitv1.StreamResponse_Chunk{Value: c.Value, Attachments: c.Attachments},
		}})
	}, opts...)
	if err != nil {
		return callError{err}
	}
	return send(&snakepitv1.StreamResponse{Event: &snakepitv1.StreamResponse_Done{Done: resultMessage(res)}})
}

// GetCall implements snakepitv1connect.ExecutionServiceHandler.
func (s *executionService) GetCall(ctx context.Context, req *connect.Request[snakepitv1.GetCallRequest]) (*connect.Response[snakepitv1.GetCallResponse], error) {
	status, err := s.engine.CallStatus(ctx, req.Msg.GetSession(), req.Msg.GetCallId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.GetCallResponse{Status: statusMessage(status)}), nil
}

// CloseCall implements snakepitv1connect.ExecutionServiceHandler.
func (s *executionService) CloseCall(ctx context.Context, req *connect.Request[snakepitv1.CloseCallRequest]) (*connect.Response[snakepitv1.CloseCallResponse], error) {
	status, err := s.engine.CloseCall(ctx, req.Msg.GetSession(), req.Msg.GetCallId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.CloseCallResponse{Status: statusMessage(status)}), nil
}

var callStates = map[execution.CallState]snakepitv1.CallStatus_State{
	execution.CallNotCommitted: snakepitv1.CallStatus_STATE_NOT_COMMITTED,
	execution.CallCommitted:    snakepitv1.CallStatus_STATE_COMMITTED,
	execution.CallRunning:      snakepitv1.CallStatus_STATE_RUNNING,
	execution.CallClosed:       snakepitv1.CallStatus_STATE_CLOSED,
	execution.CallNotKept:      snakepitv1.CallStatus_STATE_NOT_KEPT,
}

func statusMessage(status *snakepit.CallStatus) *snakepitv1.CallStatus {
	m := &snakepitv1.CallStatus{
		State: callStates[status.State], AnswerBytes: status.AnswerSize, AnswerSha256: status.AnswerSHA256,
		KeptSince: timestamppb.New(status.KeptSince),
	}
	if !status.At.IsZero() {
		m.At = timestamppb.New(status.At)
	}
	if a := status.Answer; a != nil {
		m.Answer = &snakepitv1.ExecuteResponse{Result: a.Value, Attachments: a.Attachments, Worker: a.Worker, Overwritten: a.Overwritten}
	}
	return m
}

// idempotencyKey is the header that names a call as call_id does.
const idempotencyKey = "Idempotency-Key"

// callID is the id of a call, by its field or by the header. Clients that follow
// the header's specification put it in quotes.
func callID(inv *snakepitv1.Invocation, header http.Header) (string, error) {
	values := header.Values(idempotencyKey)
	if len(values) == 0 {
		return inv.GetCallId(), nil
	}
	key := values[0]
	if n := len(key); n > 1 && key[0] == '"' && key[n-1] == '"' {
		key = key[1 : n-1]
	}
	switch {
	case len(values) > 1:
		return "", &session.InvalidError{Field: idempotencyKey, Reason: "is given more than once"}
	case key == "":
		return "", &session.InvalidError{Field: idempotencyKey, Reason: "is empty: leave it out, or name the call"}
	case inv.GetCallId() != "" && inv.GetCallId() != key:
		return "", &session.InvalidError{Field: idempotencyKey, Reason: fmt.Sprintf("is %q, and invocation.call_id is %q: give one of them, or the same twice", key, inv.GetCallId())}
	}
	return key, nil
}

// invocation returns the arguments and options of a call.
func invocation(inv *snakepitv1.Invocation, header http.Header) (*snakepitv1.Invocation, any, []snakepit.CallOption, error) {
	if inv.GetTool() == "" {
		return nil, nil, nil, &session.InvalidError{Field: "invocation.tool", Reason: "is empty: name the tool to run"}
	}
	id, err := callID(inv, header)
	if err != nil {
		return nil, nil, nil, err
	}
	opts := []snakepit.CallOption{
		snakepit.InPool(inv.GetPool()),
		snakepit.WithCallID(id),
		snakepit.WithAttachments(inv.GetAttachments()...),
	}
	if inv.GetIdempotent() {
		opts = append(opts, snakepit.Idempotent())
	}
	if c := snakepit.OnConflict(inv.GetOnConflict()); !c.Valid() {
		return nil, nil, nil, &session.InvalidError{Field: "invocation.on_conflict", Reason: fmt.Sprintf("is %q: say ignore, fail or retry", c)}
	} else if c != "" {
		opts = append(opts, snakepit.WithOnConflict(c))
	}
	if inv.GetSessionMustExist() {
		opts = append(opts, snakepit.MustExist())
	}
	if inv.GetTimeout() != nil {
		if err := inv.GetTimeout().CheckValid(); err != nil {
			return nil, nil, nil, &session.InvalidError{Field: "invocation.timeout", Reason: err.Error()}
		}
		d := inv.GetTimeout().AsDuration()
		if d <= 0 {
			return nil, nil, nil, &session.InvalidError{Field: "invocation.timeout", Reason: "must be positive"}
		}
		opts = append(opts, snakepit.WithTimeout(d))
	}
	text, err := objectOf("invocation.arguments", inv.GetArguments())
	if err != nil || text == nil {
		return inv, nil, opts, err
	}
	return inv, text, opts, nil
}

// objectOf returns the text of a JSON field that holds an object, nil if there
// is none. Over gRPC it comes as the client made it.
func objectOf(field string, text []byte) (json.RawMessage, error) {
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	if len(trimmed) == 0 || bytes.Equal(bytes.TrimSpace(trimmed), []byte("null")) {
		return nil, nil
	}
	if err := jsontext.Valid(text); err != nil {
		return nil, &session.InvalidError{Field: field, Reason: "is not valid JSON: " + err.Error()}
	}
	if trimmed[0] != '{' {
		return nil, &session.InvalidError{Field: field, Reason: "must be a JSON object"}
	}
	return text, nil
}

func resultMessage(res *snakepit.Result) *snakepitv1.ExecuteResponse {
	return &snakepitv1.ExecuteResponse{
		Result:       res.Value,
		Attachments:  res.Attachments,
		Worker:       res.Worker,
		StateVersion: res.StateVersion,
		Position:     res.Position,
		Overwritten:  res.Overwritten,
		Repeated:     res.Repeated,
	}
}
