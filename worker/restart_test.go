package worker_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func restart(ctx context.Context, p *worker.Pool, id string) *outcome {
	return start(func() (*worker.Result, error) { return nil, p.Restart(ctx, id) })
}

func generations(p *worker.Pool) (list []uint64) {
	for _, w := range p.Workers() {
		list = append(list, w.Generation)
	}
	return list
}

// A call that runs ends first; callers that wait get the new worker, and there
// is no pause before it.
func TestRestartLetsTheCallEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		opts := fast(b.fake())
		opts.StopGrace, opts.QueueTimeout = time.Second, -1
		var reasons atomic.Value
		opts.Observer.Restart = func(_, reason string) { reasons.Store(reason) }
		p := startPool(t, opts)
		l := acquire(t, p, worker.Want{})
		call := start(func() (*worker.Result, error) {
			defer l.Release()
			return l.Call(t.Context(), &worker.Call{Tool: "block"})
		})
		<-b.began
		queued := queue(t, t.Context(), p, worker.Want{})
		pinned := queue(t, t.Context(), p, worker.Want{Worker: l.Worker(), Mode: worker.Require})
		began := time.Now()
		done := restart(t.Context(), p, "default-1")
		_, err := pinned.result()
		wantErr(t, err, worker.ErrWorkerGone)
		time.Sleep(time.Hour) // of the bubble's time; the call may take as long as it may
		synctest.Wait()
		if s := p.Workers()[0]; s.State != worker.StateDraining || s.Generation != 1 {
			t.Errorf("while the call runs: %+v", s)
		}
		b.end <- nil
		<-call.done
		if call.err != nil {
			t.Errorf("the running call: %v", call.err)
		}
		<-done.done
		if done.err != nil {
			t.Errorf("restart: %v", done.err)
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("the restart took %v longer than the call", took-time.Hour)
		}
		next, err := queued.result()
		if err != nil || next.Worker().Generation != 2 {
			t.Fatalf("the caller that waited got %v, %v", next, err)
		}
		next.Release()
		if got := reasons.Load(); got != "requested" {
			t.Errorf("reason %v", got)
		}
		if s := p.Workers()[0]; s.State != worker.StateReady || s.LastExit != "exit status 0" {
			t.Errorf("after the restart: %+v", s)
		}
	})
}

func TestRestartAllGoesOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &workertest.Fake{}
		opts := fast(f)
		opts.Size = 3
		var p *worker.Pool
		f.OnStart = func(_ context.Context, spec worker.Spec) error {
			if spec.Generation > 1 && p.Stats().Ready != 2 {
				t.Errorf("%d others take calls while %s starts", p.Stats().Ready, spec.ID)
			}
			return nil
		}
		p = startPool(t, opts)
		if err := p.RestartAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := generations(p); !slices.Equal(got, []uint64{2, 2, 2}) {
			t.Errorf("generations %v", got)
		}
	})
}

// Tools that no longer load cost one worker: the others stay.
func TestRestartAllStopsAtAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		f := &workertest.Fake{OnStart: func(_ context.Context, spec worker.Spec) error {
			if broken.Load() {
				return &worker.StartError{Worker: spec.ID, Reason: "SyntaxError", Traceback: "Traceback"}
			}
			return nil
		}}
		opts := fast(f)
		opts.Size = 2
		opts.Backoff = worker.Backoff{Min: time.Minute, Max: time.Minute}
		p := startPool(t, opts)
		broken.Store(true)
		err := p.RestartAll(t.Context())
		wantErr(t, err, worker.ErrStartFailed)
		if failed, ok := errors.AsType[*worker.StartError](err); !ok || failed.Reason != "SyntaxError" {
			t.Errorf("error %v", err)
		}
		if s := p.Stats(); s.Ready != 1 || generations(p)[1] != 1 {
			t.Errorf("after a failure: %+v, generations %v", s, generations(p))
		}
		// Mended, it does not wait for the pause to be over.
		broken.Store(false)
		began := time.Now()
		if err := p.RestartAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 0 || p.Stats().Ready != 2 {
			t.Errorf("after %v: %+v", took, p.Stats())
		}
	})
}

