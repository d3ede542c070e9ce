package worker

import (
	"context"
	"time"
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
	return p.acquire(ctx, want, &Admission{pool: p})
}

func (p *Pool) acquire(ctx context.Context, want Want, a *Admission) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	if err := p.refusal(); err != nil && (!a.admitted || p.phase == phaseClosed) {
		p.mu.Unlock()
		return nil, err
	}
	w, line, err := p.choose(want)
	if err != nil {
		p.mu.Unlock()
		return nil, err
	}
	if w == nil && !a.place {
		if err := p.saturation(aWorker); err != nil {
			p.mu.Unlock()
			p.tellSaturated()
			return nil, err
		}
	}
	a.leavePlace()
	p.admitted++
	if w != nil {
		p.take(w)
		p.mu.Unlock()
		return a.lease(w), nil
	}
	wt := p.queue.join(line)
	p.mu.Unlock()
	return p.wait(ctx, wt, a)
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

// aWorker is what callers in the queue wait for, in errors, if not for a turn.
const aWorker = "a worker"

// wait is the slow path of acquire: the caller is in the queue.
func (p *Pool) wait(ctx context.Context, wt *waiter, a *Admission) (*Lease, error) {
	began := time.Now()
	var timeout <-chan time.Time
	if p.opts.QueueTimeout > 0 {
		t := time.NewTimer(p.opts.QueueTimeout - a.waited)
		defer t.Stop()
		timeout = t.C
	}
	timedOut := false
	select {
	case g := <-wt.granted:
		return p.accept(g, a, began)
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
		return nil, p.timedOut(aWorker, a.waited+time.Since(began))
	}
	p.mu.Unlock()
	// The grant came at the same moment. A caller whose context has ended has
	// no use for it; one that waited a little too long has.
	lease, err := p.accept(<-wt.granted, a, began)
	if err == nil && !timedOut {
		lease.Release()
		return nil, context.Cause(ctx)
	}
	return lease, err
}

func (p *Pool) accept(g grant, a *Admission, began time.Time) (*Lease, error) {
	a.waited += time.Since(began)
	if g.err == nil {
		return a.lease(g.worker), nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave()
	if a.admitted {
		a.keepPlace() // it may want another worker
	}
	return nil, g.err
}
