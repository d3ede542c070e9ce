package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit"
	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/session"
)

type executionService struct{ engine *snakepit.Engine }

func (s *executionService) Execute(ctx context.Context, req *connect.Request[snakepitv1.ExecuteRequest]) (*connect.Response[snakepitv1.ExecuteResponse], error) {
	inv, args, opts, err := invocation(req.Msg.GetInvocation())
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
	inv, args, opts, err := invocation(req.Msg.GetInvocation())
	if err != nil {
		return err
	}
	res, err := s.engine.StreamFunc(ctx, inv.GetSession(), inv.GetTool(), args, func(c *snakepit.Chunk) error {
		return stream.Send(&snakepitv1.StreamResponse{Event: &snakepitv1.StreamResponse_Chunk_{
			Chunk: &snakepitv1.StreamResponse_Chunk{Value: c.Value, Attachments: c.Attachments},
		}})
	}, opts...)
	if err != nil {
		return callError{err}
	}
	return stream.Send(&snakepitv1.StreamResponse{Event: &snakepitv1.StreamResponse_Done{Done: resultMessage(res)}})
}

// invocation returns the arguments and options of a call.
func invocation(inv *snakepitv1.Invocation) (*snakepitv1.Invocation, any, []snakepit.CallOption, error) {
	if inv.GetTool() == "" {
		return nil, nil, nil, &session.InvalidError{Field: "invocation.tool", Reason: "is empty: name the tool to run"}
	}
	opts := []snakepit.CallOption{
		snakepit.InPool(inv.GetPool()),
		snakepit.WithCallID(inv.GetCallId()),
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
	switch {
	case len(trimmed) == 0, bytes.Equal(bytes.TrimSpace(trimmed), []byte("null")):
		return nil, nil
	case !utf8.Valid(text):
		return nil, &session.InvalidError{Field: field, Reason: "is not valid UTF-8"}
	case !json.Valid(text):
		var nothing any
		return nil, &session.InvalidError{Field: field, Reason: "is not valid JSON: " + json.Unmarshal(text, &nothing).Error()}
	case trimmed[0] != '{':
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
	}
}
