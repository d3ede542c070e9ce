package snakepit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// Stats is a picture of the engine.
type Stats struct {
	Pools   []PoolInfo
	Workers []WorkerInfo
}

// PoolInfo describes a pool.
type PoolInfo struct {
	Name string
	// Size is the configured number of workers; Ready those that can take
	// calls or run one, Busy those that run one.
	Size, Ready, Busy int
	// Queued is the number of calls that wait, AwaitingTurn of those that wait
	// for the turn of their session; the others wait for a worker.
	Queued, AwaitingTurn int
	// Calls and Restarts count since the start, and so do the callers who were
	// refused because the queue was full, and who waited too long in it.
	Calls, Restarts          uint64
	Saturated, QueueTimeouts uint64
	// Transport is "frames", or "custom" for PoolConfig.Transport.
	Transport string
}

// WorkerInfo describes a place in a pool and the worker in it.
type WorkerInfo struct {
	Pool, ID string
	// Generation counts the starts at this place.
	Generation uint64
	PID        int
	State      string
	// Sessions is the number of sessions bound to the worker.
	Sessions int
	Calls    uint64
	Runtime  string
	Started  time.Time
	// LastExit says how the previous worker at this place ended, or why the
	// last start failed.
	LastExit string
}

// Stats returns the state of all pools and workers.
func (e *Engine) Stats() Stats {
	stats := Stats{Pools: e.Pools()}
	for _, p := range e.pools {
		stats.Workers = append(stats.Workers, e.workers(p)...)
	}
	return stats
}

// Pools describes the pools, the default one first.
func (e *Engine) Pools() []PoolInfo {
	infos := make([]PoolInfo, len(e.pools))
	for i, p := range e.pools {
		s := p.Pool.Stats()
		infos[i] = PoolInfo{
			Name: s.Name, Size: s.Size, Ready: s.Ready, Busy: s.Busy, Queued: s.Queued, AwaitingTurn: s.AwaitingTurn,
			Calls: s.Calls, Restarts: s.Restarts, Saturated: s.Saturated, QueueTimeouts: s.QueueTimeouts,
			Transport: p.transport,
		}
	}
	return infos
}

// Workers describes the workers of a pool, or of all pools if name is empty.
func (e *Engine) Workers(name string) ([]WorkerInfo, error) {
	if name == "" {
		return e.Stats().Workers, nil
	}
	p, err := e.pool(name)
	if err != nil {
		return nil, err
	}
	return e.workers(p), nil
}

func (e *Engine) workers(p *pool) []WorkerInfo {
	stats := p.Pool.Workers()
	infos := make([]WorkerInfo, len(stats))
	for i, s := range stats {
		infos[i] = WorkerInfo{
			Pool: p.config.Name, ID: s.ID, Generation: s.Generation, PID: s.PID,
			State: s.State.String(), Calls: s.Calls, Runtime: s.Runtime, Started: s.Started, LastExit: s.LastExit,
			Sessions: e.executor.Bound(p.config.Name, worker.Ref{ID: s.ID, Generation: s.Generation}),
		}
	}
	return infos
}

// Tools describes the tools of a pool; the default one if name is empty.
func (e *Engine) Tools(name string) ([]worker.Tool, error) {
	p, err := e.pool(name)
	if err != nil {
		return nil, err
	}
	return p.Pool.Tools(), nil
}

// RestartWorker replaces the worker of that id by a new one, which loads the
// tools anew, and returns when that is ready. The call that the old one runs
// ends first. What is in session.local of the old one is gone; what is committed
// is not. When ctx ends before, the worker is replaced all the same.
//
// Errors: worker.ErrWorkerNotFound; worker.ErrStartFailed if the new one cannot
// be started, with the traceback if its tools do not load; worker.ErrDraining,
// worker.ErrClosed; the context's error.
func (e *Engine) RestartWorker(ctx context.Context, id string) error {
	for _, p := range e.pools {
		if err := p.Restart(ctx, id); !errors.Is(err, worker.ErrWorkerNotFound) {
			return err
		}
	}
	return fmt.Errorf("%w: %q; Workers lists them", worker.ErrWorkerNotFound, id)
}

// RestartWorkers is RestartWorker for all workers of a pool, or of all pools if
// name is empty. Those of a pool are restarted one after another, and no more of
// them once one cannot be started.
func (e *Engine) RestartWorkers(ctx context.Context, name string) error {
	if name == "" {
		return e.eachPool(func(p *pool) error { return p.RestartAll(ctx) })
	}
	p, err := e.pool(name)
	if err != nil {
		return err
	}
	return p.RestartAll(ctx)
}

// Ready returns nil if every pool has a worker that can take calls, or says
// which one has none and why.
func (e *Engine) Ready() error {
	var errs []error
	for _, p := range e.pools {
		if p.Pool.Stats().Ready > 0 {
			continue
		}
		err := fmt.Errorf("pool %q: %w", p.config.Name, worker.ErrNoWorkers)
		for _, w := range p.Pool.Workers() {
			if w.LastExit != "" {
				err = fmt.Errorf("%w; %s: %s", err, w.ID, w.LastExit)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
