package worker

import (
	"fmt"
	"time"
)

// Want says which worker a caller would like. The zero value is any: the least
// loaded, and among equals the one idle for longest.
type Want struct {
	Worker Ref
	Mode   Mode
}

// Ref names one worker process: its place in the pool and which start of it.
type Ref struct {
	ID string
	// Generation 0 in a Want is whatever worker runs at the place now.
	Generation uint64
}

// Mode says what to do when the wanted worker has no free slot or is gone.
// It means nothing if no worker is wanted.
type Mode uint8

const (
	// Prefer takes the wanted worker if it is free, and any other if not.
	Prefer Mode = iota
	// Require waits for the wanted worker, and fails with ErrWorkerGone as
	// soon as it has ended.
	Require
	// RequireNow fails with ErrWorkerBusy instead of waiting.
	RequireNow
)

// waiter is a caller in the queue.
type waiter struct {
	node   node[*waiter]
	ticket uint64
	// granted has room for the one grant, so that the pool never waits for
	// a caller. Whoever takes the waiter out of its list owns its fate.
	granted chan grant
}

// grant ends a wait: with a slot of a worker, already taken, or an error.
type grant struct {
	worker *instance
	err    error
}

// queue holds the callers that wait for any worker. Those that require a
// certain one wait at that worker (instance.pinned), so that they hold up
// nobody else and leave together when it ends; tickets keep arrival order
// between the two. The limit is on both together.
type queue struct {
	any     list[*waiter]
	len     int
	tickets uint64
}

// join puts a waiter at the end of a list.
func (q *queue) join(l *list[*waiter]) *waiter {
	q.len++
	q.tickets++
	wt := &waiter{ticket: q.tickets, granted: make(chan grant, 1)}
	wt.node.value = wt
	l.pushBack(&wt.node)
	return wt
}

// leave takes a waiter out, and reports false if it was out already: then its
// grant is in the channel.
func (q *queue) leave(wt *waiter) bool {
	if wt.node.in == nil {
		return false
	}
	wt.node.leave()
	q.len--
	return true
}

// next takes out the first waiter that a slot of w suits, or returns nil.
func (q *queue) next(w *instance) *waiter {
	first := q.any.front
	if pinned := w.pinned.front; first == nil || pinned != nil && pinned.value.ticket < first.value.ticket {
		first = pinned
	}
	if first == nil {
		return nil
	}
	q.leave(first.value)
	return first.value
}

// fail ends the wait of everybody in a list.
func (q *queue) fail(l *list[*waiter], err error) {
	for n := l.front; n != nil; n = l.front {
		q.leave(n.value)
		n.value.granted <- grant{err: err}
	}
}

// The limits of the queue hold for callers that wait for a turn together with
// those that wait for a worker.

// saturation is why a caller has no place in the queue to wait for something,
// if it has none; p.mu is held. The observer is told outside the lock.
func (p *Pool) saturation(what string) error {
	limit := max(p.opts.QueueLimit, 0)
	if p.turns+p.queue.len < limit {
		return nil
	}
	p.saturated++
	return p.errorf("%w: no place to wait for %s: %s, and the limit is %d", ErrSaturated, what, p.waiting(), limit)
}

func (p *Pool) tellSaturated() {
	if f := p.opts.Observer.Saturated; f != nil {
		f(p.opts.Name)
	}
}

// timedOut is the error of a caller that has waited too long; p.mu is held.
func (p *Pool) timedOut(what string, waited time.Duration) error {
	p.queueTimeouts++
	return p.errorf("%w after %v, at last waiting for %s: besides, %s", ErrQueueTimeout, waited.Round(time.Millisecond), what, p.waiting())
}

// waiting says for people who waits; p.mu is held.
func (p *Pool) waiting() string {
	return fmt.Sprintf("%d callers wait, %d for turns and %d for one of %d workers",
		p.turns+p.queue.len, p.turns, p.queue.len, len(p.places))
}
