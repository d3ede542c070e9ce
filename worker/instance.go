package worker

import (
	"sync/atomic"
	"time"
)

// place is a position in the pool: the worker that runs there is replaced when
// it ends.
type place struct {
	pool *Pool
	id   string

	// The fields below are guarded by pool.mu.

	state      State
	generation uint64
	worker     *instance // nil unless one is running
	lastExit   string
	// renew is the generation that there is to be at least, startErr how the
	// last start failed, and tried is closed, and made anew, after each.
	renew    uint64
	startErr error
	tried    chan struct{}

	// wake has the supervisor look at renew.
	wake chan struct{}
}

// move changes the state. A move that the table does not have is a fault of
// this package.
func (pl *place) move(next State) {
	if !pl.state.CanBecome(next) {
		panic("worker " + pl.id + ": no way from state " + string(pl.state) + " to " + string(next))
	}
	pl.state = next
}

// instance is one running worker. Leases point to it, not to its place, so
// that nothing of an ended worker can touch its successor.
type instance struct {
	place    *place
	ref      Ref
	conn     Conn
	info     Info
	capacity int
	started  time.Time
	calls    atomic.Uint64

	// The fields below are guarded by pool.mu.

	// load is the number of slots taken.
	load int
	// free is in pool.free[load] while the worker takes calls and has a slot.
	free node[*instance]
	// pinned are the callers that wait for this worker and no other.
	pinned list[*waiter]
	// idle is closed when a draining worker has no more calls.
	idle chan struct{}
	// verdict is why the pool ended it, if it did.
	verdict Cause
}

// current reports whether this is still the worker of its place.
func (w *instance) current() bool { return w.place.worker == w }

// takesCalls reports whether calls may be given to the worker.
func (w *instance) takesCalls() bool { return w.current() && w.place.state.TakesCalls() }

// take takes a slot. Callers hold pool.mu, as for all that follows.
func (p *Pool) take(w *instance) {
	w.load++
	if w.load == 1 {
		w.place.move(StateBusy)
	}
	p.shelve(w)
}

// give gives a slot back, or hands it to the first caller waiting for it.
func (p *Pool) give(w *instance) {
	if w.takesCalls() {
		if wt := p.queue.next(w); wt != nil {
			wt.granted <- grant{worker: w}
			p.leave()
			return
		}
	}
	w.load--
	p.leave()
	switch {
	case w.takesCalls():
		if w.load == 0 {
			w.place.move(StateReady)
		}
		p.shelve(w)
	case w.load == 0 && w.idle != nil:
		close(w.idle)
	}
}

// serve gives the free slots of a new worker to those who wait.
func (p *Pool) serve(w *instance) {
	for w.load < w.capacity {
		wt := p.queue.next(w)
		if wt == nil {
			break
		}
		p.take(w)
		wt.granted <- grant{worker: w}
	}
	p.shelve(w)
}

// shelve keeps a worker with a free slot where leastLoaded finds it.
func (p *Pool) shelve(w *instance) {
	w.free.leave()
	if w.load >= w.capacity {
		return
	}
	for len(p.free) <= w.load {
		p.free = append(p.free, new(list[*instance]))
	}
	p.free[w.load].pushBack(&w.free)
}

// withdraw stops calls from being given to a worker. Callers that wait for it
// alone will never get it.
func (p *Pool) withdraw(w *instance) {
	w.free.leave()
	p.queue.fail(&w.pinned, p.errorf("worker %s: %w", w.ref.ID, ErrWorkerGone))
}

// leastLoaded returns a worker with a free slot: one with the fewest calls,
// and of those the one that has been so for longest.
func (p *Pool) leastLoaded() *instance {
	for _, l := range p.free {
		if l.front != nil {
			return l.front.value
		}
	}
	return nil
}

// find returns the worker that ref names if it takes calls.
func (p *Pool) find(ref Ref) *instance {
	pl := p.byID[ref.ID]
	if pl == nil || pl.worker == nil || !pl.state.TakesCalls() {
		return nil
	}
	if ref.Generation != 0 && ref.Generation != pl.generation {
		return nil
	}
	return pl.worker
}
