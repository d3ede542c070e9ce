package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// TestCallReturnsWhenItsContextEnds: the caller is free at once, the slot only
// when the worker has answered.
func TestCallReturnsWhenItsContextEnds(t *testing.T) {
	b := newBlocker()
	b.deaf = true
	p := startPool(t, fast(b.fake()))
	l := acquire(t, p, worker.Want{})
	ctx, cancel := context.WithCancelCause(t.Context())
	call := start(func() (*worker.Result, error) { return l.Call(ctx, &worker.Call{Tool: "block"}) })
	<-b.began
	reason := errors.New("changed my mind")
	cancel(reason)
	<-call.done
	if given, ok := errors.AsType[*worker.CallError](call.err); !ok || given.Err != reason || given.Worker != "default-1" {
		t.Fatalf("error is %v, want the plain cause with the worker", call.err)
	}
	_, err := l.Call(t.Context(), &worker.Call{Tool: "block"})
	wantErr(t, err, worker.ErrWorkerBusy)
	l.Release()
	w := queue(t, t.Context(), p, worker.Want{})
	if ws := p.Workers()[0]; ws.InFlight != 1 || ws.State != worker.StateBusy {
		t.Errorf("worker with an unanswered call: %+v", ws)
	}
	b.end <- nil
	next, err := w.result()
	if err != nil {
		t.Fatal(err)
	}
	next.Release()
	if ws := p.Workers()[0]; ws.Generation != 1 || ws.InFlight != 0 {
		t.Errorf("worker after it answered: %+v", ws)
	}
}

// TestLeaseSurvivesACancelledCall: once the worker has answered, the lease
// takes calls again.
func TestLeaseSurvivesACancelledCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		p := startPool(t, fast(b.fake()))
		l := acquire(t, p, worker.Want{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := l.Call(ctx, &worker.Call{Tool: "block"})
		wantErr(t, err, context.DeadlineExceeded)
		synctest.Wait()
		call := start(func() (*worker.Result, error) { return l.Call(t.Context(), &worker.Call{Tool: "block"}) })
		b.end <- nil
		<-call.done
		if call.err != nil || string(call.result.Value) != `"done"` {
			t.Errorf("second call: %+v, %v", call.result, call.err)
		}
	})
}

func TestCancelGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		b.deaf = true
		reasons := make(chan string, 10)
		opts := fast(b.fake())
		opts.CancelGrace = 4 * time.Second
		opts.Observer.Restart = func(_, reason string) { reasons <- reason }
		p := startPool(t, opts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := p.Execute(ctx, &worker.Call{Tool: "block", Idempotent: true})
		wantErr(t, err, context.DeadlineExceeded)
		if took := time.Since(began); took != time.Second {
			t.Errorf("the caller waited %v", took)
		}
		time.Sleep(4*time.Second - time.Nanosecond)
		synctest.Wait()
		if w := p.Workers()[0]; w.Generation != 1 || w.State != worker.StateBusy {
			t.Fatalf("before the grace is over: %+v", w)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if w := p.Workers()[0]; w.State != worker.StateBackoff || w.LastExit != "killed by signal 9 (SIGKILL)" {
			t.Fatalf("after the grace: %+v", w)
		}
		if reason := <-reasons; reason != "unanswered_cancel" {
			t.Errorf("restart is for %s", reason)
		}
		l := acquire(t, p, worker.Want{})
		if l.Worker().Generation != 2 {
			t.Errorf("next worker is %v", l.Worker())
		}
		l.Release()
	})
}

