package client

import (
	"context"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/session"
)

// Program is an entry of a session's program table.
type Program struct {
	Name        string    `json:"name"`
	Size        int64     `json:"size"`
	SHA256      string    `json:"sha256"`
	ContentType string    `json:"content_type,omitempty"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// programPart is how many bytes of a program one message carries.
const programPart = 256 << 10

// PutProgram stores what r has as a program of a session. If r fails, nothing
// is stored.
func (c *Client) PutProgram(ctx context.Context, sessionID, name, contentType string, r io.Reader) (*Program, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := c.sessions.PutProgram(ctx)
	err := stream.Send(&snakepitv1.PutProgramRequest{Part: &snakepitv1.PutProgramRequest_Start_{
		Start: &snakepitv1.PutProgramRequest_Start{Session: sessionID, Name: name, ContentType: contentType},
	}})
	buf := make([]byte, programPart)
	for err == nil {
		n, readErr := io.ReadFull(r, buf)
		if n > 0 {
			err = stream.Send(&snakepitv1.PutProgramRequest{Part: &snakepitv1.PutProgramRequest_Data{Data: buf[:n]}})
		}
		if readErr == io.EOF || readErr == io.ErrUnexpectedEOF {
			break
		}
		if readErr != nil {
			// Ending the stream would store half a program; cutting it off does not.
			return nil, fmt.Errorf("read program %q: %w", name, readErr)
		}
	}
	// A failed Send only says that the server has answered; the answer is here.
	res, err := stream.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return new(programOf(res.Msg.GetProgram())), nil
}

// GetProgram returns a program and its bytes, which the caller closes.
func (c *Client) GetProgram(ctx context.Context, sessionID, name string) (*Program, io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stream, err := c.sessions.GetProgram(ctx, connect.NewRequest(&snakepitv1.GetProgramRequest{Session: sessionID, Name: name}))
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	r := &programReader{ctx: ctx, cancel: cancel, stream: stream}
	if !stream.Receive() {
		_ = r.Close() // the stream's error says more
		if err := stream.Err(); err != nil {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("read program %q: %w", name, io.ErrUnexpectedEOF)
	}
	return new(programOf(stream.Msg().GetProgram())), r, nil
}

type programReader struct {
	ctx    context.Context // ends with Close at the latest
	cancel context.CancelCauseFunc
	stream *connect.ServerStreamForClient[snakepitv1.GetProgramResponse]
	rest   []byte
}

func (r *programReader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, fmt.Errorf("read program: %w", context.Cause(r.ctx))
	}
	for len(r.rest) == 0 {
		if !r.stream.Receive() {
			if err := r.stream.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		r.rest = r.stream.Msg().GetData()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *programReader) Close() error {
	r.cancel(session.ErrClosed)
	_ = r.stream.Close() // it reports the cancellation
	return nil
}

// Programs lists the programs of a session.
func (c *Client) Programs(ctx context.Context, sessionID string) ([]Program, error) {
	res, err := c.sessions.ListPrograms(ctx, connect.NewRequest(&snakepitv1.ListProgramsRequest{Session: sessionID}))
	if err != nil {
		return nil, err
	}
	programs := make([]Program, len(res.Msg.GetPrograms()))
	for i, m := range res.Msg.GetPrograms() {
		programs[i] = programOf(m)
	}
	return programs, nil
}

// DeleteProgram removes a program and reports whether there was one.
func (c *Client) DeleteProgram(ctx context.Context, sessionID, name string) (bool, error) {
	res, err := c.sessions.DeleteProgram(ctx, connect.NewRequest(&snakepitv1.DeleteProgramRequest{Session: sessionID, Name: name}))
	if err != nil {
		return false, err
	}
	return res.Msg.GetDeleted(), nil
}

func programOf(m *snakepitv1.Program) Program {
	return Program{
		Name: m.GetName(), Size: m.GetSize(), SHA256: m.GetSha256(), ContentType: m.GetContentType(),
		Created: m.GetCreated().AsTime(), Updated: m.GetUpdated().AsTime(),
	}
}
