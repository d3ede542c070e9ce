package health

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errSlow = errors.New("the check took too long")

// flight runs a function for all who ask while it runs.
type flight struct {
	timeout time.Duration
	run     func(context.Context) (any, error)

	mu      sync.Mutex // guards current
	current *answer    // of the function that runs, nil if none does
}

// answer may be read once done is closed.
type answer struct {
	done  chan struct{}
	value any
	err   error
}

func newFlight(timeout time.Duration, run func(context.Context) (any, error)) *flight {
	return &flight{timeout: timeout, run: run}
}

// do returns the function's answer, or an error if ctx ends or the time of the
// function is over.
func (f *flight) do(ctx context.Context) (any, error) {
	a := f.join()
	slow := time.NewTimer(f.timeout)
	defer slow.Stop()
	select {
	case <-a.done:
		return a.value, a.err
	case <-slow.C:
		return nil, errSlow
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// join returns the answer to come, of a function that runs or is started now. It
// outlives whoever asked first, because others may have joined.
func (f *flight) join() *answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != nil {
		return f.current
	}
	a := &answer{done: make(chan struct{})}
	f.current = a
	go func() {
		ctx, cancel := context.WithTimeoutCause(context.Background(), f.timeout, errSlow)
		defer cancel()
		a.value, a.err = f.run(ctx)
		f.mu.Lock()
		f.current = nil
		f.mu.Unlock()
		close(a.done)
	}()
	return a
}
