package snakepit

import (
	"context"
	"fmt"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// Drain makes new calls fail with worker.ErrDraining and returns when those let
// in before have ended. When ctx ends first, those that are left are cancelled:
// their callers get worker.ErrStopped, and what the tools changed is not
// committed. There is no way back; Close or Stop follows.
func (e *Engine) Drain(ctx context.Context) error {
	e.calls.refuse(worker.ErrDraining)
	if err := e.calls.wait(ctx); err != nil {
		return fmt.Errorf("drain engine: %d calls still ran and were cancelled: %w", e.calls.cancel(), err)
	}
	return nil
}

// storeTime is what Close allows for the commits of calls that had ended, and
// for the store to close.
const storeTime = 20 * time.Second

// Close is Stop within CloseTimeout. To let running calls end by themselves,
// call Drain first.
func (e *Engine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), e.CloseTimeout())
	defer cancel()
	return e.Stop(ctx)
}

// CloseTimeout is the bound of Close, for callers of Stop: what the pools'
// CancelGrace and StopGrace allow, and 20 seconds for the store.
func (e *Engine) CloseTimeout() time.Duration {
	longest := time.Duration(0)
	for _, p := range e.pools {
		longest = max(longest, p.Grace())
	}
	return longest + storeTime
}

// Stop ends the engine, in this order: new calls fail with worker.ErrClosed;
// running ones are cancelled, and their callers get worker.ErrStopped, unless
// their commit is under way: that is waited for. Their tools have CancelGrace
// to end, in which their finally blocks run. Then workers are told to leave, and
// killed after StopGrace. Then the store is closed.
//
// When ctx ends, the step it has come to is cut short, workers are killed at
// once, and the steps that are left do the least, each within a second. A
// further Stop waits for the first one, as long as its own context lets it, and
// returns the same.
func (e *Engine) Stop(ctx context.Context) error {
	first := false
	e.stopOnce.Do(func() { first = true })
	if !first {
		select {
		case <-e.stopped:
			return e.stopErr
		case <-ctx.Done():
			return fmt.Errorf("stop engine: wait for the stop under way: %w", context.Cause(ctx))
		}
	}
	defer close(e.stopped)
	e.calls.refuse(fmt.Errorf("engine %w", worker.ErrClosed))
	if err := e.parts.Stop(ctx); err != nil {
		e.stopErr = fmt.Errorf("stop engine: %w", err)
	}
	return e.stopErr
}

// endCalls is the first step of Stop: it returns when every call has ended and
// every worker has answered, or was killed because it took too long for it.
func (e *Engine) endCalls(ctx context.Context) error {
	e.calls.cancel()
	if err := e.calls.wait(ctx); err != nil {
		return err
	}
	return e.eachPool(func(p *pool) error { return p.Drain(ctx) })
}

// stopPools is the second: workers leave, or are killed.
func (e *Engine) stopPools(ctx context.Context) error {
	return e.eachPool(func(p *pool) error { return p.Stop(ctx) })
}