// TestKilledWorkerTakesNoCalls: a worker that was killed is out of the pool
// before it is gone.
func TestKilledWorkerTakesNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		b.deaf = true
		f := b.fake()
		f.Capacity = 2
		f.Undying = true
		p := startPool(t, fast(f))
		ref := worker.Ref{ID: "default-1", Generation: 1}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Execute(ctx, &worker.Call{Tool: "block"})
		wantErr(t, err, context.DeadlineExceeded)
		time.Sleep(time.Minute)
		synctest.Wait()
		if w := p.Workers()[0]; w.State != worker.StateStopping {
			t.Fatalf("worker is %s", w.State)
		}
		_, err = p.Acquire(t.Context(), worker.Want{Worker: ref, Mode: worker.RequireNow})
		wantErr(t, err, worker.ErrWorkerGone)
		_, err = p.Acquire(t.Context(), worker.Want{})
		wantErr(t, err, worker.ErrQueueTimeout)
		f.Undying = false
		f.Worker("default-1").Crash()
		acquire(t, p, worker.Want{}).Release()
	})
}

// TestUnansweredCallOfADeadWorker: a slot that is free because its worker has
// died goes to nobody, also while nobody has noticed the death.
func TestUnansweredCallOfADeadWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		b.deaf = true
		f := b.fake()
		pinging, pong := make(chan struct{}), make(chan struct{})
		var once sync.Once
		f.OnSuspended = func(worker.Spec) bool { // keeps the pool's goroutine busy
			once.Do(func() {
				close(pinging)
				<-pong
			})
			return false
		}
		opts := fast(f)
		opts.PingInterval = time.Second
		opts.CancelGrace = time.Hour
		p := startPool(t, opts)
		l := acquire(t, p, worker.Want{})
		ctx, cancel := context.WithCancel(t.Context())
		call := start(func() (*worker.Result, error) { return l.Call(ctx, &worker.Call{Tool: "block"}) })
		<-b.began
		cancel()
		<-call.done
		l.Release()
		<-pinging
		w := queue(t, t.Context(), p, worker.Want{})
		f.Worker("default-1").Crash()
		synctest.Wait()
		if !w.pending() {
			t.Error("the slot of a dead worker was given away")
		}
		close(pong)
		got, err := w.result()
		if err != nil || got.Worker().Generation != 2 {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestOnChunkErrorCancels(t *testing.T) {
	p := startPool(t, fast(&workertest.Fake{}))
	full := errors.New("consumer is full")
	n := 0
	_, err := p.Execute(t.Context(), &worker.Call{
		Tool: "count", Args: args(t, map[string]int{"n": 1e9}),
		OnChunk: func(c worker.Chunk) error {
			if want := fmt.Sprintf(`{"i":%d}`, n); string(c.Value) != want {
				t.Errorf("chunk is %s, want %s", c.Value, want)
			}
			if n++; n == 100 {
				return full
			}
			return nil
		},
	})
	if !errors.Is(err, full) {
		t.Errorf("error is %v", err)
	}
	l := acquire(t, p, worker.Want{}) // the slot is free again
	if n != 100 || l.Worker().Generation != 1 {
		t.Errorf("%d chunks, worker is %v", n, l.Worker())
	}
	l.Release()
}

// TestOnChunkPanicCostsTheWorkerOnly: the panic is the caller's, and the slot
// is not lost.
func TestOnChunkPanicCostsTheWorkerOnly(t *testing.T) {
	p := startPool(t, fast(&workertest.Fake{}))
	func() {
		defer func() {
			if r := recover(); r != "oops" {
				t.Errorf("recovered %v", r)
			}
		}()
		_, _ = p.Execute(t.Context(), &worker.Call{
			Tool: "count", Args: args(t, map[string]int{"n": 10}),
			OnChunk: func(worker.Chunk) error { panic("oops") },
		})
	}()
	l := acquire(t, p, worker.Want{})
	if l.Worker().Generation != 2 {
		t.Errorf("worker is %v", l.Worker())
	}
	l.Release()
}

func TestForget(t *testing.T) {
	forgotten := make(chan string, 10)
	f := &workertest.Fake{OnForget: func(s worker.Spec, ids []string) { forgotten <- fmt.Sprint(s.ID, ids) }}
	p := startPool(t, fast(f))
	l := acquire(t, p, worker.Want{})
	l.Forget("a", "b")
	if got := <-forgotten; got != "default-1[a b]" {
		t.Error(got)
	}
	l.Release()
	p.Forget(l.Worker(), "c")
	if got := <-forgotten; got != "default-1[c]" {
		t.Error(got)
	}
	p.Forget(worker.Ref{ID: "default-1", Generation: 9}, "d")
	p.Forget(worker.Ref{ID: "nowhere", Generation: 1}, "e")
	if len(forgotten) != 0 {
		t.Errorf("told another worker: %s", <-forgotten)
	}
}

func TestObserver(t *testing.T) {
	events := make(chan string, 100)
	opts := fast(nil)
	opts.Name = "py"
	opts.Backoff.Min = time.Millisecond
	b := newBlocker()
	f := &workertest.Fake{Tools: append(workertest.StandardTools(), b.tool(worker.Tool{Name: "block"}))}
	opts.Transport = f
	opts.Observer = worker.Observer{
		CallDone: func(c worker.CallDone) {
			if c.Queued < 0 || c.Ran < 0 {
				t.Errorf("durations: %v, %v", c.Queued, c.Ran)
			}
			events <- fmt.Sprintf("%s %q %s", c.Pool, c.Tool, c.Result)
		},
		WorkerStarted: func(pool, id string, took time.Duration) { events <- pool + " started " + id },
		WorkerExited:  func(pool, id string, e worker.Exit) { events <- pool + " exited " + id + ": " + e.Reason },
		Restart:       func(pool, reason string) { events <- pool + " restart " + reason },
	}
	p := startPool(t, opts)
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := <-events; got != w {
				t.Fatalf("event %q, want %q", got, w)
			}
		}
	}
	expect("py started py-1")
	ended, cancel := context.WithCancel(t.Context())
	for _, tc := range []struct {
		call *worker.Call
		want string
	}{
		{&worker.Call{Tool: "echo", Args: []byte(`{"value":1}`)}, `py "echo" ok`},
		{&worker.Call{Tool: "fail", Args: []byte(`{"message":"m"}`)}, `py "fail" tool_error`},
		{&worker.Call{Tool: "nonsense"}, `py "" refused`},
		{&worker.Call{Tool: "count", Args: []byte(`{"n":1}`), OnChunk: func(worker.Chunk) error { return errors.New("e") }}, `py "count" error`},
	} {
		_, _ = p.Execute(t.Context(), tc.call)
		expect(tc.want)
	}
	call := start(func() (*worker.Result, error) { return p.Execute(ended, &worker.Call{Tool: "block"}) })
	<-b.began
	cancel()
	<-call.done
	expect(`py "block" canceled`)
	short, expire := context.WithCancelCause(t.Context())
	call = start(func() (*worker.Result, error) { return p.Execute(short, &worker.Call{Tool: "block"}) })
	<-b.began
	expire(context.DeadlineExceeded)
	<-call.done
	wantErr(t, call.err, context.DeadlineExceeded)
	expect(`py "block" deadline`)
	call = start(func() (*worker.Result, error) { return p.Execute(t.Context(), &worker.Call{Tool: "block"}) })
	waitFor(t, func() bool { return len(b.began) > 0 })
	for len(b.began) > 0 {
		<-b.began
	}
	waitFor(t, func() bool { return p.Workers()[0].Calls == 7 && p.Workers()[0].InFlight == 1 })
	f.Worker("py-1").Crash()
	<-call.done
	wantErr(t, call.err, worker.ErrWorkerCrashed)
	got := map[string]bool{}
	for range 4 {
		got[<-events] = true
	}
	for _, want := range []string{`py "block" crashed`, "py exited py-1: exit status 1", "py restart exited", "py started py-1"} {
		if !got[want] {
			t.Errorf("no event %q in %v", want, got)
		}
	}
}
