// Package app is the daemon as a library: it puts the parts together by their settings, starts them, and stops them.
//
//	a, err := app.New(cfg, app.Options{Stderr: os.Stderr})
//	...
//	err = a.Run(ctx) // until ctx ends
//
// It is the only package that knows every storage driver, the server, health, telemetry and the configuration; the
// others are given what they need. store.go lists the drivers, settings.go turns settings into options.
//
// # Order
//
// Start takes the address, opens the session store, starts the pools and answers requests, in this order; if a step
// fails, those before it are undone. Stop runs the other way: readiness ends, new calls are refused and running ones
// have the drain timeout to end, after which they are cancelled, the server closes its connections, the workers are
// stopped, the store is closed.
//
// # Concurrency and failure
//
// An App is started once. All methods are safe for concurrent use, and Stop may be called at any time and again. When
// Stop's context ends, what still runs is cut off; sessions lose nothing by that, as a call that has returned is
// committed and one that has not commits nothing.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/config"
	"github.com/snakepit-go/snakepit/health"
	"github.com/snakepit-go/snakepit/internal/lifecycle"
	"github.com/snakepit-go/snakepit/internal/logqueue"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/telemetry"
)

// Bounds of the steps of Stop that no setting bounds.
const (
	// answerTimeout is how long answers may take to reach their clients after the calls have ended.
	answerTimeout = 2 * time.Second
	// undoTimeout bounds what a failed start undoes.
	undoTimeout = 30 * time.Second
	// logTimeout is how long the end of the log may take to reach its reader.
	logTimeout = time.Second
)

// Options are what a program that runs the daemon gives it beside the configuration.
type Options struct {
	// Stderr receives the log in the form that the configuration says; nil discards it. A writer that is stuck or fails
	// holds nothing up: records that do not fit into a queue of 1 MiB are dropped, counted, and told of later.
	Stderr io.Writer
	// Logger replaces the log made from the configuration. Its handler must not wait for a reader: calls log.
	Logger *slog.Logger
	// Registerer receives the metrics instead of a registry of the daemon's own, whose metrics it serves at /metrics;
	// with one of the program's, that is the program's to do.
	Registerer prometheus.Registerer
	// HostTools are functions of this program that tools may call.
	HostTools map[string]snakepit.HostTool
}

// App is one daemon.
type App struct {
	config config.Config
	opts   Options
	log    *slog.Logger
	queue  *logqueue.Queue // before Options.Stderr; nil if the log is the program's
	health *health.Registry

	started atomic.Bool
	stack   lifecycle.Stack
	failed  chan error // takes the error of a server that ended by itself

	// Set by Start, before anyone else may use them.
	listener net.Listener
	engine   *snakepit.Engine
}

// New checks the configuration and returns an App that has not started anything.
func New(c config.Config, opts Options) (*App, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	a := &App{config: c, opts: opts, log: opts.Logger, health: health.New(), failed: make(chan error, 1)}
	if a.log == nil {
		stderr := opts.Stderr
		if stderr == nil {
			stderr = io.Discard
		}
		var err error
		if a.log, a.queue, err = newLogger(c.Log, stderr); err != nil {
			return nil, fmt.Errorf("configuration: log: %w", err)
		}
	}
	return a, nil
}

// Run starts the daemon, waits until ctx ends or the server fails, and stops it.
func (a *App) Run(ctx context.Context) error {
	if err := a.Start(ctx); err != nil {
		return err
	}
	failed := a.Wait(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.stopTimeout())
	defer cancel()
	return errors.Join(failed, a.Stop(ctx))
}

// stopTimeout is what the steps of Stop may take together.
func (a *App) stopTimeout() time.Duration {
	return a.config.Shutdown.DrainTimeout + 2*answerTimeout + a.engine.CloseTimeout() + logTimeout
}

// Start returns when the daemon answers requests and every pool has a worker that is ready. If it cannot, nothing is
// left running, and the error says why; tools that do not load come with their traceback.
func (a *App) Start(ctx context.Context) error {
	if a.started.Swap(true) {
		return errors.New("start: the daemon has been started before; make another one")
	}
	if err := a.start(ctx); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, a.stack.Stop(undo))
		a.flushLog()
		return err
	}
	a.log.Info("ready", "address", a.Address(), "store", a.config.StoreDriver())
	return nil
}

