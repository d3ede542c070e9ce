package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func TestChoiceOfWorker(t *testing.T) {
	opts := fast(&workertest.Fake{Capacity: 2})
	opts.Size = 2
	p := startPool(t, opts)
	first := acquire(t, p, worker.Want{})
	second := acquire(t, p, worker.Want{})
	if first.Worker() == second.Worker() {
		t.Fatal("two calls on one worker while the other is idle")
	}
	third, fourth := acquire(t, p, worker.Want{}), acquire(t, p, worker.Want{})
	if third.Worker() == fourth.Worker() {
		t.Fatal("three calls on one worker while the other has one")
	}
	if s := p.Stats(); s.Busy != 2 || s.Ready != 2 {
		t.Errorf("stats: %+v", s)
	}
	// Both become idle, the worker of second first.
	second.Release()
	for _, l := range []*worker.Lease{third, fourth} {
		if l.Worker() == second.Worker() {
			l.Release()
		}
	}
	first.Release()
	third.Release()
	fourth.Release()
	longest := acquire(t, p, worker.Want{})
	if longest.Worker() != second.Worker() {
		t.Errorf("got %v, but %v has been idle for longer", longest.Worker(), second.Worker())
	}
	if i := longest.Info(); i.Capacity != 2 || i.Runtime != "fake" {
		t.Errorf("info: %+v", i)
	}
}

