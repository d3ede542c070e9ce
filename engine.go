package snakepit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/internal/lifecycle"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
)

// Engine runs tools in its pools and keeps their sessions.
type Engine struct {
	sessions *session.Store
	executor *execution.Executor
	pools    []*pool
	calls    *running
	failures *failureLog

	parts    lifecycle.Stack // what Stop stops
	stopOnce sync.Once
	stopped  chan struct{} // closed when stopErr is set
	stopErr  error
}

// pool is a worker pool with what the engine needs beside it.
type pool struct {
	*worker.Pool
	config    PoolConfig
	transport string
}

// Open starts an engine. It returns when every pool has a worker that is ready;
// if one cannot be started, everything is stopped again and the error says why,
// with the traceback if the tools did not load. The store is closed then too,
// whatever went wrong.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		if cfg.Store != nil {
			err = errors.Join(err, cfg.Store.Close())
		}
		return nil, fmt.Errorf("open engine: %w", err)
	}
	e := &Engine{
		calls:    newRunning(),
		failures: &failureLog{cfg.Logger, cfg.LogTracebacks},
		stopped:  make(chan struct{}),
	}
	if err := e.open(ctx, cfg); err != nil {
		return nil, fmt.Errorf("open engine: %w", errors.Join(err, e.Close()))
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context, cfg Config) error {
	store := cfg.Store
	if store == nil {
		store = memstore.New()
	}
	options := cfg.Sessions
	if options.Logger == nil {
		options.Logger = cfg.Logger
	}
	var executor atomic.Pointer[execution.Executor]
	forgetGoneSessions(&options.Observer, &executor)
	sessions, err := session.New(store, &options)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	e.sessions = sessions
	e.parts.Push("session store", func(context.Context) error { return sessions.Close() })

	python := newPython(cfg)
	e.parts.Push("worker processes", func(context.Context) error { return python.close() })
	workerPools := make([]*worker.Pool, len(cfg.Pools))
	for i, config := range cfg.Pools {
		p := &pool{config: config, transport: "custom"}
		transport := config.Transport
		if transport == nil {
			p.transport = "frames"
			if transport, err = python.transport(ctx, config); err != nil {
				return fmt.Errorf("pool %q: %w", config.Name, err)
			}
		}
		if p.Pool, err = worker.NewPool(worker.PoolOptions{
			Name:         config.Name,
			Size:         config.Workers,
			Transport:    transport,
			QueueLimit:   config.QueueLimit,
			QueueTimeout: config.QueueTimeout,
			StartTimeout: config.StartTimeout,
			PingInterval: config.PingInterval,
			PingTimeout:  max(config.PingInterval, 0),
			CancelGrace:  config.CancelGrace,
			StopGrace:    config.StopGrace,
			Logger:       cfg.Logger,
			Observer:     cfg.Telemetry.Workers,
		}); err != nil {
			return err
		}
		workerPools[i] = p.Pool
		e.pools = append(e.pools, p)
	}
	e.executor = execution.New(execution.Options{
		Sessions:  sessions,
		Directory: execution.NewLocal(sessions, cfg.Node),
		Pools:     workerPools,
		HostTools: cfg.HostTools,
		Logger:    cfg.Logger,
	})
	executor.Store(e.executor)
	e.parts.Push("pools", e.stopPools)
	e.parts.Push("calls", e.endCalls)
	if err := e.eachPool(func(p *pool) error { return p.Start(ctx) }); err != nil {
		return err
	}
	if opened := cfg.Telemetry.Opened; opened != nil {
		return opened(e)
	}
	return nil
}

// forgetGoneSessions adds to the store's observer that workers drop what they
// hold of a session that ended. The store may tell of one before there is an
// executor.
func forgetGoneSessions(o *session.Observer, executor *atomic.Pointer[execution.Executor]) {
	deleted, expired := o.Deleted, o.Expired
	forget := func(next func(id, incarnation string)) func(id, incarnation string) {
		return func(id, incarnation string) {
			if x := executor.Load(); x != nil {
				x.Forget(id, incarnation)
			}
			if next != nil {
				next(id, incarnation)
			}
		}
	}
	o.Deleted, o.Expired = forget(deleted), forget(expired)
}

