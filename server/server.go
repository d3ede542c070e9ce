package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/internal/wireerr"
)

// CorrelationHeader carries the correlation id of a request and its answer.
const CorrelationHeader = "X-Snakepit-Correlation-Id"

// DefaultMaxRequest is the largest request in bytes unless Options say
// otherwise.
const DefaultMaxRequest = 128 << 20

// readHeaderTimeout bounds how long a client may take to send a request's head.
const readHeaderTimeout = 10 * time.Second

// Options of a Server. Engine is required.
type Options struct {
	Engine *snakepit.Engine
	// Health serves /livez, /readyz and /health...; nil serves none of them.
	Health http.Handler
	// Metrics serves /metrics; nil serves none.
	Metrics http.Handler
	// MaxRequest is the largest message of a request in bytes.
	MaxRequest int
	// Logger gets a record of each request at debug level, and of each that
	// failed inside at warning level. It never gets arguments or results.
	Logger *slog.Logger
}

// Server serves the control API.
type Server struct {
	handler http.Handler
	http    *http.Server
}

// New returns a server that does not listen yet.
func New(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxRequest <= 0 {
		opts.MaxRequest = DefaultMaxRequest
	}
	handlerOptions := []connect.HandlerOption{
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithReadMaxBytes(opts.MaxRequest),
		connect.WithInterceptors(&interceptor{opts.Logger}),
	}
	mux := http.NewServeMux()
	mux.Handle(snakepitv1connect.NewExecutionServiceHandler(&executionService{engine: opts.Engine}, handlerOptions...))
	mux.Handle(snakepitv1connect.NewSessionServiceHandler(&sessionService{store: opts.Engine.Sessions()}, handlerOptions...))
	mux.Handle(snakepitv1connect.NewPoolServiceHandler(&poolService{opts.Engine}, handlerOptions...))
	if opts.Health != nil {
		for _, path := range []string{"/livez", "/readyz", "/health", "/health/"} {
			mux.Handle(path, opts.Health)
		}
	}
	if opts.Metrics != nil {
		mux.Handle("/metrics", opts.Metrics)
	}

	s := &Server{handler: correlate(mux)}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC without TLS
	s.http = &http.Server{
		Handler:           s,
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve answers requests on a listener, which it closes, until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown stops listening and returns when the running requests have ended.
// When ctx ends first, they are cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return fmt.Errorf("shut down the server: %w", errors.Join(err, s.http.Close()))
	}
	return nil
}

// correlate gives every request a correlation id: the client's, if it sent a
// usable one, or a new one. The answer carries it.
func correlate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(CorrelationHeader)
		if !correlation.Valid(id) {
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
		return i.done(ctx, conn.Spec(), began, next(ctx, conn))
	}
}

func (i *interceptor) done(ctx context.Context, spec connect.Spec, began time.Time, err error) error {
	level, result := slog.LevelDebug, "ok"
	var wire *connect.Error
	if err != nil {
		wire = wireerr.Encode(err)
		result = wire.Code().String()
		switch wire.Code() {
		case connect.CodeInternal, connect.CodeDataLoss:
			level = slog.LevelWarn
		}
	}
	if i.logger.Enabled(ctx, level) {
		attrs := []slog.Attr{
			slog.String("procedure", spec.Procedure), slog.String("result", result),
			slog.Duration("took", time.Since(began)), slog.String("correlation_id", correlation.FromContext(ctx)),
		}
		if err != nil {
			attrs = append(attrs, slog.Any("error", err))
		}
		i.logger.LogAttrs(ctx, level, "request", attrs...)
	}
	if wire == nil {
		return nil // not a typed nil
	}
	return wire
}
