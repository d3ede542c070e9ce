package execution_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
)

// openLimited opens a house with the limits of its pool's queue.
func openLimited(t testing.TB, workers, limit int, timeout time.Duration, change func(*execution.Options)) *house {
	t.Helper()
	return openPool(t, func(h *house) worker.PoolOptions {
		return worker.PoolOptions{Size: workers, Transport: h.fake, QueueLimit: limit, QueueTimeout: timeout}
	}, change)
}

// calls are calls under way, with the error and the time of each.
type calls struct {
	all  sync.WaitGroup
	mu   sync.Mutex
	errs map[string]error
	took map[string]time.Duration
}

// begin starts a call and returns when it runs, waits, or has ended.
func (c *calls) begin(t testing.TB, h *house, req execution.Request, name string) {
	t.Helper()
	began := time.Now()
	c.all.Go(func() {
		_, err := h.Execute(t.Context(), req)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.errs == nil {
			c.errs, c.took = make(map[string]error), make(map[string]time.Duration)
		}
		c.errs[name], c.took[name] = err, time.Since(began)
	})
	synctest.Wait()
}

// TestTheQueueLimitHoldsForTurns: callers that wait for the turn of one session
// are as many as callers that wait for a worker may be, and both together.
func TestTheQueueLimitHoldsForTurns(t *testing.T) {
	for kind, change := range map[string]func(*execution.Request){
		"calls":   func(*execution.Request) {},
		"streams": func(r *execution.Request) { r.Call.OnChunk = func(worker.Chunk) error { return nil } },
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openLimited(t, 1, 5, -1, nil)
				defer h.close(t)
				var c calls
				request := func(session, tool, text string) execution.Request {
					req := h.request(session, tool, text)
					change(&req)
					return req
				}
				c.begin(t, h, request("s", "wait", "1s"), "first")
				c.begin(t, h, request("other", "note", "x"), "for the worker")
				for i := range 20 {
					c.begin(t, h, request("s", "note", fmt.Sprint(i)), fmt.Sprint(i))
				}
				if s := h.pool.Stats(); s.Queued != 5 || s.AwaitingTurn != 4 || s.Saturated != 16 {
					t.Errorf("stats: %+v", s)
				}
				c.all.Wait()
				for i := range 20 {
					err := c.errs[fmt.Sprint(i)]
					if i < 4 {
						if err != nil {
							t.Errorf("call %d waited in vain: %v", i, err)
						}
						continue
					}
					if !errors.Is(err, worker.ErrSaturated) || c.took[fmt.Sprint(i)] != 0 {
						t.Fatalf("call %d after %v: %v", i, c.took[fmt.Sprint(i)], err)
					}
					for _, part := range []string{`the turn of session "s"`, "5 callers wait", "4 for turns and 1 for one of 1 workers", "limit is 5"} {
						if !strings.Contains(err.Error(), part) {
							t.Errorf("the error does not say %q: %v", part, err)
						}
					}
				}
				if got := h.notes(t, "s"); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
					t.Errorf("notes are %q", got)
				}
				if s := h.pool.Stats(); s.Queued != 0 || s.AwaitingTurn != 0 {
					t.Errorf("stats at the end: %+v", s)
				}
			})
		})
	}
}

// TestNoQueueForTurns: without a queue, a call whose session is busy is refused.
func TestNoQueueForTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openLimited(t, 2, -1, 0, nil)
		defer h.close(t)
		var c calls
		c.begin(t, h, h.request("s", "wait", "1s"), "first")
		c.begin(t, h, h.request("s", "note", "x"), "second")
		c.begin(t, h, h.request("other", "note", "x"), "other")
		c.all.Wait()
		if c.errs["first"] != nil || c.errs["other"] != nil || !errors.Is(c.errs["second"], worker.ErrSaturated) {
			t.Errorf("errors: %v", c.errs)
		}
	})
}

