package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func TestOptionsAreValidated(t *testing.T) {
	for name, opts := range map[string]worker.PoolOptions{
		"a transport is required": {},
		"size is -1":              {Transport: &workertest.Fake{}, Size: -1},
		"cancel grace":            {Transport: &workertest.Fake{}, CancelGrace: -1},
		"backoff min":             {Transport: &workertest.Fake{}, Backoff: worker.Backoff{Min: -1}},
		"ping timeout":            {Transport: &workertest.Fake{}, PingTimeout: -1},
	} {
		if _, err := worker.NewPool(opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error is %v, want one about %q", err, name)
		}
	}
	p, err := worker.NewPool(worker.PoolOptions{Transport: &workertest.Fake{}, QueueTimeout: -1, PingInterval: -1, QueueLimit: -1})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.Name != "default" || s.Size < 1 || p.Name() != "default" {
		t.Errorf("defaults: %+v", s)
	}
}

func TestStartReturnsWithTheFirstWorker(t *testing.T) {
	late := make(chan struct{})
	f := &workertest.Fake{OnStart: func(ctx context.Context, s worker.Spec) error {
		if s.ID != "default-2" {
			return nil
		}
		select {
		case <-late:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	opts := fast(f)
	opts.Size = 2
	p := newPool(t, opts)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := p.Workers()[0]; w.State != worker.StateReady {
		t.Fatalf("first worker after Start: %+v", w)
	}
	waitFor(t, func() bool { return p.Workers()[1].State == worker.StateStarting })
	close(late)
	waitFor(t, func() bool { return p.Stats().Ready == 2 })
	wantSecond := p.Start(t.Context())
	if wantSecond == nil || !strings.Contains(wantSecond.Error(), "second time") {
		t.Errorf("second Start: %v", wantSecond)
	}
}

func TestStartFailsIfNoWorkerCanBeStarted(t *testing.T) {
	f := &workertest.Fake{OnStart: func(ctx context.Context, s worker.Spec) error {
		if s.ID == "default-3" { // never comes up; must not outlive Start
			<-ctx.Done()
			return ctx.Err()
		}
		return &worker.StartError{Worker: s.ID, Reason: "no module named nonsense", Traceback: "Traceback: ..."}
	}}
	opts := fast(f)
	opts.Size = 3
	opts.StartTimeout = 50 * time.Millisecond
	opts.Backoff = worker.Backoff{Min: time.Hour, Max: time.Hour}
	p := newPool(t, opts)
	err := p.Start(t.Context())
	var se *worker.StartError
	if !errors.As(err, &se) || se.Reason != "no module named nonsense" || se.Worker == "default-3" {
		t.Fatalf("error is %v", err)
	}
	for _, w := range p.Workers() {
		if w.State != worker.StateStopped {
			t.Errorf("worker %s is %s after a failed start", w.ID, w.State)
		}
	}
	_, err = p.Acquire(t.Context(), worker.Want{})
	wantErr(t, err, worker.ErrClosed)
	if err := p.Stop(t.Context()); err != nil {
		t.Errorf("stop after a failed start: %v", err)
	}
	err = p.Start(t.Context())
	wantErr(t, err, worker.ErrClosed)
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	f := &workertest.Fake{OnStart: func(ctx context.Context, s worker.Spec) error {
		cancel(reason)
		<-ctx.Done()
		return ctx.Err()
	}}
	p := newPool(t, fast(f))
	wantErr(t, p.Start(ctx), reason)
	if s := p.Workers()[0].State; s != worker.StateStopped {
		t.Errorf("worker is %s", s)
	}
}

func TestWorkersOutliveTheContextOfStart(t *testing.T) {
	f := &workertest.Fake{}
	p := newPool(t, fast(f))
	ctx, cancel := context.WithCancel(t.Context())
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := p.Execute(t.Context(), &worker.Call{Tool: "echo", Args: args(t, map[string]int{"value": 1})}); err != nil {
		t.Fatal(err)
	}
}

// TestBackoff: a worker that cannot be started, or dies early, is started again
// after pauses that double up to the maximum, and start small again once it has
// lasted.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := make(chan time.Time, 100)
		var refuse atomic.Int32
		f := &workertest.Fake{OnStart: func(_ context.Context, s worker.Spec) error {
			if s.ID != "default-1" {
				return nil
			}
			starts <- time.Now()
			if left := refuse.Add(-1); left >= 0 {
				return &worker.StartError{Worker: s.ID, Reason: fmt.Sprintf("refused, %d left", left)}
			}
			return nil
		}}
		opts := fast(f)
		opts.Size = 2
		opts.Backoff = worker.Backoff{Min: 100 * time.Millisecond, Max: 500 * time.Millisecond, Reset: time.Minute}
		reasons := make(chan string, 100)
		opts.Observer.Restart = func(_, reason string) { reasons <- reason }
		p := startPool(t, opts)
		<-starts

		refuse.Store(4)
		ended := time.Now()
		f.Worker("default-1").Crash()
		for i, ms := range []int64{100, 200, 400, 500, 500} {
			want := time.Duration(ms) * time.Millisecond
			began := <-starts
			if pause := began.Sub(ended); pause < want/2 || pause > want {
				t.Errorf("pause %d is %v, want between %v and %v", i+1, pause, want/2, want)
			}
			ended = began
			synctest.Wait()
			if i == 0 {
				w := p.Workers()[0]
				if w.State != worker.StateBackoff || !strings.Contains(w.LastExit, "refused, 3 left") || w.Generation != 2 {
					t.Errorf("after a refused start: %+v", w)
				}
			}
		}
		for i, want := range []string{"exited", "start_failed", "start_failed", "start_failed", "start_failed"} {
			if got := <-reasons; got != want {
				t.Errorf("restart %d is for %s, want %s", i+1, got, want)
			}
		}
		if w := p.Workers()[0]; w.State != worker.StateReady || w.Generation != 6 {
			t.Fatalf("worker did not come back: %+v", w)
		}

		time.Sleep(time.Minute) // it has lasted
		died := time.Now()
		f.Worker("default-1").Crash()
		if pause := (<-starts).Sub(died); pause > 100*time.Millisecond {
			t.Errorf("a worker that had lasted is started again only after %v", pause)
		}
		if s := p.Stats(); s.Restarts != 6 {
			t.Errorf("restarts: %d, want 6", s.Restarts)
		}
	})
}

func TestStartTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &workertest.Fake{OnStart: func(ctx context.Context, s worker.Spec) error {
			if s.Generation > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		opts := fast(f)
		opts.StartTimeout = 7 * time.Second
		p := newPool(t, opts)
		began := time.Now()
		err := p.Start(t.Context())
		var se *worker.StartError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), "not ready after 7s") {
			t.Errorf("error is %v", err)
		}
		wantErr(t, err, context.DeadlineExceeded)
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestOnExitComesBeforeTheReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan string, 100)
		f := &workertest.Fake{OnStart: func(_ context.Context, s worker.Spec) error {
			events <- fmt.Sprintf("start %s/%d", s.ID, s.Generation)
			return nil
		}}
		p := newPool(t, fast(f))
		p.OnExit(func(r worker.Ref) { events <- fmt.Sprintf("exit %s/%d", r.ID, r.Generation) })
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.Worker("default-1").Crash()
		time.Sleep(time.Second)
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(events)
		for _, want := range []string{"start default-1/1", "exit default-1/1", "start default-1/2", "exit default-1/2"} {
			if got := <-events; got != want {
				t.Errorf("event %s, want %s", got, want)
			}
		}
	})
}

func TestPings(t *testing.T) {
	for name, tc := range map[string]struct {
		misses   []bool // by ping; the rest are answered
		restarts uint64
	}{
		"all answered":             {nil, 0},
		"two misses are forgiven":  {[]bool{true, true, false, true, true}, 0},
		"three in a row are fatal": {[]bool{false, true, true, true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				pings := make(chan time.Time, 100)
				f := &workertest.Fake{OnPing: func(ctx context.Context, s worker.Spec) error {
					pings <- time.Now()
					n++
					if n <= len(tc.misses) && tc.misses[n-1] {
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				}}
				opts := fast(f)
				opts.PingInterval, opts.PingTimeout = 10*time.Second, 4*time.Second
				p := startPool(t, opts)
				began := time.Now()
				time.Sleep(90 * time.Second)
				synctest.Wait()
				s := p.Stats()
				if s.Restarts != tc.restarts || s.Ready != 1 {
					t.Errorf("stats after 90 s: %+v, want %d restarts", s, tc.restarts)
				}
				if first := (<-pings).Sub(began); first != 10*time.Second {
					t.Errorf("first ping after %v", first)
				}
				if tc.restarts > 0 && !strings.Contains(p.Workers()[0].LastExit, "SIGKILL") {
					t.Errorf("last exit: %q", p.Workers()[0].LastExit)
				}
			})
		})
	}
}

func TestNoPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &workertest.Fake{OnPing: func(context.Context, worker.Spec) error {
			t.Error("a ping although they are off")
			return nil
		}}
		startPool(t, fast(f))
		time.Sleep(time.Hour)
	})
}

func TestToolsOfTheNewestWorkerCount(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	changed := false
	f := &workertest.Fake{ToolsFor: func(s worker.Spec) []workertest.Tool {
		mu.Lock()
		defer mu.Unlock()
		tools := []workertest.Tool{{Tool: worker.Tool{Name: "one"}}}
		if changed {
			tools = append(tools, workertest.Tool{Tool: worker.Tool{Name: "two", Idempotent: true}})
		}
		return tools
	}}
	opts := fast(f)
	opts.Size = 2
	opts.Backoff.Min = time.Millisecond
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if p := newPool(t, opts); p.Tools() != nil {
		t.Error("tools before any worker said what it has")
	}
	p := startPool(t, opts)
	if len(p.Tools()) != 1 || strings.Contains(log.String(), "other tools") {
		t.Fatalf("tools: %v, log:\n%s", p.Tools(), &log)
	}
	if _, ok := p.Tool("two"); ok {
		t.Fatal("there is no tool two yet")
	}
	mu.Lock()
	changed = true
	mu.Unlock()
	f.Worker("default-2").Crash()
	waitFor(t, func() bool { return len(p.Tools()) == 2 })
	if tool, ok := p.Tool("two"); !ok || !tool.Idempotent {
		t.Errorf("tool two: %+v", tool)
	}
	if err := p.Stop(t.Context()); err != nil { // nobody logs any more
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "offers other tools") {
		t.Errorf("nothing in the log:\n%s", &log)
	}
}

func TestStopWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		p := startPool(t, fast(b.fake()))
		l := acquire(t, p, worker.Want{})
		call := start(func() (*worker.Result, error) {
			defer l.Release()
			return l.Call(t.Context(), &worker.Call{Tool: "block"})
		})
		<-b.began
		queued := queue(t, t.Context(), p, worker.Want{})
		pinned := queue(t, t.Context(), p, worker.Want{Worker: l.Worker(), Mode: worker.Require})
		stop := start(func() (*worker.Result, error) { return nil, p.Stop(t.Context()) })
		for _, w := range []*wait{queued, pinned} {
			_, err := w.result()
			wantErr(t, err, worker.ErrClosed)
		}
		synctest.Wait()
		if s := p.Workers()[0].State; s != worker.StateDraining {
			t.Errorf("worker with a call is %s while the pool stops", s)
		}
		_, err := p.Acquire(t.Context(), worker.Want{})
		wantErr(t, err, worker.ErrClosed)
		b.end <- nil
		<-call.done
		if call.err != nil {
			t.Errorf("running call: %v", call.err)
		}
		<-stop.done
		if stop.err != nil {
			t.Errorf("stop: %v", stop.err)
		}
		if w := p.Workers()[0]; w.State != worker.StateStopped || w.LastExit != "exit status 0" {
			t.Errorf("after stop: %+v", w)
		}
	})
}

func TestStopKillsAfterItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		opts := fast(b.fake())
		opts.StopGrace = 3 * time.Second
		p := startPool(t, opts)
		l := acquire(t, p, worker.Want{})
		call := start(func() (*worker.Result, error) { return l.Call(t.Context(), &worker.Call{Tool: "block"}) })
		<-b.began
		began := time.Now()
		if err := p.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("stop took %v", took)
		}
		<-call.done
		wantErr(t, call.err, worker.ErrWorkerCrashed)
		l.Release()
	})
}

func TestStopIsBoundedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		p := startPool(t, fast(b.fake()))
		l := acquire(t, p, worker.Want{})
		call := start(func() (*worker.Result, error) { return l.Call(t.Context(), &worker.Call{Tool: "block"}) })
		<-b.began
		first := start(func() (*worker.Result, error) { return nil, p.Stop(context.Background()) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		// A second Stop may cut the first short.
		wantErr(t, p.Stop(ctx), context.DeadlineExceeded)
		if took := time.Since(began); took != time.Second {
			t.Errorf("stop took %v", took)
		}
		<-first.done
		if first.err != nil {
			t.Errorf("first stop: %v", first.err)
		}
		<-call.done
		if err := p.Stop(ctx); err != nil {
			t.Errorf("stop of a stopped pool: %v", err)
		}
	})
}

func TestStopGivesUpOnAWorkerThatCannotBeKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &workertest.Fake{Undying: true}
		p := startPool(t, fast(f))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := p.Stop(ctx)
		if err == nil || !strings.Contains(err.Error(), "not gone") {
			t.Errorf("error is %v", err)
		}
		f.Worker("default-1").Crash()
		if err := p.Stop(t.Context()); err != nil {
			t.Errorf("stop once it is gone: %v", err)
		}
	})
}

func TestStopBeforeStart(t *testing.T) {
	p := newPool(t, fast(&workertest.Fake{}))
	_, err := p.Acquire(t.Context(), worker.Want{})
	wantErr(t, err, worker.ErrNoWorkers)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantErr(t, p.Start(t.Context()), worker.ErrClosed)
}

func TestStopDuringStart(t *testing.T) {
	starting := make(chan struct{})
	f := &workertest.Fake{OnStart: func(ctx context.Context, s worker.Spec) error {
		close(starting)
		<-ctx.Done()
		return ctx.Err()
	}}
	p := newPool(t, fast(f))
	begun := start(func() (*worker.Result, error) { return nil, p.Start(t.Context()) })
	<-starting
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-begun.done
	wantErr(t, begun.err, worker.ErrClosed)
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		p := startPool(t, fast(b.fake()))
		l := acquire(t, p, worker.Want{})
		queued := queue(t, t.Context(), p, worker.Want{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.Drain(ctx)
		wantErr(t, err, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), "1 calls run and 1 wait") {
			t.Errorf("error does not say what is left: %v", err)
		}
		_, err = p.Acquire(t.Context(), worker.Want{})
		wantErr(t, err, worker.ErrDraining)
		_, err = p.Execute(t.Context(), &worker.Call{Tool: "block"})
		wantErr(t, err, worker.ErrDraining)
		drain := start(func() (*worker.Result, error) { return nil, p.Drain(t.Context()) })
		l.Release()
		second, err := queued.result()
		if err != nil {
			t.Fatalf("a queued caller was not served: %v", err)
		}
		synctest.Wait()
		select {
		case <-drain.done:
			t.Fatal("drained although a lease is held")
		default:
		}
		second.Release()
		<-drain.done
		if drain.err != nil {
			t.Error(drain.err)
		}
		if err := p.Drain(t.Context()); err != nil {
			t.Errorf("second drain: %v", err)
		}
	})
}

// TestDrainLetsExecuteRetry: a call that was let in is run again on another
// worker, also while the pool drains.
func TestDrainLetsExecuteRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		p := startPool(t, fast(b.fake()))
		call := start(func() (*worker.Result, error) {
			return p.Execute(t.Context(), &worker.Call{Tool: "block", Idempotent: true})
		})
		inv := <-b.began
		drain := start(func() (*worker.Result, error) { return nil, p.Drain(t.Context()) })
		synctest.Wait()
		inv.Worker().Crash()
		<-b.began
		select {
		case <-drain.done:
			t.Fatal("drained between two attempts")
		default:
		}
		b.end <- nil
		<-call.done
		if call.err != nil {
			t.Error(call.err)
		}
		<-drain.done
	})
}