func (a *App) start(ctx context.Context) error {
	connections, err := connectionLimit(a.config.Limits)
	if err != nil {
		return err
	}
	if err := a.listen(ctx); err != nil {
		return err
	}
	registry, metrics := a.registry()
	if err := a.openEngine(ctx, registry); err != nil {
		return err
	}
	if a.queue != nil {
		if err := registry.Register(telemetry.Log(a.queue.Dropped)); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	a.addChecks()
	a.serve(metrics, connections)
	return nil
}

// listen takes the address first: it is what most often is not to be had, and what costs least to find out.
func (a *App) listen(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.config.Listen)
	if err != nil {
		return err // it says "listen tcp 127.0.0.1:7460: bind: address already in use"
	}
	a.stack.Push("listener", func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // the server closes it too
			return err
		}
		return nil
	})
	a.listener = l
	// A name in the configuration, localhost, may stand for any address.
	if addr, err := netip.ParseAddrPort(l.Addr().String()); !a.config.AllowRemote && (err != nil || !addr.Addr().IsLoopback()) {
		return fmt.Errorf("listen on %s: %s can be reached from other machines and there is no authentication; use 127.0.0.1, or set allow_remote if the network is trusted",
			a.config.Listen, l.Addr())
	}
	return nil
}

func (a *App) openEngine(ctx context.Context, registry prometheus.Registerer) error {
	store, err := openStore(ctx, a.config, a.log)
	if err != nil {
		return err
	}
	c := snakepit.Config{
		Store:         store,
		Sessions:      sessionOptions(a.config.Sessions),
		HostTools:     a.opts.HostTools,
		Node:          a.config.NodeName(),
		RunDir:        a.config.RunDir,
		Logger:        a.log,
		LogTracebacks: a.config.Log.Tracebacks,
	}
	for _, p := range a.config.Pools {
		c.Pools = append(c.Pools, poolConfig(p))
	}
	if err := telemetry.Attach(&c, registry); err != nil {
		return errors.Join(err, store.Close())
	}
	if a.engine, err = snakepit.Open(ctx, c); err != nil {
		return err
	}
	a.stack.Push("engine", a.engine.Stop)
	return nil
}

func (a *App) serve(metrics http.Handler, connections int) {
	srv := server.New(server.Options{
		Engine:  a.engine,
		Health:  a.health.Handler(),
		Metrics: metrics,
		Ready:   func(ctx context.Context) bool { return a.health.Ready(ctx).Ready },
		Logger:  a.log,

		MaxRequest:     int(a.config.Limits.RequestBytes),
		MaxBytesInWork: int64(a.config.Limits.BytesInWork),
		BodyTimeout:    a.config.Limits.BodyTimeout,
		MaxConnections: connections,
		AllowedHosts:   hosts(a.config),
		CORSOrigins:    a.config.CORSOrigins,
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := srv.Serve(a.listener); err != nil {
			a.failed <- err
		}
	}()
	var drained error
	a.stack.Push("server", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		err := srv.Shutdown(ctx)
		<-ended
		if drained != nil {
			return nil // the drain has said so
		}
		return err
	})
	a.stack.Push("calls", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, a.config.Shutdown.DrainTimeout)
		defer cancel()
		drained = a.engine.Drain(ctx)
		return drained
	})
	a.stack.Push("readiness", func(context.Context) error {
		a.health.SetUnready("shutting down")
		return nil
	})
}

// Wait returns nil when ctx ends, or the error of a server that has ended by itself.
func (a *App) Wait(ctx context.Context) error {
	select {
	case err := <-a.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// Stop ends the daemon in the order that the package describes. When ctx ends it waits no longer.
func (a *App) Stop(ctx context.Context) error {
	a.log.Info("stopping")
	err := a.stack.Stop(ctx)
	a.log.Info("stopped")
	a.flushLog()
	return err
}

// flushLog gives the end of the log a moment to reach its reader. If there is none any more, nobody can be told.
func (a *App) flushLog() {
	if a.queue == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), logTimeout)
	defer cancel()
	_ = a.queue.Flush(ctx)
}

// URL is where clients of a started daemon find it.
func (a *App) URL() string { return "http://" + a.Address() }

// Address is where a started daemon listens, as host:port, with the port that was found if the configured one is 0.
func (a *App) Address() string { return a.listener.Addr().String() }

// Engine is the engine of a started daemon.
func (a *App) Engine() *snakepit.Engine { return a.engine }