// eachPool runs f for all pools at once and joins their errors.
func (e *Engine) eachPool(f func(*pool) error) error {
	errs := make([]error, len(e.pools))
	var all sync.WaitGroup
	for i, p := range e.pools {
		all.Go(func() { errs[i] = f(p) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Execute runs a tool outside any session. Args is nil, Args, a
// json.RawMessage, or anything that encoding/json encodes as an object.
//
// Errors: *worker.ToolError if the tool raised or refused its arguments,
// worker.ErrToolNotFound, *worker.CrashError if its worker died,
// worker.ErrSaturated, worker.ErrQueueTimeout, worker.ErrDraining,
// ErrPoolNotFound, session.ErrInvalid, the context's error.
func (e *Engine) Execute(ctx context.Context, tool string, args any, opts ...CallOption) (*Result, error) {
	return e.run(ctx, "", tool, args, nil, opts)
}

// ExecuteInSession runs a tool in a session, which is created if it does not
// exist. When it returns without error, what the tool changed is committed.
//
// Errors: those of Execute; *execution.StateNotCommittedError if the tool ran
// and its changes were not stored; ErrCallIDReused, ErrCallClosed and
// *AnswerNotKeptError for calls with an id; the session package's errors for an
// invalid id, a full store, or a store that is unavailable.
func (e *Engine) ExecuteInSession(ctx context.Context, sessionID, tool string, args any, opts ...CallOption) (*Result, error) {
	if sessionID == "" {
		return nil, fmt.Errorf("%w: the session id is empty; use Execute for a call without a session", session.ErrInvalid)
	}
	return e.run(ctx, sessionID, tool, args, nil, opts)
}

// Stream runs a tool outside any session and yields its chunks as they come, or
// the result of a tool that does not stream. An error ends the sequence; leaving
// the loop early cancels the tool.
func (e *Engine) Stream(ctx context.Context, tool string, args any, opts ...CallOption) iter.Seq2[*Chunk, error] {
	return e.stream(ctx, "", tool, args, opts)
}

// StreamInSession is Stream in a session. What the tool changed is committed
// when the sequence has ended without error; leaving the loop early discards
// it.
func (e *Engine) StreamInSession(ctx context.Context, sessionID, tool string, args any, opts ...CallOption) iter.Seq2[*Chunk, error] {
	return e.stream(ctx, sessionID, tool, args, opts)
}

// StreamFunc runs a tool, in a session unless sessionID is empty, and gives
// each chunk to fn, whose error cancels the tool and is returned. The result is
// known after the last chunk.
func (e *Engine) StreamFunc(ctx context.Context, sessionID, tool string, args any, fn func(*Chunk) error, opts ...CallOption) (*Result, error) {
	return e.run(ctx, sessionID, tool, args, func(c worker.Chunk) error {
		return fn(&Chunk{Value: c.Value, Attachments: c.Attachments})
	}, opts)
}

// errLeft ends a stream whose consumer left its loop.
var errLeft = errors.New("the consumer left")

func (e *Engine) stream(ctx context.Context, sessionID, tool string, args any, opts []CallOption) iter.Seq2[*Chunk, error] {
	return func(yield func(*Chunk, error) bool) {
		res, err := e.StreamFunc(ctx, sessionID, tool, args, func(c *Chunk) error {
			if !yield(c, nil) {
				return errLeft
			}
			return nil
		}, opts...)
		switch {
		case errors.Is(err, errLeft):
		case err != nil:
			yield(nil, err)
		case string(res.Value) != "null": // a tool that does not stream
			yield(&Chunk{Value: res.Value, Attachments: res.Attachments}, nil)
		}
	}
}

// run runs a call and logs it if it fails, the only place for that: whoever
// started it, this program or a client of a server, the operator reads the same.
func (e *Engine) run(ctx context.Context, sessionID, tool string, args any, onChunk func(worker.Chunk) error, opts []CallOption) (*Result, error) {
	began := time.Now()
	var o callOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.correlationID == "" {
		o.correlationID = cmp.Or(correlation.FromContext(ctx), correlation.NewID())
	}
	ctx = correlation.NewContext(ctx, o.correlationID)
	var left error // why the consumer of a stream wants no more
	if deliver := onChunk; deliver != nil {
		onChunk = func(c worker.Chunk) error {
			left = deliver(c)
			return left
		}
	}
	res, err := e.execute(ctx, sessionID, tool, args, onChunk, &o)
	if err != nil && left == nil {
		e.failures.log(ctx, failedCall{
			tool: tool, pool: cmp.Or(o.pool, e.pools[0].config.Name), session: sessionID,
			correlationID: o.correlationID, took: time.Since(began), err: err,
		})
	}
	return res, err
}

func (e *Engine) execute(ctx context.Context, sessionID, tool string, args any, onChunk func(worker.Chunk) error, o *callOptions) (*Result, error) {
	if !o.onConflict.Valid() {
		return nil, &session.InvalidError{Field: "on conflict", Reason: fmt.Sprintf("is %q: say ignore, fail or retry", o.onConflict)}
	}
	p, err := e.pool(o.pool)
	if err != nil {
		return nil, err
	}
	ctx, call, err := e.calls.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", tool, err)
	}
	defer e.calls.leave(call)
	encoded, attachments, err := encodeArgs(args, o.attachments)
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", tool, err)
	}
	timeout, err := p.config.timeout(o.timeout, onChunk != nil)
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", tool, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	res, err := e.executor.Execute(ctx, execution.Request{
		Pool:       p.Pool,
		Session:    sessionID,
		CallID:     o.callID,
		Affinity:   p.config.Affinity,
		MustExist:  o.mustExist,
		OnConflict: o.onConflict,
		Call: worker.Call{
			CorrelationID: o.correlationID,
			Tool:          tool,
			Args:          encoded,
			Attachments:   attachments,
			OnChunk:       onChunk,
			Idempotent:    o.idempotent,
		},
	})
	if err != nil {
		// Not every part that a call waits in tells why its context ended.
		if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && errors.Is(cause, worker.ErrStopped) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return nil, fmt.Errorf("execute %s: %w", tool, err)
	}
	result := &Result{Value: res.Value, Attachments: res.Attachments, Worker: res.Worker, Overwritten: res.Overwritten, Repeated: res.Repeated}
	if res.Session != nil {
		result.StateVersion = res.Session.StateVersion()
		result.Position = res.Session.Position()
	}
	return result, nil
}

