package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

const (
	modelStep    = 150 * time.Millisecond // longer than a restart takes
	modelTimeout = 60 * modelStep
	modelLimit   = 6
)

// model is a pool in the simplest words: workers with a load, and one list of
// callers that wait, searched from the front.
type model struct {
	now      time.Duration
	capacity int
	workers  []*modelWorker
	waiting  []*modelCaller
	holding  []*modelCaller
	// unanswered calls were given up and released; they hold a slot until the
	// worker answers.
	unanswered []*modelCaller
	clock      int // orders the changes of load

	saturated, timeouts, restarts uint64
}

type modelWorker struct {
	ref   worker.Ref
	load  int
	since int // when the load last changed
}

type modelCaller struct {
	*wait
	want   worker.Want
	cancel context.CancelFunc
	joined time.Duration
	on     *modelWorker
	gen    uint64
	err    error      // how the wait ends instead
	answer chan error // ends its call, if it has one
	dead   bool       // its worker is gone
}

func (m *model) changed(w *modelWorker, by int) {
	w.load += by
	m.clock++
	w.since = m.clock
}

// choose is the worker a new caller gets, or nil.
func (m *model) choose(want worker.Want) *modelWorker {
	if want.Worker != (worker.Ref{}) {
		for _, w := range m.workers {
			if w.ref == want.Worker && w.load < m.capacity {
				return w
			}
		}
		if want.Mode != worker.Prefer {
			return nil
		}
	}
	var best *modelWorker
	for _, w := range m.workers {
		if w.load < m.capacity && (best == nil || w.load < best.load || w.load == best.load && w.since < best.since) {
			best = w
		}
	}
	return best
}

func (m *model) exists(ref worker.Ref) bool {
	return slices.ContainsFunc(m.workers, func(w *modelWorker) bool { return w.ref == ref })
}

func (m *model) grant(c *modelCaller, w *modelWorker) {
	c.on, c.gen = w, w.ref.Generation
	m.holding = append(m.holding, c)
}

// next takes the first waiting caller that w suits.
func (m *model) next(w *modelWorker) *modelCaller {
	for i, c := range m.waiting {
		if c.want.Mode != worker.Require || c.want.Worker == (worker.Ref{}) || c.want.Worker == w.ref {
			m.waiting = slices.Delete(m.waiting, i, i+1)
			return c
		}
	}
	return nil
}

// free gives back the slot of a caller.
func (m *model) free(c *modelCaller) {
	w := c.on
	if c.dead {
		return
	}
	if next := m.next(w); next != nil {
		m.grant(next, w)
		return
	}
	m.changed(w, -1)
}

// restart replaces a worker that has died, a restart's time later.
func (m *model) restart(w *modelWorker) {
	for _, held := range [][]*modelCaller{m.holding, m.unanswered} {
		for _, c := range held {
			if c.on == w {
				c.dead = true
			}
		}
	}
	m.unanswered = slices.DeleteFunc(m.unanswered, func(c *modelCaller) bool { return c.on == w })
	m.waiting = slices.DeleteFunc(m.waiting, func(c *modelCaller) bool {
		if c.want.Mode == worker.Require && c.want.Worker == w.ref {
			c.err = worker.ErrWorkerGone
			return true
		}
		return false
	})
	m.restarts++
	fresh := &modelWorker{ref: worker.Ref{ID: w.ref.ID, Generation: w.ref.Generation + 1}}
	m.workers[slices.Index(m.workers, w)] = fresh
	for fresh.load < m.capacity {
		c := m.next(fresh)
		if c == nil {
			break
		}
		fresh.load++
		m.grant(c, fresh)
	}
	m.changed(fresh, 0)
}

func (m *model) pass(d time.Duration) {
	m.now += d
	m.waiting = slices.DeleteFunc(m.waiting, func(c *modelCaller) bool {
		if m.now-c.joined >= modelTimeout {
			c.err = worker.ErrQueueTimeout
			m.timeouts++
			return true
		}
		return false
	})
}

// TestPoolAgainstModel runs random histories of a pool and of the model, and
// compares them after every step: who got which worker, who waits, who left
// and why, and every number.
func TestPoolAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// A failure is a panic, which has to leave the bubble by hand.
		var failure any
		synctest.Test(t, func(*testing.T) {
			defer func() { failure = recover() }()
			checkHistory(rt)
		})
		if failure != nil {
			panic(failure)
		}
	})
}

