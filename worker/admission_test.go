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

func admit(t *testing.T, p *worker.Pool) *worker.Admission {
	t.Helper()
	a, err := p.Admit()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// turnAfter is a turn that comes after that long.
func turnAfter(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func limited(f worker.Transport, limit int) worker.PoolOptions {
	opts := fast(f)
	opts.QueueLimit, opts.QueueTimeout = limit, 10*time.Second
	return opts
}

func TestWaitsOfOneCallAddUp(t *testing.T) {
	for name, tc := range map[string]struct {
		turns []time.Duration
		fails string // what is waited for when the time is up
	}{
		"a turn":               {[]time.Duration{time.Hour}, "the turn"},
		"a turn and a worker":  {[]time.Duration{6 * time.Second}, "a worker"},
		"a second turn":        {[]time.Duration{6 * time.Second, 6 * time.Second}, "the turn"},
		"two turns and worker": {[]time.Duration{4 * time.Second, 4 * time.Second}, "a worker"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPool(t, limited(&workertest.Fake{}, 0))
				held := acquire(t, p, worker.Want{})
				defer held.Release()
				a := admit(t, p)
				defer a.Leave()
				began := time.Now()
				var err error
				for _, d := range tc.turns {
					if err = a.Await(t.Context(), "the turn", turnAfter(d)); err != nil {
						break
					}
				}
				if err == nil {
					_, err = a.Acquire(t.Context(), worker.Want{})
				}
				wantErr(t, err, worker.ErrQueueTimeout)
				if took := time.Since(began); took != 10*time.Second {
					t.Errorf("took %v", took)
				}
				if !strings.Contains(err.Error(), "after 10s, at last waiting for "+tc.fails) {
					t.Errorf("the error does not say what was waited for: %v", err)
				}
				if s := p.Stats(); s.Queued != 0 || s.QueueTimeouts != 1 {
					t.Errorf("stats: %+v", s)
				}
			})
		})
	}
}

func TestACallThatHadAWorkerWaitsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var queued []time.Duration
		opts := limited(&workertest.Fake{}, 0)
		opts.Observer.CallDone = func(c worker.CallDone) { queued = append(queued, c.Queued) }
		p := startPool(t, opts)
		a := admit(t, p)
		defer a.Leave()
		if err := a.Await(t.Context(), "the turn", turnAfter(9*time.Second)); err != nil {
			t.Fatal(err)
		}
		use := func() {
			l, err := a.Acquire(t.Context(), worker.Want{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Release()
			if _, err := l.Call(t.Context(), &worker.Call{Tool: "echo"}); err != nil {
				t.Fatal(err)
			}
		}
		use()
		held := acquire(t, p, worker.Want{})
		time.AfterFunc(5*time.Second, held.Release)
		use()
		if len(queued) != 2 || queued[0] != 9*time.Second || queued[1] != 5*time.Second {
			t.Errorf("the observer was told of waits of %v", queued)
		}
	})
}

// TestAPlaceInTheQueueIsKept: a call that has waited for its turn, or for a
// worker that then ended, is not refused because others have come meanwhile.
func TestAPlaceInTheQueueIsKept(t *testing.T) {
	t.Run("from the turn to the worker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := startPool(t, limited(&workertest.Fake{}, 2))
			held := acquire(t, p, worker.Want{})
			a := admit(t, p)
			defer a.Leave()
			if err := a.Await(t.Context(), "the turn", turnAfter(0)); err != nil {
				t.Fatal(err)
			}
			other := queue(t, t.Context(), p, worker.Want{})
			if s := p.Stats(); s.Queued != 2 || s.AwaitingTurn != 1 {
				t.Errorf("stats: %+v", s)
			}
			_, err := p.Acquire(t.Context(), worker.Want{})
			wantErr(t, err, worker.ErrSaturated)
			time.AfterFunc(time.Second, held.Release)
			go func() { // the other one came first
				if l, err := other.result(); err == nil {
					l.Release()
				}
			}()
			l, err := a.Acquire(t.Context(), worker.Want{})
			if err != nil {
				t.Fatal(err)
			}
			l.Release()
			if s := p.Stats(); s.Queued != 0 || s.AwaitingTurn != 0 {
				t.Errorf("stats at the end: %+v", s)
			}
		})
	})
	t.Run("from worker to worker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fake := &workertest.Fake{}
			opts := limited(fake, 1)
			opts.Size = 2
			opts.Backoff.Min = time.Hour
			p := startPool(t, opts)
			one, two := acquire(t, p, worker.Want{}), acquire(t, p, worker.Want{})
			defer two.Release()
			a := admit(t, p)
			defer a.Leave()
			began := time.Now()
			time.AfterFunc(8*time.Second, func() { fake.Worker(one.Worker().ID).Crash() })
			_, err := a.Acquire(t.Context(), worker.Want{Worker: one.Worker(), Mode: worker.Require})
			wantErr(t, err, worker.ErrWorkerGone)
			_, err = p.Acquire(t.Context(), worker.Want{})
			wantErr(t, err, worker.ErrSaturated)
			_, err = a.Acquire(t.Context(), worker.Want{})
			wantErr(t, err, worker.ErrQueueTimeout)
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("took %v in all", took)
			}
			if s := p.Stats(); s.Queued != 0 {
				t.Errorf("stats at the end: %+v", s)
			}
		})
	})
}

func TestAwaitEndsWithItsCaller(t *testing.T) {
	p := startPool(t, limited(&workertest.Fake{}, 0))
	a := admit(t, p)
	reason := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := a.Await(ctx, "the turn", func(ctx context.Context) error {
		cancel(reason)
		<-ctx.Done()
		return ctx.Err()
	})
	wantErr(t, err, reason)
	own := errors.New("the turn is gone")
	wantErr(t, a.Await(t.Context(), "the turn", func(context.Context) error { return own }), own)
	if s := p.Stats(); s.Queued != 0 {
		t.Errorf("stats: %+v", s)
	}
	if err := a.Await(t.Context(), "the turn", func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	a.Leave()
	if s := p.Stats(); s.Queued != 0 {
		t.Errorf("stats of one that left with its turn: %+v", s)
	}
}

// TestDrainWaitsForAdmissions: who was let in is served, and nobody else.
func TestDrainWaitsForAdmissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPool(t, limited(&workertest.Fake{}, 0))
		a := admit(t, p)
		drained := make(chan error, 1)
		go func() { drained <- p.Drain(t.Context()) }()
		synctest.Wait()
		_, err := p.Admit()
		wantErr(t, err, worker.ErrDraining)
		if err := a.Await(t.Context(), "the turn", turnAfter(time.Second)); err != nil {
			t.Fatal(err)
		}
		l, err := a.Acquire(t.Context(), worker.Want{})
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
		synctest.Wait()
		select {
		case <-drained:
			t.Error("drained before the call has left")
		default:
		}
		a.Leave()
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}
