package worker

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Lease is one slot of a worker. Its calls run one at a time. Whoever acquired
// it releases it.
type Lease struct {
	pool   *Pool
	worker *instance
	queued time.Duration

	mu sync.Mutex
	// calling is true until the worker has answered the last call, which may
	// be long after Call has returned.
	calling, released bool
}

// Worker names the worker.
func (l *Lease) Worker() Ref { return l.worker.ref }

// Info is what the worker said of itself.
func (l *Lease) Info() Info { return l.worker.info }

// Forget tells the worker to drop what it holds of these sessions.
func (l *Lease) Forget(sessions ...string) { l.worker.conn.Forget(sessions...) }

// Call runs a tool on the worker. It returns as soon as ctx ends, with its
// cause; the slot stays taken until the worker has answered the cancellation,
// and a worker that has not after CancelGrace is killed. Call passes on the
// errors of Conn.Call otherwise, as a *CallError, which names the worker. While
// an earlier call is unanswered, it fails with ErrWorkerBusy.
func (l *Lease) Call(ctx context.Context, call *Call) (*Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, w := l.pool, l.worker
	if err := l.begin(); err != nil {
		return nil, p.errorf("call %q on worker %s: %w", call.Tool, w.ref.ID, err)
	}
	w.calls.Add(1)
	p.calls.Add(1)
	done := p.opts.Observer.CallDone
	var began time.Time
	if done != nil {
		began = time.Now()
	}

	returned := false
	defer func() {
		if !returned { // OnChunk panicked: nobody will read the rest
			p.kill(w, CausePanic)
			l.answered()
		}
	}()
	res, err := w.conn.Call(ctx, call)
	returned = true

	if err == nil {
		res.Worker = w.ref.ID
		l.answered()
	} else {
		err = l.settle(ctx, err)
	}
	if done != nil {
		tool, _ := p.Tool(call.Tool)
		done(CallDone{Pool: p.opts.Name, Tool: tool.Name, Result: outcome(err), Queued: l.queued, Ran: time.Since(began)})
	}
	if err != nil {
		return nil, &CallError{Worker: w.ref.ID, Err: err}
	}
	return res, nil
}

// Release gives the slot back, as soon as the worker has answered the last
// call. It may be called more than once.
func (l *Lease) Release() {
	l.mu.Lock()
	give := !l.released && !l.calling
	l.released = true
	l.mu.Unlock()
	if give {
		l.give()
	}
}

func (l *Lease) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return errors.New("the lease has been released")
	}
	if l.calling {
		return ErrWorkerBusy
	}
	l.calling = true
	return nil
}

// answered ends the call that begin began.
func (l *Lease) answered() {
	l.mu.Lock()
	l.calling = false
	give := l.released
	l.mu.Unlock()
	if give {
		l.give()
	}
}

// settle takes care of the slot after a call that failed, and returns the error
// for the caller.
func (l *Lease) settle(ctx context.Context, err error) error {
	if given, ok := errors.AsType[*UnansweredError](err); ok {
		if !l.pool.spawn(func() { l.await(given.Answered) }) {
			l.answered()
		}
		return given.Err
	}
	if crash, ok := errors.AsType[*CrashError](err); ok {
		// The goroutine that watches the worker may not know yet; no other
		// caller shall be given to it.
		l.pool.kill(l.worker, CauseExited)
		why := *crash
		why.Cause = l.pool.verdict(l.worker)
		err = &why
	}
	l.answered()
	if errors.Is(err, ErrCanceled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// await watches over a call that its caller has given up.
func (l *Lease) await(answered <-chan struct{}) {
	grace := time.NewTimer(l.pool.opts.CancelGrace)
	defer grace.Stop()
	select {
	case <-answered:
	case <-grace.C:
		l.pool.kill(l.worker, CauseUnansweredCancel)
		<-answered
	}
	select {
	case <-l.worker.conn.Done():
		l.pool.kill(l.worker, CauseExited) // as for a call that crashed
	default:
	}
	l.answered()
}

func (l *Lease) give() {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.pool.give(l.worker)
}

// outcome is the result of a call in the Observer's words.
func outcome(err error) string {
	var tool *ToolError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &tool):
		return "tool_error"
	case errors.Is(err, ErrToolNotFound), errors.Is(err, ErrStateMissing):
		return "refused"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	case errors.Is(err, context.Canceled), errors.Is(err, ErrCanceled), errors.Is(err, ErrStopped):
		return "canceled"
	case errors.Is(err, ErrWorkerCrashed):
		return "crashed"
	default:
		return "error"
	}
}