func checkHistory(rt *rapid.T) {
	m := &model{capacity: rapid.IntRange(1, 3).Draw(rt, "capacity")}
	size := rapid.IntRange(1, 4).Draw(rt, "size")
	answers := make(chan chan error, 1)
	fake := &workertest.Fake{Capacity: m.capacity, Tools: []workertest.Tool{{
		Tool: worker.Tool{Name: "block"},
		Run: func(inv *workertest.Invocation) (any, error) {
			answer := make(chan error)
			answers <- answer
			select {
			case err := <-answer: // deaf to cancels
				return nil, err
			case <-inv.Gone():
				return nil, context.Canceled
			}
		},
	}}}
	pool, err := worker.NewPool(worker.PoolOptions{
		Size: size, Transport: fake, PingInterval: -1, QueueLimit: modelLimit, QueueTimeout: modelTimeout,
		CancelGrace: 1000 * time.Hour, Backoff: worker.Backoff{Min: 100 * time.Millisecond, Max: 100 * time.Millisecond},
	})
	if err != nil {
		rt.Fatal(err)
	}
	for n := range size {
		m.workers = append(m.workers, &modelWorker{ref: worker.Ref{ID: fmt.Sprintf("default-%d", n+1), Generation: 1}})
	}
	// A history that fails leaves nothing behind either.
	all, cancelAll := context.WithCancel(context.Background())
	defer func() {
		cancelAll()
		_ = pool.Stop(all)
	}()
	if err := pool.Start(context.Background()); err != nil {
		rt.Fatal(err)
	}
	synctest.Wait()
	// The order in which the workers became ready is not determined; taking
	// them one after the other and giving them back determines it.
	for _, w := range m.workers {
		var held []*worker.Lease
		for range m.capacity {
			l, err := pool.Acquire(context.Background(), worker.Want{Worker: w.ref, Mode: worker.RequireNow})
			if err != nil {
				rt.Fatal(err)
			}
			held = append(held, l)
		}
		for _, l := range held {
			l.Release()
		}
		m.changed(w, 0)
	}

	var ended []*modelCaller // whose wait must have ended with an error
	drawRef := func() worker.Ref {
		w := rapid.SampledFrom(m.workers).Draw(rt, "worker")
		ref := w.ref
		if rapid.IntRange(0, 9).Draw(rt, "stale") == 0 {
			ref.Generation += 5
		}
		return ref
	}
	actions := map[string]func(*rapid.T){
		"acquire": func(rt *rapid.T) {
			c := &modelCaller{wait: &wait{done: make(chan struct{})}, joined: m.now}
			if rapid.Bool().Draw(rt, "affinity") {
				c.want = worker.Want{
					Worker: drawRef(),
					Mode:   rapid.SampledFrom([]worker.Mode{worker.Prefer, worker.Require, worker.RequireNow}).Draw(rt, "mode"),
				}
			}
			switch w := m.choose(c.want); {
			case w != nil:
				m.changed(w, +1)
				m.grant(c, w)
			case c.want.Mode != worker.Prefer && c.want.Worker != (worker.Ref{}) && !m.exists(c.want.Worker):
				c.err = worker.ErrWorkerGone
			case c.want.Mode == worker.RequireNow && c.want.Worker != (worker.Ref{}):
				c.err = worker.ErrWorkerBusy
			case len(m.waiting) == modelLimit:
				c.err = worker.ErrSaturated
				m.saturated++
			default:
				m.waiting = append(m.waiting, c)
			}
			if c.err != nil {
				ended = append(ended, c)
			}
			ctx, cancel := context.WithCancel(all)
			c.cancel = cancel
			go func() {
				defer close(c.done)
				c.lease, c.wait.err = pool.Acquire(ctx, c.want)
			}()
		},
		"release": func(rt *rapid.T) {
			c := draw(rt, &m.holding)
			c.lease.Release()
			m.free(c)
		},
		"cancel a waiter": func(rt *rapid.T) {
			c := draw(rt, &m.waiting)
			c.err = context.Canceled
			ended = append(ended, c)
			c.cancel()
		},
		"give up a call": func(rt *rapid.T) {
			c := draw(rt, &m.holding)
			if c.dead {
				c.lease.Release()
				return
			}
			ctx, cancel := context.WithCancel(context.Background())
			call := start(func() (*worker.Result, error) { return c.lease.Call(ctx, &worker.Call{Tool: "block"}) })
			c.answer = <-answers
			cancel()
			<-call.done
			if !errors.Is(call.err, context.Canceled) {
				rt.Fatalf("a call that was given up returns %v", call.err)
			}
			c.lease.Release()
			m.unanswered = append(m.unanswered, c)
		},
		"answer a call": func(rt *rapid.T) {
			c := draw(rt, &m.unanswered)
			c.answer <- nil
			m.free(c)
		},
		"crash": func(rt *rapid.T) {
			w := rapid.SampledFrom(m.workers).Draw(rt, "worker")
			before := slices.Clone(m.waiting)
			fake.Worker(w.ref.ID).Crash()
			m.restart(w)
			time.Sleep(modelStep)
			m.pass(modelStep)
			for _, c := range before {
				if c.err != nil {
					ended = append(ended, c)
				}
			}
		},
		"time": func(rt *rapid.T) {
			before := slices.Clone(m.waiting)
			d := time.Duration(rapid.IntRange(1, 70).Draw(rt, "steps")) * modelStep
			time.Sleep(d)
			m.pass(d)
			for _, c := range before {
				if c.err != nil {
					ended = append(ended, c)
				}
			}
		},
		"": func(rt *rapid.T) { // after each action
			synctest.Wait()
			for _, c := range m.holding {
				if c.pending() {
					rt.Fatalf("a caller that should hold a slot of %v still waits", c.on.ref)
				}
				if want := (worker.Ref{ID: c.on.ref.ID, Generation: c.gen}); c.wait.err != nil || c.lease.Worker() != want {
					rt.Fatalf("a caller got %v, %v; want %v", c.lease, c.wait.err, want)
				}
			}
			for _, c := range m.waiting {
				if !c.pending() {
					rt.Fatalf("a caller that should wait got %v, %v", c.lease, c.wait.err)
				}
			}
			for _, c := range ended {
				if c.pending() || !errors.Is(c.wait.err, c.err) {
					rt.Fatalf("a wait that should have ended with %v: %v", c.err, c.wait.err)
				}
				c.cancel()
			}
			ended = nil
			want := worker.PoolStats{
				Name: "default", Size: size, Ready: size, Queued: len(m.waiting),
				Restarts: m.restarts, Saturated: m.saturated, QueueTimeouts: m.timeouts,
			}
			for i, w := range pool.Workers() {
				mw := m.workers[i]
				if w.InFlight != mw.load || w.Generation != mw.ref.Generation || mw.load > m.capacity {
					rt.Fatalf("worker %+v, want load %d and generation %d", w, mw.load, mw.ref.Generation)
				}
				if mw.load > 0 {
					want.Busy++
				}
			}
			got := pool.Stats()
			want.Calls = got.Calls
			if got != want {
				rt.Fatalf("stats %+v, want %+v", got, want)
			}
		},
	}
	rt.Repeat(actions)

	// Everybody leaves, and nothing is left.
	for _, c := range m.waiting {
		c.cancel()
		<-c.done
	}
	for len(m.holding) > 0 {
		c := m.holding[0]
		m.holding = m.holding[1:]
		c.lease.Release()
		c.cancel()
	}
	for _, c := range m.unanswered {
		c.answer <- nil
		c.cancel()
	}
	drainErr := pool.Drain(context.Background())
	stats := pool.Stats()
	if err := pool.Stop(context.Background()); err != nil || drainErr != nil || stats.Busy != 0 || stats.Queued != 0 {
		rt.Fatalf("at the end: stop %v, drain %v, %+v", err, drainErr, stats)
	}
}

// draw takes a random element out, or skips the action if there is none.
func draw(rt *rapid.T, from *[]*modelCaller) *modelCaller {
	if len(*from) == 0 {
		rt.Skip("nobody to choose from")
	}
	i := rapid.IntRange(0, len(*from)-1).Draw(rt, "which")
	c := (*from)[i]
	*from = slices.Delete(*from, i, i+1)
	return c
}
