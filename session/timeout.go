package session

import (
	"context"
	"sync"
	"time"
)

// timeout bounds a context that has no deadline. The timer is made only when
// somebody asks for the deadline or waits: a driver that answers from memory
// never does, and a timer would cost more than its answer.
type timeout struct {
	context.Context // of the caller
	after           time.Duration

	mu      sync.Mutex
	bounded context.Context // nil until needed
	cancel  context.CancelFunc
	stopped bool
}

// bound returns a context with a deadline, and what is to be stopped when it
// is no longer used: nil, which can be stopped too, if ctx has a deadline.
func bound(ctx context.Context, after time.Duration) (context.Context, *timeout) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, nil
	}
	t := &timeout{Context: ctx, after: after}
	return t, t
}

func (t *timeout) need() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bounded == nil {
		t.bounded, t.cancel = context.WithTimeout(t.Context, t.after)
		if t.stopped {
			t.cancel()
		}
	}
	return t.bounded
}

func (t *timeout) current() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bounded == nil {
		return t.Context
	}
	return t.bounded
}

func (t *timeout) stop() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.cancel != nil {
		t.cancel()
	}
}

func (t *timeout) Deadline() (time.Time, bool) { return t.need().Deadline() }
func (t *timeout) Done() <-chan struct{}       { return t.need().Done() }
func (t *timeout) Err() error                  { return t.current().Err() }
func (t *timeout) Value(key any) any           { return t.current().Value(key) }
