package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// silent answers no pings.
func silent(ctx context.Context, _ worker.Spec) error {
	<-ctx.Done()
	return ctx.Err()
}

func pinging(f worker.Transport) worker.PoolOptions {
	opts := fast(f)
	opts.PingInterval, opts.PingTimeout = 10*time.Second, 4*time.Second
	return opts
}

// A tool that holds its interpreter's lock answers no pings, and is in order.
func TestPingsDoNotJudgeABusyWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocker()
		f := b.fake()
		var busy atomic.Bool
		f.OnPing = func(ctx context.Context, spec worker.Spec) error {
			if busy.Load() {
				return silent(ctx, spec)
			}
			return nil
		}
		p := startPool(t, pinging(f))
		for range 3 {
			// The call comes while a ping is under way, two intervals out of three.
			busy.Store(true)
			time.Sleep(11 * time.Second)
			call := start(func() (*worker.Result, error) { return p.Execute(t.Context(), &worker.Call{Tool: "block"}) })
			<-b.began
			time.Sleep(10 * time.Minute)
			b.end <- nil
			if res, err := call.await(); err != nil || string(res.Value) != `"done"` {
				t.Fatalf("a call of ten minutes returned %v, %v", res, err)
			}
			busy.Store(false)
			time.Sleep(time.Minute)
		}
		if s := p.Stats(); s.Restarts != 0 {
			t.Errorf("%d restarts of a healthy worker", s.Restarts)
		}
	})
}

// What is seen of a worker that was stopped by a signal counts for a busy one too.
func TestASuspendedWorkerIsReplaced(t *testing.T) {
	for _, busy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBlocker()
			f := b.fake()
			var suspended atomic.Bool
			f.OnSuspended = func(s worker.Spec) bool { return suspended.Load() && s.Generation == 1 }
			p := startPool(t, pinging(f))
			var call *outcome
			if busy {
				call = start(func() (*worker.Result, error) { return p.Execute(t.Context(), &worker.Call{Tool: "block"}) })
				<-b.began
			}
			suspended.Store(true)
			time.Sleep(25 * time.Second) // two looks
			suspended.Store(false)
			time.Sleep(10 * time.Second)
			if s := p.Stats(); s.Restarts != 0 {
				t.Fatalf("busy %t: a worker that was continued was replaced", busy)
			}
			suspended.Store(true)
			time.Sleep(31 * time.Second)
			synctest.Wait()
			if s := p.Stats(); s.Restarts != 1 || s.Ready != 1 {
				t.Errorf("busy %t: stats %+v, want one restart", busy, s)
			}
			if !busy {
				return
			}
			_, err := call.await()
			crash, ok := errors.AsType[*worker.CrashError](err)
			if !ok || crash.Cause != worker.CauseSuspended || !crash.MaybeExecuted || !strings.Contains(err.Error(), "SIGSTOP") {
				t.Errorf("the caller of a suspended worker got %v", err)
			}
		})
	}
}

// A caller is told why its worker was killed.
func TestCrashErrorsSayWhy(t *testing.T) {
	for name, tc := range map[string]struct {
		end   func(*worker.Pool, *workertest.Fake, context.CancelFunc)
		cause worker.Cause
		words string
	}{
		"by itself": {
			func(_ *worker.Pool, f *workertest.Fake, _ context.CancelFunc) { f.Worker("default-1").Crash() },
			worker.CauseExited, "exit status 1",
		},
		"from outside": {
			func(_ *worker.Pool, f *workertest.Fake, _ context.CancelFunc) { f.Worker("default-1").Kill() },
			worker.CauseExited, "out of memory",
		},
		"the other call overran its grace": {
			func(_ *worker.Pool, _ *workertest.Fake, cancel context.CancelFunc) { cancel() },
			worker.CauseUnansweredCancel, "cancel grace",
		},
		"the pool was stopped": {
			func(p *worker.Pool, _ *workertest.Fake, _ context.CancelFunc) { _ = p.Stop(context.Background()) },
			worker.CauseStopped, "its pool was stopped",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBlocker()
				b.deaf = true
				f := b.fake()
				f.Capacity = 2
				p := startPool(t, fast(f))
				execute := func(ctx context.Context) func() (*worker.Result, error) {
					return func() (*worker.Result, error) { return p.Execute(ctx, &worker.Call{Tool: "block"}) }
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				other := start(execute(ctx))
				call := start(execute(t.Context()))
				<-b.began
				<-b.began
				tc.end(p, f, cancel)
				_, err := call.await()
				crash, ok := errors.AsType[*worker.CrashError](err)
				if !ok || crash.Cause != tc.cause || !strings.Contains(err.Error(), tc.words) {
					t.Errorf("got %v, want a crash of cause %q that says %q", err, tc.cause, tc.words)
				}
				_, _ = other.await()
			})
		})
	}
}
