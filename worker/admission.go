package worker

import (
	"context"
	"errors"
	"time"
)

// Admission is a call that the pool has let in, from its arrival to its end.
// The pool's limits hold for all that it waits for until a worker has it: for
// a turn among calls that its caller orders (Await), and for a worker
// (Acquire). QueueTimeout bounds both waits together. One goroutine uses it.
type Admission struct {
	pool *Pool
	// admitted calls are counted until they leave; a newcomer's Acquire is
	// an admission of its own.
	admitted bool
	// waited is how long the call has been in the queue for the worker it has
	// not got yet.
	waited time.Duration
	// place says that it has a place in the queue and is counted in pool.turns.
	place bool
}

// Admit lets a call in. Drain waits for it until it has left.
//
// Errors: ErrDraining, ErrClosed, ErrNoWorkers (the pool is not started).
func (p *Pool) Admit() (*Admission, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refusal(); err != nil {
		return nil, err
	}
	p.admitted++
	return &Admission{pool: p, admitted: true}, nil
}

// Leave ends the admission. Leases it has acquired are released by themselves.
func (a *Admission) Leave() {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	a.leavePlace()
	a.pool.leave()
}

// Await calls wait, which waits for what is named by turn, as one of the
// callers in the pool's queue. When it has returned without error, the call
// keeps its place in the queue, so that Acquire does not refuse it when the
// queue has filled up behind it. Whoever can have his turn at once does not
// call Await: he is not in the queue.
//
// Errors: ErrSaturated, ErrQueueTimeout, the cause of ctx's end, and those of
// wait.
func (a *Admission) Await(ctx context.Context, turn string, wait func(context.Context) error) error {
	p := a.pool
	p.mu.Lock()
	if !a.place {
		if err := p.saturation(turn); err != nil {
			p.mu.Unlock()
			p.tellSaturated()
			return err
		}
		a.keepPlace()
	}
	p.mu.Unlock()

	limited, began := ctx, time.Now()
	if p.opts.QueueTimeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, p.opts.QueueTimeout-a.waited)
		defer cancel()
	}
	err := wait(limited)
	a.waited += time.Since(began)
	if err == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a.leavePlace()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil && errors.Is(err, limited.Err()):
		return p.timedOut(turn, a.waited)
	}
	return err
}

// Acquire is Pool.Acquire for a call that was let in: draining does not turn
// it away, and it waits for what is left of QueueTimeout. Once a worker has
// been given, the next Acquire, for a call that is to run again, waits anew.
func (a *Admission) Acquire(ctx context.Context, want Want) (*Lease, error) {
	return a.pool.acquire(ctx, want, a)
}

// keepPlace takes a place in the queue and leavePlace gives it up, if there is
// one; pool.mu is held.
func (a *Admission) keepPlace() {
	a.place = true
	a.pool.turns++
}

func (a *Admission) leavePlace() {
	if a.place {
		a.place = false
		a.pool.turns--
	}
}

// lease is what the call has waited for.
func (a *Admission) lease(w *instance) *Lease {
	l := &Lease{pool: a.pool, worker: w, queued: a.waited}
	a.waited = 0
	return l
}
