package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/worker"
)

// DefaultMaxRequest is the largest request in bytes unless Options say
// otherwise.
const DefaultMaxRequest = 128 << 20

// DefaultMaxBytesInWork is how many bytes of requests may be in work unless
// Options say otherwise.
const DefaultMaxBytesInWork = 256 << 20

// Limits of connections.
const (
	// readHeaderTimeout bounds how long a client may take to send a request's
	// head, and idleTimeout how long it may keep a connection it does not use.
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 5 * time.Minute
	maxHeaderBytes    = 64 << 10
	// answerTimeout bounds how long cancelled requests may take to answer that
	// they were; shorter than what a stop stack leaves to a step.
	answerTimeout = 500 * time.Millisecond
	// maxStreams is how many requests may run on one connection; a client
	// opens another one beyond that.
	maxStreams = 1000
	// compressFrom is the size of an answer from which on compression, for a
	// client that takes it, is worth its time.
	compressFrom = 4 << 10
)

// Options of a Server. Engine is required.
type Options struct {
	Engine *snakepit.Engine
	// Health serves /livez, /readyz and /health...; nil serves none of them.
	Health http.Handler
	// Ready says whether the server is ready, for gRPC's health service; nil
	// serves none.
	Ready func(context.Context) bool
	// Metrics serves /metrics; nil serves none.
	Metrics http.Handler
	// MaxRequest is the largest message of a request in bytes;
	// DefaultMaxRequest if it is 0.
	MaxRequest int
	// MaxBytesInWork is how many bytes of requests there may be at once, from
	// their first byte to their answer; DefaultMaxBytesInWork if it is 0, and
	// at least twice MaxRequest. A request beyond waits for a moment and is
	// refused then.
	MaxBytesInWork int64
	// BodyTimeout is the longest pause in the body of a request, which also
	// has to arrive with 16 KiB a second on average once this time is over;
	// DefaultBodyTimeout if it is 0. A stream whose client reads nothing for as
	// long is cancelled.
	BodyTimeout time.Duration
	// MaxConnections is how many connections there may be at once; any number
	// if it is 0. One beyond them takes the place of an idle one, or is
	// refused.
	MaxConnections int
	// AllowedHosts are names that requests may have in their Host header,
	// besides localhost and addresses: "snakepit.example.com",
	// "*.example.com", or "*" for all.
	AllowedHosts []string
	// CORSOrigins are the origins whose web pages may use the server from a
	// browser: "https://app.example.com", or "*" for all.
	CORSOrigins []string
	// Logger gets a record of each request: at debug level if it succeeded or
	// is a call that failed, of which the engine has a record; at info level
	// with its code if it was refused; and at warning level if the fault was
	// here. It never gets arguments, results or what a tool raised.
	Logger *slog.Logger
}

// Server serves the control API.
type Server struct {
	handler     http.Handler
	http        *http.Server
	bodies      *bodies
	connections *connections
	cancel      context.CancelCauseFunc // cancels all requests
}

// New returns a server that does not listen yet.
func New(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxRequest <= 0 {
		opts.MaxRequest = DefaultMaxRequest
	}
	if opts.MaxBytesInWork <= 0 {
		opts.MaxBytesInWork = DefaultMaxBytesInWork
	}
	if opts.BodyTimeout <= 0 {
		opts.BodyTimeout = DefaultBodyTimeout
	}
	logger := slog.New(correlation.NewHandler(opts.Logger.Handler()))
	mux := routes(opts, logger)
	s := &Server{bodies: newBodies(opts.BodyTimeout, newBudget(opts.MaxBytesInWork, int64(opts.MaxRequest))), connections: newConnections(opts.MaxConnections)}
	s.handler = correlate(s.bodies.watch(pages{lower(opts.AllowedHosts), lower(opts.CORSOrigins)}.restrict(ownProcedures().check(mux))))
	base, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC without TLS
	s.http = &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return base },
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         s.connections.changed,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// routes returns the handlers of everything that is served, by path.
func routes(opts Options, logger *slog.Logger) *http.ServeMux {
	log := &interceptor{logger}
	handlerOptions := []connect.HandlerOption{
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithReadMaxBytes(opts.MaxRequest),
		connect.WithCompressMinBytes(compressFrom),
		connect.WithInterceptors(log),
		connect.WithRecover(func(ctx context.Context, spec connect.Spec, _ http.Header, reason any) error {
			logger.ErrorContext(ctx, "panic", "procedure", spec.Procedure, "reason", reason, "stack", string(debug.Stack()))
			return errors.New("the server has a fault; its log says more")
		}),
	}
	mux := http.NewServeMux()
	failures := connect.NewErrorWriter(handlerOptions...)
	calls := &executionService{engine: opts.Engine}
	path, execution := snakepitv1connect.NewExecutionServiceHandler(calls, handlerOptions...)
	mux.Handle(path, execution)
	mux.Handle(plainStream, readers{timeout: opts.BodyTimeout, next: &streamHandler{calls: calls, log: log, errors: failures, maxRequest: opts.MaxRequest, next: execution}})
	mux.Handle(programPath, &programHandler{store: opts.Engine.Sessions(), log: log, errors: failures})
	mux.Handle(snakepitv1connect.NewSessionServiceHandler(&sessionService{store: opts.Engine.Sessions()}, handlerOptions...))
	mux.Handle(snakepitv1connect.NewPoolServiceHandler(&poolService{opts.Engine}, handlerOptions...))
	handleReflection(mux, handlerOptions...)
	if opts.Ready != nil {
		mux.Handle(grpchealth.NewHandler(readiness(opts.Ready), handlerOptions...))
	}
	mux.HandleFunc("/", notFound)
	if opts.Health != nil {
		for _, path := range []string{"/livez", "/readyz", "/health", "/health/"} {
			mux.Handle(path, opts.Health)
		}
	}
	if opts.Metrics != nil {
		mux.Handle("/metrics", opts.Metrics)
	}
	return mux
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

// Close ends the server and its connections at once.
func (s *Server) Close() error { return s.http.Close() }

// errShutdown is why requests are cancelled that Shutdown cannot wait for. A
// call among them may have done something; errDraining is why those end that
// are still being sent, and have done nothing.
var (
	errShutdown = fmt.Errorf("%w: the server shuts down", worker.ErrCanceled)
	errDraining = fmt.Errorf("%w: the server shuts down, and the request was not there yet as a whole", worker.ErrDraining)
)

// Shutdown stops listening and returns when the running requests have ended.
// When ctx ends first, those that are still being sent are refused, which is no
// error. The others are cancelled, and those that do not end by that are cut
// off.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.cancel(nil)
	s.connections.closeFresh()
	err := s.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	if s.bodies.others() == 0 {
		err = nil
	}
	s.bodies.refuse(errDraining)
	if err != nil {
		s.cancel(errShutdown)
	}
	answering, stop := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer stop()
	if s.http.Shutdown(answering) != nil {
		err = errors.Join(err, s.http.Close())
	}
	if err != nil {
		return fmt.Errorf("shut down the server: %w", err)
	}
	return nil
}