func TestAffinity(t *testing.T) {
	gone := worker.Ref{ID: "default-1", Generation: 7}
	unknown := worker.Ref{ID: "elsewhere-1", Generation: 1}
	mine := worker.Ref{ID: "default-1", Generation: 1}
	whoever := worker.Ref{ID: "default-1"}
	other := worker.Ref{ID: "default-2", Generation: 1}
	const queued = "queued"
	for name, tc := range map[string]struct {
		busy []worker.Ref
		want worker.Want
		get  any // a Ref, an error, or queued
	}{
		"prefer, free":                  {nil, worker.Want{Worker: mine}, mine},
		"prefer, free, the other":       {nil, worker.Want{Worker: other}, other},
		"prefer, busy":                  {[]worker.Ref{mine}, worker.Want{Worker: mine}, other},
		"prefer, all busy":              {[]worker.Ref{mine, other}, worker.Want{Worker: mine}, queued},
		"prefer, another generation":    {[]worker.Ref{mine}, worker.Want{Worker: gone}, other},
		"prefer, unknown":               {[]worker.Ref{mine}, worker.Want{Worker: unknown}, other},
		"prefer, place":                 {nil, worker.Want{Worker: whoever}, mine},
		"require, free":                 {nil, worker.Want{Worker: mine, Mode: worker.Require}, mine},
		"require, busy":                 {[]worker.Ref{mine}, worker.Want{Worker: mine, Mode: worker.Require}, queued},
		"require, other generation":     {nil, worker.Want{Worker: gone, Mode: worker.Require}, worker.ErrWorkerGone},
		"require, unknown":              {nil, worker.Want{Worker: unknown, Mode: worker.Require}, worker.ErrWorkerGone},
		"require now, free":             {nil, worker.Want{Worker: other, Mode: worker.RequireNow}, other},
		"require now, busy":             {[]worker.Ref{mine}, worker.Want{Worker: mine, Mode: worker.RequireNow}, worker.ErrWorkerBusy},
		"require now, place is busy":    {[]worker.Ref{mine}, worker.Want{Worker: whoever, Mode: worker.RequireNow}, worker.ErrWorkerBusy},
		"require now, gone":             {nil, worker.Want{Worker: gone, Mode: worker.RequireNow}, worker.ErrWorkerGone},
		"no worker, mode means nothing": {[]worker.Ref{mine}, worker.Want{Mode: worker.RequireNow}, other},
	} {
		t.Run(name, func(t *testing.T) {
			opts := fast(&workertest.Fake{})
			opts.Size = 2
			p := startPool(t, opts)
			for _, ref := range tc.busy {
				acquire(t, p, worker.Want{Worker: ref, Mode: worker.RequireNow})
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.get == queued {
				w := queue(t, ctx, p, tc.want)
				cancel()
				_, err := w.result()
				wantErr(t, err, context.Canceled)
				return
			}
			l, err := p.Acquire(ctx, tc.want)
			switch get := tc.get.(type) {
			case error:
				wantErr(t, err, get)
				if !strings.Contains(err.Error(), tc.want.Worker.ID) {
					t.Errorf("error does not name the worker: %v", err)
				}
			case worker.Ref:
				if err != nil || l.Worker() != get {
					t.Errorf("got %v, %v; want %v", l, err, get)
				}
			}
		})
	}
}

// TestQueueOrder: callers are served in order of arrival among those that the
// same worker suits, and one that waits for a certain worker holds up nobody.
func TestQueueOrder(t *testing.T) {
	opts := fast(&workertest.Fake{})
	opts.Size = 2
	p := startPool(t, opts)
	one, two := acquire(t, p, worker.Want{}), acquire(t, p, worker.Want{})
	require := func(l *worker.Lease) worker.Want { return worker.Want{Worker: l.Worker(), Mode: worker.Require} }

	a := queue(t, t.Context(), p, require(one))
	b := queue(t, t.Context(), p, worker.Want{})
	c := queue(t, t.Context(), p, require(two))
	d := queue(t, t.Context(), p, worker.Want{})
	serve := func(l *worker.Lease, next *wait, later ...*wait) *worker.Lease {
		t.Helper()
		from := l.Worker()
		l.Release()
		got, err := next.result()
		if err != nil || got.Worker() != from {
			t.Fatalf("next in line got %v, %v", got, err)
		}
		for i, w := range later {
			if !w.pending() {
				t.Errorf("number %d after it was served too", i+1)
			}
		}
		return got
	}
	two = serve(two, b, a, c, d) // a waits for one, and does not hold up b
	two = serve(two, c, a, d)
	one = serve(one, a, d)
	one = serve(one, d)
	one.Release()
	two.Release()
	if s := p.Stats(); s.Busy != 0 || s.Queued != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestNobodyOvertakesTheQueue(t *testing.T) {
	p := startPool(t, fast(&workertest.Fake{}))
	held := acquire(t, p, worker.Want{})
	first := queue(t, t.Context(), p, worker.Want{})
	held.Release()
	// The slot is the waiter's already, before it has run at all.
	_, err := p.Acquire(t.Context(), worker.Want{Worker: held.Worker(), Mode: worker.RequireNow})
	wantErr(t, err, worker.ErrWorkerBusy)
	if _, err := first.result(); err != nil {
		t.Error(err)
	}
}

func TestARequiredWorkersEndFailsItsWaiters(t *testing.T) {
	end := map[string]func(t *testing.T, f *workertest.Fake, l *worker.Lease){
		"crash": func(_ *testing.T, f *workertest.Fake, l *worker.Lease) { f.Worker(l.Worker().ID).Crash() },
		"found dead by a call": func(t *testing.T, f *workertest.Fake, l *worker.Lease) {
			_, err := l.Call(t.Context(), &worker.Call{Tool: "crash", Args: args(t, map[string]int{"code": 3})})
			wantErr(t, err, worker.ErrWorkerCrashed)
		},
	}
	for name, f := range end {
		t.Run(name, func(t *testing.T) {
			fake := &workertest.Fake{}
			opts := fast(fake)
			opts.Size = 2
			opts.Backoff.Min = time.Hour
			p := startPool(t, opts)
			one, two := acquire(t, p, worker.Want{}), acquire(t, p, worker.Want{})
			pinned := queue(t, t.Context(), p, worker.Want{Worker: one.Worker(), Mode: worker.Require})
			other := queue(t, t.Context(), p, worker.Want{Worker: two.Worker(), Mode: worker.Require})
			free := queue(t, t.Context(), p, worker.Want{})
			f(t, fake, one)
			_, err := pinned.result()
			wantErr(t, err, worker.ErrWorkerGone)
			one.Release()
			if !other.pending() || !free.pending() {
				t.Error("a waiter that did not require the worker has ended")
			}
			two.Release()
			l, err := other.result()
			if err != nil {
				t.Fatal(err)
			}
			l.Release()
			if _, err := free.result(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCallersWaitForRestarts: no worker is running, but one will be.
func TestCallersWaitForRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &workertest.Fake{}
		p := startPool(t, fast(f))
		f.Worker("default-1").Crash()
		synctest.Wait()
		if s := p.Stats(); s.Ready != 0 {
			t.Fatalf("stats: %+v", s)
		}
		l, err := p.Acquire(t.Context(), worker.Want{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Worker().Generation != 2 {
			t.Errorf("worker is %v", l.Worker())
		}
		_, err = p.Acquire(t.Context(), worker.Want{Worker: worker.Ref{ID: "default-1", Generation: 1}, Mode: worker.Require})
		wantErr(t, err, worker.ErrWorkerGone)
	})
}

func TestSaturation(t *testing.T) {
	told := make(chan string, 10)
	opts := fast(&workertest.Fake{})
	opts.QueueLimit = 2
	opts.Observer.Saturated = func(pool string) { told <- pool }
	p := startPool(t, opts)
	held := acquire(t, p, worker.Want{})
	ctx, cancel := context.WithCancel(t.Context())
	a := queue(t, ctx, p, worker.Want{})
	b := queue(t, t.Context(), p, worker.Want{Worker: held.Worker(), Mode: worker.Require})
	_, err := p.Acquire(t.Context(), worker.Want{})
	wantErr(t, err, worker.ErrSaturated)
	if !strings.Contains(err.Error(), "2 callers wait, 0 for turns and 2 for one of 1 workers, and the limit is 2") {
		t.Errorf("error has no numbers: %v", err)
	}
	if s := p.Stats(); s.Saturated != 1 || s.Queued != 2 {
		t.Errorf("stats: %+v", s)
	}
	if pool := <-told; pool != "default" {
		t.Errorf("observer was told of pool %q", pool)
	}
	// Who leaves makes room.
	cancel()
	_, err = a.result()
	wantErr(t, err, context.Canceled)
	c := queue(t, t.Context(), p, worker.Want{})
	held.Release()
	for _, w := range []*wait{b, c} {
		l, err := w.result()
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
	}
}

func TestNoQueue(t *testing.T) {
	opts := fast(&workertest.Fake{})
	opts.QueueLimit = -1
	p := startPool(t, opts)
	l := acquire(t, p, worker.Want{})
	_, err := p.Acquire(t.Context(), worker.Want{})
	wantErr(t, err, worker.ErrSaturated)
	l.Release()
	acquire(t, p, worker.Want{}).Release()
}

func TestQueueTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := fast(&workertest.Fake{})
		opts.QueueTimeout = 3 * time.Second
		p := startPool(t, opts)
		held := acquire(t, p, worker.Want{})
		began := time.Now()
		_, err := p.Acquire(t.Context(), worker.Want{})
		wantErr(t, err, worker.ErrQueueTimeout)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		if !strings.Contains(err.Error(), "after 3s") {
			t.Errorf("error has no numbers: %v", err)
		}
		if s := p.Stats(); s.Queued != 0 || s.QueueTimeouts != 1 {
			t.Errorf("stats: %+v", s)
		}
		// The one that left is not served.
		held.Release()
		acquire(t, p, worker.Want{}).Release()
	})
}

func TestNoQueueTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := fast(&workertest.Fake{})
		opts.QueueTimeout = -1
		p := startPool(t, opts)
		held := acquire(t, p, worker.Want{})
		w := queue(t, t.Context(), p, worker.Want{})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if !w.pending() {
			t.Fatal("a caller without limit has left")
		}
		held.Release()
		if _, err := w.result(); err != nil {
			t.Error(err)
		}
	})
}

func TestDeadlineIncludesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPool(t, fast(newBlocker().fake()))
		held := acquire(t, p, worker.Want{})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		call := start(func() (*worker.Result, error) { return p.Execute(ctx, &worker.Call{Tool: "block"}) })
		time.Sleep(3 * time.Second)
		held.Release()
		<-call.done
		wantErr(t, call.err, context.DeadlineExceeded)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v in all", took)
		}
	})
}

func TestAcquireWithAnEndedContext(t *testing.T) {
	p := startPool(t, fast(&workertest.Fake{}))
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("changed my mind")
	cancel(reason)
	_, err := p.Acquire(ctx, worker.Want{})
	wantErr(t, err, reason)
	_, err = p.Execute(ctx, &worker.Call{Tool: "echo"})
	wantErr(t, err, reason)
	if s := p.Stats(); s.Busy != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestReleaseTwice(t *testing.T) {
	p := startPool(t, fast(&workertest.Fake{}))
	l := acquire(t, p, worker.Want{})
	l.Release()
	next := acquire(t, p, worker.Want{})
	l.Release() // must not give back what is another's now
	_, err := p.Acquire(t.Context(), worker.Want{Worker: next.Worker(), Mode: worker.RequireNow})
	wantErr(t, err, worker.ErrWorkerBusy)
	if _, err := l.Call(t.Context(), &worker.Call{Tool: "echo"}); err == nil {
		t.Error("a released lease took a call")
	}
}