// TestTheQueueTimeoutIsOneForTurnAndWorker: a call that waited for its turn has
// that much less time to wait for a worker.
func TestTheQueueTimeoutIsOneForTurnAndWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openLimited(t, 2, 0, 10*time.Second, nil)
		defer h.close(t)
		var c calls
		c.begin(t, h, h.request("s", "wait", "6s"), "first")
		c.begin(t, h, h.request("a", "wait", "30s"), "a")
		c.begin(t, h, h.request("s", "note", "x"), "both")
		c.begin(t, h, h.request("b", "wait", "5s"), "b") // has the worker before "both" wants it
		c.all.Wait()
		err := c.errs["both"]
		if !errors.Is(err, worker.ErrQueueTimeout) || c.took["both"] != 10*time.Second {
			t.Fatalf("after %v: %v", c.took["both"], err)
		}
		if !strings.Contains(err.Error(), "after 10s") || !strings.Contains(err.Error(), "waiting for a worker") {
			t.Errorf("the error does not say what was waited for, and how long: %v", err)
		}
		if s := h.pool.Stats(); s.QueueTimeouts != 1 || s.Queued != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestTheQueueTimeoutHoldsForTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openLimited(t, 2, 0, 10*time.Second, nil)
		defer h.close(t)
		var c calls
		c.begin(t, h, h.request("s", "wait", "11s"), "first")
		c.begin(t, h, h.request("s", "note", "x"), "late")
		c.begin(t, h, h.request("s", "read", "0s"), "late reader")
		c.all.Wait()
		for _, name := range []string{"late", "late reader"} {
			err := c.errs[name]
			if !errors.Is(err, worker.ErrQueueTimeout) || c.took[name] != 10*time.Second {
				t.Fatalf("%s after %v: %v", name, c.took[name], err)
			}
			if !strings.Contains(err.Error(), "after 10s") || !strings.Contains(err.Error(), `the turn of session "s"`) {
				t.Errorf("the error does not say what was waited for, and how long: %v", err)
			}
		}
		if s := h.pool.Stats(); s.QueueTimeouts != 2 || s.Queued != 0 || s.AwaitingTurn != 0 {
			t.Errorf("stats: %+v", s)
		}
		h.do(t, "s", "note", "next")
		if got := h.notes(t, "s"); !slices.Equal(got, []string{"next"}) {
			t.Errorf("notes are %q: a call that timed out was run", got)
		}
	})
}

// TestARerunWaitsAnew: a call whose worker died has had its worker; the wait
// for another one is a new one.
func TestARerunWaitsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openLimited(t, 1, 0, 10*time.Second, nil)
		defer h.close(t)
		var c calls
		c.begin(t, h, h.request("s", "wait", "9990ms"), "first")
		req := h.request("s", "wait", "5s")
		req.Call.Idempotent = true
		c.begin(t, h, req, "rerun")
		time.Sleep(12 * time.Second)
		h.fake.Worker("default-1").Crash()
		c.all.Wait()
		if c.errs["rerun"] != nil {
			t.Error(c.errs["rerun"])
		}
	})
}

// slowCommits is a store whose writes of existing content wait to be let go.
type slowCommits struct {
	driver.Store
	letGo chan struct{}
}

func (s slowCommits) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	if b.Body != nil && b.If == driver.IfRevision {
		<-s.letGo
	}
	return s.Store.Apply(ctx, id, b)
}

// TestACommitTakesTimeOfThoseWhoWait: the turn ends with the commit, not with
// the tool.
func TestACommitTakesTimeOfThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letGo := make(chan struct{})
		slow, err := session.New(slowCommits{memstore.New(), letGo}, &session.Options{SweepInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		h := openLimited(t, 2, 0, 3*time.Second, func(o *execution.Options) {
			o.Sessions, o.Directory = slow, execution.NewLocal(slow, "here")
		})
		defer h.close(t)
		defer func() { _ = slow.Close() }()
		var c calls
		c.begin(t, h, h.request("s", "note", "commits"), "first")
		if len(h.order) != 1 || c.errs["first"] != nil {
			t.Fatalf("%v: the first call is not in its commit", c.errs)
		}
		time.AfterFunc(4*time.Second, func() { close(letGo) })
		c.begin(t, h, h.request("s", "note", "x"), "waits")
		c.all.Wait()
		if c.errs["first"] != nil || !errors.Is(c.errs["waits"], worker.ErrQueueTimeout) || c.took["waits"] != 3*time.Second {
			t.Errorf("%v after %v", c.errs, c.took)
		}
	})
}

// TestNestedCallsHaveTheLimitsOfTheirOwn: a call that runs is not in the queue,
// so that what it calls is not refused because of it; and what it calls waits
// no longer than any other call.
func TestNestedCallsHaveTheLimitsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *house
		var inner []error
		h = openLimited(t, 2, -1, 0, withInner(func(ctx context.Context) error {
			_, err := h.Execute(ctx, h.request("s", "slownote", "inner"))
			h.mu.Lock()
			defer h.mu.Unlock()
			inner = append(inner, err)
			return nil
		}))
		defer h.close(t)
		h.do(t, "s", "nest", "3")
		// One at a time, no queue: one of the three runs, the others are told.
		refused := 0
		for _, err := range inner {
			switch {
			case errors.Is(err, worker.ErrSaturated):
				refused++
			case err != nil:
				t.Error(err)
			}
		}
		if refused != 2 || len(inner) != 3 {
			t.Errorf("inner calls ended with %v", inner)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var h *house
		h = openLimited(t, 1, 0, 10*time.Second, withInner(func(ctx context.Context) error {
			_, err := h.Execute(ctx, h.request("s", "note", "inner"))
			return err
		}))
		defer h.close(t)
		began := time.Now()
		_, err := h.Execute(t.Context(), h.request("s", "nest", "1"))
		if err == nil || !strings.Contains(err.Error(), worker.ErrQueueTimeout.Error()) || time.Since(began) != 10*time.Second {
			t.Errorf("a nested call without a second worker, after %v: %v", time.Since(began), err)
		}
	})
}
