package server

import (
	"context"
	"encoding/json"

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
		return nil, err
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
		return err
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
	if inv.GetSessionMustExist() {
		opts = append(opts, snakepit.MustExist())
	}
	if inv.GetTimeout() != nil {
		d := inv.GetTimeout().AsDuration()
		if d <= 0 {
			return nil, nil, nil, &session.InvalidError{Field: "invocation.timeout", Reason: "must be positive"}
		}
		opts = append(opts, snakepit.WithTimeout(d))
	}
	var args any
	if len(inv.GetArguments()) > 0 && string(inv.GetArguments()) != "null" {
		args = json.RawMessage(inv.GetArguments())
	}
	return inv, args, opts, nil
}

func resultMessage(res *snakepit.Result) *snakepitv1.ExecuteResponse {
	return &snakepitv1.ExecuteResponse{
		Result:       res.Value,
		Attachments:  res.Attachments,
		Worker:       res.Worker,
		StateVersion: res.StateVersion,
		Position:     res.Position,
	}
}
