package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/internal/wireerr"
	"github.com/snakepit-go/snakepit/session"
)

// interceptor decodes errors and sends the correlation id of the context.
type interceptor struct{ url string }

// WrapUnary implements connect.Interceptor.
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if id := correlation.FromContext(ctx); id != "" {
			req.Header().Set(correlationHeader, id)
		}
		res, err := next(ctx, req)
		return res, i.decode(req.Spec(), err)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if id := correlation.FromContext(ctx); id != "" {
			conn.RequestHeader().Set(correlationHeader, id)
		}
		return &decodingConn{StreamingClientConn: conn, decode: func(err error) error { return i.decode(spec, err) }}
	}
}

// WrapStreamingHandler implements connect.Interceptor; a client has no handlers.
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// decode returns what an error of a request means to the caller.
func (i *interceptor) decode(spec connect.Spec, err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	if op := dialError(err); op != nil {
		return i.unreachable(op)
	}
	if !lostConnection(err) {
		return wireerr.Decode(err)
	}
	// The answer was lost with it.
	outcome := session.ErrUnknown
	if spec.IdempotencyLevel != connect.IdempotencyUnknown {
		outcome = session.ErrUnavailable
	}
	return fmt.Errorf("connection to %s lost: %w: %w", i.url, outcome, err)
}

// lostConnection tells an error of the connection from an answer of the server
// and from a request that could not be encoded.
func lostConnection(err error) bool {
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok || connect.IsWireError(wire) {
		return false
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	return wire.Code() == connect.CodeUnavailable || errors.Is(err, io.ErrUnexpectedEOF)
}

// unreachable is the error of a request that no server has got.
func (i *interceptor) unreachable(dial *net.OpError) error {
	if _, ok := errors.AsType[*net.DNSError](dial); ok {
		return fmt.Errorf("find server %s: %w: %w", i.url, session.ErrUnavailable, dial)
	}
	return fmt.Errorf("no server answers at %s (is `snakepit serve` running?): %w: %w", i.url, session.ErrUnavailable, dial)
}

// dialError is why there was no connection, nil if there was one.
func dialError(err error) *net.OpError {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return op
	}
	return nil
}

// decodingConn decodes the errors of a stream.
type decodingConn struct {
	connect.StreamingClientConn
	decode func(error) error
}

func (c *decodingConn) Send(m any) error    { return c.decode(c.StreamingClientConn.Send(m)) }
func (c *decodingConn) Receive(m any) error { return c.decode(c.StreamingClientConn.Receive(m)) }
func (c *decodingConn) CloseRequest() error { return c.decode(c.StreamingClientConn.CloseRequest()) }
