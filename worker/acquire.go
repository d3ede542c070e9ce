package worker

import (
	"context"
	"time"
)

// admission tells callers that Drain turns away from those let in before.
type admission bool

const (
	newcomer admission = false
	admitted admission = true
)

// Acquire waits for a slot of a worker and returns it as a lease, which must
// be released. Callers are served in order of arrival among those that the
// same worker suits.
//
// Errors: ErrSaturated (the queue is full), ErrQueueTimeout, ErrWorkerBusy and
// ErrWorkerGone as the mode says, ErrDraining, ErrClosed, ErrNoWorkers (the
// pool is not started), or the cause of ctx's end. As long as workers are
// starting or pausing before a restart, callers wait for them.
func (p *Pool) Acquire(ctx context.Context, want Want) (*Lease, error) {
	return p.acquire(ctx, want, newcomer)
}

func (p *Pool) acquire(ctx context.Context, want Want, adm admission) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	if err := p.refusal(); err != nil && (adm == newcomer || p.phase == phaseClosed) {
		p.mu.Unlock()
		return nil, err
	}
	w, line, err := p.choose(want)
	if err != nil {
		p.mu.Unlock()
		return nil, err
	}
	if w != nil {
		p.take(w)
		p.admitted++
		p.mu.Unlock()
		return &Lease{pool: p, worker: w}, nil
	}
	if p.queue.len >= max(p.opts.QueueLimit, 0) {
		p.saturated++
		err := p.errorf("%w: %d callers wait for %d workers", ErrSaturated, p.queue.len, len(p.places))
		p.mu.Unlock()
		if p.opts.Observer.Saturated != nil {
			p.opts.Observer.Saturated(p.opts.Name)
		}
		return nil, err
	}
	wt := p.queue.join(line)
	p.admitted++
	p.mu.Unlock()
	return p.wait(ctx, wt)
}

// choose returns a worker with a free slot, or the list to wait in.
func (p *Pool) choose(want Want) (*instance, *list[*waiter], error) {
	if want.Worker == (Ref{}) {
		return p.leastLoaded(), &p.queue.any, nil
	}
	w := p.find(want.Worker)
	switch {
	case w != nil && w.load < w.capacity:
		return w, nil, nil
	case want.Mode == Prefer:
		return p.leastLoaded(), &p.queue.any, nil
	case w == nil:
		return nil, nil, p.errorf("worker %s: %w", want.Worker.ID, ErrWorkerGone)
	case want.Mode == RequireNow:
		return nil, nil, p.errorf("worker %s: %w", want.Worker.ID, ErrWorkerBusy)
	default:
		return nil, &w.pinned, nil
	}
}

// wait is the slow path of acquire: the caller is in the queue.
func (p *Pool) wait(ctx context.Context, wt *waiter) (*Lease, error) {
	began := time.Now()
	var timeout <-chan time.Time
	if p.opts.QueueTimeout > 0 {
		t := time.NewTimer(p.opts.QueueTimeout)
		defer t.Stop()
		timeout = t.C
	}
	timedOut := false
	select {
	case g := <-wt.granted:
		return p.accept(g, began)
	case <-ctx.Done():
	case <-timeout:
		timedOut = true
	}

	p.mu.Lock()
	if p.queue.leave(wt) {
		defer p.mu.Unlock()
		p.leave()
		if !timedOut {
			return nil, context.Cause(ctx)
		}
		p.queueTimeouts++
		return nil, p.errorf("%w after %v: %d other callers wait for %d workers",
			ErrQueueTimeout, p.opts.QueueTimeout, p.queue.len, len(p.places))
	}
	p.mu.Unlock()
	// The grant came at the same moment. A caller whose context has ended has
	// no use for it; one that waited a little too long has.
	lease, err := p.accept(<-wt.granted, began)
	if err == nil && !timedOut {
		lease.Release()
		return nil, context.Cause(ctx)
	}
	return lease, err
}

func (p *Pool) accept(g grant, began time.Time) (*Lease, error) {
	if g.err != nil {
		p.mu.Lock()
		p.leave()
		p.mu.Unlock()
		return nil, g.err
	}
	return &Lease{pool: p, worker: g.worker, queued: time.Since(began)}, nil
}