// CallStatus is what became of a call that was given an id.
type CallStatus = execution.CallStatus

// The states of a CallStatus.
const (
	CallNotCommitted = execution.CallNotCommitted
	CallCommitted    = execution.CallCommitted
	CallRunning      = execution.CallRunning
	CallClosed       = execution.CallClosed
	CallNotKept      = execution.CallNotKept
)

// CallStatus says what became of the call that was given an id with WithCallID,
// in a session, or without one if sessionID is empty. It changes nothing: what
// is CallNotCommitted may still arrive and run.
//
// Errors: session.ErrNotFound for the session, with which its ids are gone;
// session.ErrInvalid, session.ErrUnavailable, session.ErrCorrupt.
func (e *Engine) CallStatus(ctx context.Context, sessionID, callID string) (*CallStatus, error) {
	status, err := e.executor.CallStatus(ctx, sessionID, callID)
	if err != nil {
		return nil, fmt.Errorf("status of call %q: %w", callID, err)
	}
	return status, nil
}

// CloseCall is CallStatus for those who need to be certain that a call has not
// been committed and will not be: unless it has been, or runs, its id is
// closed. A call of that id that arrives later is refused with ErrCallClosed,
// and so is the commit of one that runs elsewhere. An id stays closed as long as
// ids are kept.
//
// Errors: those of CallStatus, and session.ErrUnknown.
func (e *Engine) CloseCall(ctx context.Context, sessionID, callID string) (*CallStatus, error) {
	status, err := e.executor.CloseCall(ctx, sessionID, callID)
	if err != nil {
		return nil, fmt.Errorf("close call %q: %w", callID, err)
	}
	return status, nil
}

// Sessions returns the session store, for everything but calls.
func (e *Engine) Sessions() *session.Store { return e.sessions }

func (e *Engine) pool(name string) (*pool, error) {
	if name == "" {
		return e.pools[0], nil
	}
	for _, p := range e.pools {
		if p.config.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("pool %q: %w", name, ErrPoolNotFound)
}
