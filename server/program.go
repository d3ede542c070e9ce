package server

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/session"
)

// programPart is how many bytes of a program one message carries.
const programPart = 256 << 10

func (s *sessionService) PutProgram(ctx context.Context, stream *connect.ClientStream[snakepitv1.PutProgramRequest]) (*connect.Response[snakepitv1.PutProgramResponse], error) {
	if !stream.Receive() {
		if err := stream.Err(); err != nil {
			return nil, err
		}
		return nil, &session.InvalidError{Field: "start", Reason: "the stream is empty: its first message must name the program"}
	}
	start := stream.Msg().GetStart()
	if start == nil {
		return nil, &session.InvalidError{Field: "start", Reason: "is missing: the first message must name the program"}
	}
	p, err := s.store.PutProgram(ctx, start.GetSession(), start.GetName(), &messageReader{stream: stream},
		&session.ProgramOptions{ContentType: start.GetContentType()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.PutProgramResponse{Program: programMessage(p)}), nil
}

// messageReader reads the bytes of a stream of messages.
type messageReader struct {
	stream *connect.ClientStream[snakepitv1.PutProgramRequest]
	rest   []byte
}

func (r *messageReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.stream.Receive() {
			if err := r.stream.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		if r.stream.Msg().GetStart() != nil {
			return 0, &session.InvalidError{Field: "start", Reason: "stands in a later message than the first"}
		}
		r.rest = r.stream.Msg().GetData()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (s *sessionService) GetProgram(ctx context.Context, req *connect.Request[snakepitv1.GetProgramRequest], stream *connect.ServerStream[snakepitv1.GetProgramResponse]) (err error) {
	r, err := s.store.OpenProgram(ctx, req.Msg.GetSession(), req.Msg.GetName())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := stream.Send(&snakepitv1.GetProgramResponse{
		Part: &snakepitv1.GetProgramResponse_Program{Program: programMessage(r.Program())},
	}); err != nil {
		return err
	}
	buf := make([]byte, programPart)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := stream.Send(&snakepitv1.GetProgramResponse{
				Part: &snakepitv1.GetProgramResponse_Data{Data: buf[:n]},
			}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (s *sessionService) ListPrograms(ctx context.Context, req *connect.Request[snakepitv1.ListProgramsRequest]) (*connect.Response[snakepitv1.ListProgramsResponse], error) {
	programs, err := s.store.Programs(ctx, req.Msg.GetSession())
	if err != nil {
		return nil, err
	}
	res := &snakepitv1.ListProgramsResponse{}
	for _, p := range programs {
		res.Programs = append(res.Programs, programMessage(p))
	}
	return connect.NewResponse(res), nil
}

func (s *sessionService) DeleteProgram(ctx context.Context, req *connect.Request[snakepitv1.DeleteProgramRequest]) (*connect.Response[snakepitv1.DeleteProgramResponse], error) {
	deleted, err := s.store.DeleteProgram(ctx, req.Msg.GetSession(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.DeleteProgramResponse{Deleted: deleted}), nil
}
