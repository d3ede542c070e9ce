package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/internal/wireerr"
)

// CorrelationHeader carries the correlation id of a request and its answer.
const CorrelationHeader = "X-Snakepit-Correlation-Id"

// correlate gives every request a correlation id: the client's, if it sent a
// usable one, that of its trace, or a new one. The answer carries it.
func correlate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(CorrelationHeader)
		if !correlation.Valid(id) {
			id = correlation.FromTraceparent(r.Header.Get("Traceparent"))
		}
		if id == "" {
			id = correlation.NewID()
		}
		w.Header().Set(CorrelationHeader, id)
		next.ServeHTTP(w, r.WithContext(correlation.NewContext(r.Context(), id)))
	})
}

// interceptor encodes errors and logs requests, for unary and streaming calls
// alike.
type interceptor struct{ logger *slog.Logger }

// WrapUnary implements connect.Interceptor.
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		began := time.Now()
		settle(ctx, func() int { return messageSize(req.Any()) })
		res, err := next(ctx, req)
		return res, i.done(ctx, req.Spec(), began, err)
	}
}

// WrapStreamingClient implements connect.Interceptor; a server has no clients.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		began := time.Now()
		return i.done(ctx, conn.Spec(), began, next(ctx, settlingConn{conn, ctx}))
	}
}

// settlingConn tells the budget of requests when a message of a stream has
// arrived.
type settlingConn struct {
	connect.StreamingHandlerConn
	ctx context.Context
}

// Receive implements connect.StreamingHandlerConn.
func (c settlingConn) Receive(msg any) error {
	err := c.StreamingHandlerConn.Receive(msg)
	if err == nil {
		settle(c.ctx, func() int { return messageSize(msg) })
	}
	return err
}

func messageSize(msg any) int {
	if m, ok := msg.(proto.Message); ok {
		return proto.Size(m)
	}
	return 0
}

// done logs the end of a request and returns its error as it goes to the
// client.
func (i *interceptor) done(ctx context.Context, spec connect.Spec, began time.Time, err error) error {
	if err == nil {
		i.log(ctx, slog.LevelDebug, spec, began, "ok")
		return nil
	}
	wire := wireerr.Encode(err)
	attrs := []slog.Attr{slog.Any("reasons", wireerr.Info(wire).GetReasons())}
	level := levelOf(wire.Code())
	if _, ok := errors.AsType[callError](err); ok {
		level = slog.LevelDebug // the engine has a record of it that says more
	} else {
		attrs = append(attrs, slog.String("error", wire.Message()))
	}
	i.log(ctx, level, spec, began, wire.Code().String(), attrs...)
	return wire
}

// callError is an error that the engine returned, and has logged.
type callError struct{ error }

func (e callError) Unwrap() error { return e.error }

// levelOf tells faults of the server from answers to its clients.
func levelOf(code connect.Code) slog.Level {
	switch code {
	case connect.CodeInternal, connect.CodeDataLoss, connect.CodeUnavailable:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

func (i *interceptor) log(ctx context.Context, level slog.Level, spec connect.Spec, began time.Time, result string, attrs ...slog.Attr) {
	if !i.logger.Enabled(ctx, level) {
		return
	}
	i.logger.LogAttrs(ctx, level, "request", append([]slog.Attr{
		slog.String("procedure", spec.Procedure), slog.String("result", result), slog.Float64("duration_ms", float64(time.Since(began).Microseconds())/1000),
	}, attrs...)...)
}
