package worker_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// crashing offers tools that end their worker the first times they are called.
func crashing(times int) (*workertest.Fake, *atomic.Int64) {
	var runs atomic.Int64
	dies := func(decl worker.Tool, chunk bool) workertest.Tool {
		return workertest.Tool{Tool: decl, Run: func(inv *workertest.Invocation) (any, error) {
			n := int(runs.Add(1))
			if chunk {
				if err := inv.Yield(n); err != nil {
					return nil, err
				}
			}
			if n <= times {
				if chunk {
					// The host has the chunk before it learns of the end.
					if err := inv.Notify("chunk_seen", struct{}{}); err != nil {
						return nil, err
					}
				}
				inv.Worker().Crash()
			}
			return n, nil
		}}
	}
	return &workertest.Fake{Tools: []workertest.Tool{
		dies(worker.Tool{Name: "plain"}, false),
		dies(worker.Tool{Name: "idempotent", Idempotent: true}, false),
		dies(worker.Tool{Name: "stream", Idempotent: true, Streams: true}, true),
	}}, &runs
}

func TestRetryAfterACrash(t *testing.T) {
	for name, tc := range map[string]struct {
		crashes int
		call    worker.Call
		runs    int
		ok      bool
	}{
		"no crash":                             {0, worker.Call{Tool: "plain"}, 1, true},
		"may have been executed":               {1, worker.Call{Tool: "plain"}, 1, false},
		"the call is idempotent":               {1, worker.Call{Tool: "plain", Idempotent: true}, 2, true},
		"the tool is idempotent":               {1, worker.Call{Tool: "idempotent"}, 2, true},
		"the third worker answers":             {2, worker.Call{Tool: "idempotent"}, 3, true},
		"no fourth attempt":                    {3, worker.Call{Tool: "idempotent"}, 3, false},
		"a stream whose chunk was delivered":   {1, worker.Call{Tool: "stream", OnChunk: func(worker.Chunk) error { return nil }}, 1, false},
		"a stream that was expected, no chunk": {1, worker.Call{Tool: "idempotent", OnChunk: func(worker.Chunk) error { return nil }}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, runs := crashing(tc.crashes)
				opts := fast(f)
				opts.Size = 2
				p := startPool(t, opts)
				call := tc.call
				if call.OnChunk != nil {
					seen := make(chan struct{}, 10)
					call.Host = hostTools{"chunk_seen": func() error { <-seen; return nil }}
					call.OnChunk = func(worker.Chunk) error { seen <- struct{}{}; return nil }
				}
				_, err := p.Execute(t.Context(), &call)
				if n := int(runs.Load()); n != tc.runs {
					t.Errorf("ran %d times, want %d", n, tc.runs)
				}
				if tc.ok {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var crash *worker.CrashError
				if !errors.As(err, &crash) || !crash.MaybeExecuted || crash.Exit.Reason != "exit status 1" || crash.Worker == "" {
					t.Errorf("error is %#v", err)
				}
			})
		})
	}
}

// TestRetryOfACallThatWasNotExecuted: the worker is dead, and the pool does
// not know it yet.
func TestRetryOfACallThatWasNotExecuted(t *testing.T) {
	f, runs := crashing(0)
	opts := fast(f)
	opts.Size = 2
	opts.Backoff = worker.Backoff{Min: time.Millisecond, Max: time.Millisecond}
	p := startPool(t, opts)
	one := acquire(t, p, worker.Want{})
	f.Worker(one.Worker().ID).Crash()
	_, err := one.Call(t.Context(), &worker.Call{Tool: "plain"})
	var crash *worker.CrashError
	if !errors.As(err, &crash) || crash.MaybeExecuted || runs.Load() != 0 {
		t.Fatalf("error is %v after %d runs", err, runs.Load())
	}
	one.Release()

	// Many rounds, so that Execute meets such a worker too.
	for i := range 200 {
		var dying sync.WaitGroup
		for _, w := range p.Workers() {
			if w.State == worker.StateReady {
				dying.Go(f.Worker(w.ID).Crash)
				break
			}
		}
		if _, err := p.Execute(t.Context(), &worker.Call{Tool: "idempotent"}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		dying.Wait()
	}
}

func TestRetryWithoutAnotherWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := crashing(1)
		opts := fast(f)
		opts.Backoff.Min = time.Minute
		p := startPool(t, opts)
		_, err := p.Execute(t.Context(), &worker.Call{Tool: "idempotent"})
		wantErr(t, err, worker.ErrWorkerCrashed)
		wantErr(t, err, worker.ErrQueueTimeout)
	})
}
