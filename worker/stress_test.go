package worker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// TestManyCallers lets hundreds of callers loose on a few workers that crash,
// with contexts that end at any moment, and counts what really ran.
func TestManyCallers(t *testing.T) {
	const callers, rounds, capacity = 300, 40, 2
	running := make(map[*workertest.Worker]int)
	var mu sync.Mutex
	var runs atomic.Uint64
	f := &workertest.Fake{Capacity: capacity, Tools: []workertest.Tool{{
		Tool: worker.Tool{Name: "work", Idempotent: true},
		Run: func(inv *workertest.Invocation) (any, error) {
			mu.Lock()
			running[inv.Worker()]++
			if n := running[inv.Worker()]; n > capacity {
				t.Errorf("%d calls at once in a worker of capacity %d", n, capacity)
			}
			mu.Unlock()
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				running[inv.Worker()]--
			}()
			switch runs.Add(1) % 60 {
			case 0:
				inv.Worker().Crash()
			case 1, 2, 3:
				<-inv.Context().Done() // until it is cancelled
			case 4:
				<-inv.Gone() // deaf: until it is killed
			}
			return nil, inv.Context().Err()
		},
	}}}
	p := startPool(t, worker.PoolOptions{
		Size: 4, Transport: f, QueueLimit: callers, QueueTimeout: 4 * time.Millisecond, CancelGrace: 2 * time.Millisecond,
		PingInterval: time.Millisecond,
		Backoff:      worker.Backoff{Min: time.Millisecond, Max: 2 * time.Millisecond},
	})
	var ok, failed atomic.Uint64
	count := func(err error) {
		if err == nil {
			ok.Add(1)
			return
		}
		failed.Add(1)
		for _, known := range []error{
			context.DeadlineExceeded, context.Canceled, worker.ErrQueueTimeout,
			worker.ErrWorkerCrashed, worker.ErrWorkerGone, worker.ErrWorkerBusy,
		} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Errorf("unexpected error: %v", err)
	}
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range rounds {
				ctx, cancel := context.WithTimeout(context.Background(), rand.N(10*time.Millisecond))
				switch rand.N(3) {
				case 0:
					_, err := p.Execute(ctx, &worker.Call{Tool: "work"})
					count(err)
				case 1:
					l, err := p.Acquire(ctx, worker.Want{})
					if err == nil {
						ref := l.Worker()
						_, err = l.Call(ctx, &worker.Call{Tool: "work"})
						l.Release()
						again, err := p.Acquire(ctx, worker.Want{Worker: ref, Mode: worker.Mode(rand.N(3))})
						count(err)
						if err == nil {
							again.Release()
							again.Release()
						}
					}
					count(err)
				case 2:
					l, err := p.Acquire(ctx, worker.Want{})
					count(err)
					if err == nil {
						cancel()
						l.Release()
					}
				}
				cancel()
			}
		})
	}
	all.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	waitFor(t, func() bool { s := p.Stats(); return s.Busy == 0 && s.Ready == 4 })
	if s := p.Stats(); s.Queued != 0 {
		t.Errorf("stats: %+v", s)
	}
	// No slot has been lost, and none invented.
	var held []*worker.Lease
	for range 4 * capacity {
		l, err := p.Acquire(ctx, worker.Want{})
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
	}
	for _, w := range p.Workers() {
		if w.InFlight != capacity {
			t.Errorf("worker %s has %d of %d slots taken", w.ID, w.InFlight, capacity)
		}
	}
	for _, l := range held {
		l.Release()
	}
	if err := p.Drain(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("%d calls went well, %d did not; %+v", ok.Load(), failed.Load(), p.Stats())
	if ok.Load() == 0 || failed.Load() == 0 || p.Stats().Restarts == 0 {
		t.Error("the test does not test what it is meant to")
	}
}

// TestStopUnderLoad stops a pool that many callers use: each gets an answer.
func TestStopUnderLoad(t *testing.T) {
	f := &workertest.Fake{}
	p := startPool(t, worker.PoolOptions{Size: 4, Transport: f, PingInterval: time.Millisecond})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for {
				_, err := p.Execute(context.Background(), &worker.Call{Tool: "echo", Args: []byte(`{"value":1}`)})
				if errors.Is(err, worker.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("while the pool stops: %v", err)
					return
				}
			}
		})
	}
	waitFor(t, func() bool { return p.Stats().Calls > 1000 })
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	all.Wait()
	if s := p.Stats(); s.Busy != 0 || s.Ready != 0 || s.Queued != 0 || s.Restarts != 0 {
		t.Errorf("stats: %+v", s)
	}
}