// Tools that do not load cost no second worker, whichever place it was that
// could not be started: it is tried first.
func TestRestartAllTriesThoseThatAreDownFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		f := &workertest.Fake{OnStart: func(_ context.Context, spec worker.Spec) error {
			if broken.Load() {
				return &worker.StartError{Worker: spec.ID, Reason: "SyntaxError"}
			}
			return nil
		}}
		opts := fast(f)
		opts.Size = 3
		opts.Backoff = worker.Backoff{Min: time.Minute, Max: time.Minute}
		p := startPool(t, opts)
		broken.Store(true)
		wantErr(t, p.Restart(t.Context(), "default-3"), worker.ErrStartFailed)
		for range 2 {
			wantErr(t, p.RestartAll(t.Context()), worker.ErrStartFailed)
			if s := p.Stats(); s.Ready != 2 || !slices.Equal(generations(p)[:2], []uint64{1, 1}) {
				t.Errorf("after a further failure: %+v, generations %v", s, generations(p))
			}
		}
	})
}

func TestRestartOfAWorkerThatStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &workertest.Fake{}
		opts := fast(f)
		hold := make(chan struct{})
		f.OnStart = func(_ context.Context, spec worker.Spec) error {
			if spec.Generation == 2 {
				<-hold
			}
			return nil
		}
		p := startPool(t, opts)
		first := restart(t.Context(), p, "default-1")
		synctest.Wait() // the second generation is on its way, with the code of that moment
		second := restart(t.Context(), p, "default-1")
		synctest.Wait()
		close(hold)
		<-first.done
		<-second.done
		if first.err != nil || second.err != nil || generations(p)[0] != 3 {
			t.Errorf("%v, %v, generations %v", first.err, second.err, generations(p))
		}
	})
}

func TestRestartErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		opts := fast(b.fake())
		opts.StopGrace = time.Second
		p := startPool(t, opts)
		wantErr(t, p.Restart(t.Context(), "nosuch"), worker.ErrWorkerNotFound)
		l := acquire(t, p, worker.Want{})
		call := start(func() (*worker.Result, error) {
			defer l.Release()
			return l.Call(t.Context(), &worker.Call{Tool: "block"})
		})
		<-b.began
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, p.Restart(short, "default-1"), context.DeadlineExceeded)
		waits := restart(t.Context(), p, "default-1")
		synctest.Wait()
		// A pool that stops while a worker is to be replaced gives the call its grace.
		stop := start(func() (*worker.Result, error) { return nil, p.Stop(t.Context()) })
		synctest.Wait()
		b.end <- nil
		<-call.done
		<-stop.done
		<-waits.done
		if call.err != nil || stop.err != nil {
			t.Errorf("call: %v; stop: %v", call.err, stop.err)
		}
		wantErr(t, waits.err, worker.ErrClosed)
		wantErr(t, p.Restart(t.Context(), "default-1"), worker.ErrClosed)
	})
}

// A worker that dies while it is to be replaced is replaced.
func TestRestartOfAWorkerThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		f := b.fake()
		p := startPool(t, fast(f))
		l := acquire(t, p, worker.Want{})
		call := start(func() (*worker.Result, error) {
			defer l.Release()
			return l.Call(t.Context(), &worker.Call{Tool: "block"})
		})
		<-b.began
		done := restart(t.Context(), p, "default-1")
		synctest.Wait()
		f.Worker("default-1").Crash()
		<-call.done
		wantErr(t, call.err, worker.ErrWorkerCrashed)
		<-done.done
		if done.err != nil || generations(p)[0] != 2 {
			t.Errorf("%v, generations %v", done.err, generations(p))
		}
	})
}
