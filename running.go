package snakepit

import (
	"context"
	"sync"

	"github.com/snakepit-go/snakepit/worker"
)

// running are the calls that an engine has let in, in whatever they wait for,
// until they have ended.
type running struct {
	mu    sync.Mutex // guards all below
	calls map[*runningCall]struct{}
	// refusal is why no new calls are let in, nil while they are.
	refusal error
	// stopped says that the calls let in are cancelled too.
	stopped bool
	// idle is closed when calls are refused and there are none left.
	idle chan struct{}
}

type runningCall struct{ cancel context.CancelCauseFunc }

func newRunning() *running {
	return &running{calls: make(map[*runningCall]struct{}), idle: make(chan struct{})}
}

// insideCall marks the context of a call, for the calls that host tools make.
type insideCall struct{}

// enter lets a call in, unless calls are refused and it is not part of one that
// was let in before; leave must follow. The context it returns is the call's.
func (r *running) enter(ctx context.Context) (context.Context, *runningCall, error) {
	nested := ctx.Value(insideCall{}) != nil
	r.mu.Lock()
	defer r.mu.Unlock()
	// The call that the context is of may have ended.
	if r.refusal != nil && (!nested || r.stopped || len(r.calls) == 0) {
		return nil, nil, r.refusal
	}
	if !nested {
		ctx = context.WithValue(ctx, insideCall{}, true)
	}
	c := &runningCall{}
	ctx, c.cancel = context.WithCancelCause(ctx)
	r.calls[c] = struct{}{}
	return ctx, c, nil
}

func (r *running) leave(c *runningCall) {
	c.cancel(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, c)
	r.idleIfDone()
}

// refuse lets no further calls in.
func (r *running) refuse(because error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.refusal = because
	}
	r.idleIfDone()
}

// cancel ends the calls that are left with worker.ErrStopped, and returns their
// number. It does not wait for them.
func (r *running) cancel() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for c := range r.calls {
		c.cancel(worker.ErrStopped)
	}
	return len(r.calls)
}

// wait returns when no call is left, or with the cause of ctx's end.
func (r *running) wait(ctx context.Context) error {
	select {
	case <-r.idle:
		return nil
	default:
	}
	select {
	case <-r.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// idleIfDone is called with mu held whenever what it tests has changed.
func (r *running) idleIfDone() {
	if r.refusal == nil || len(r.calls) > 0 {
		return
	}
	select {
	case <-r.idle:
	default:
		close(r.idle)
	}
}
