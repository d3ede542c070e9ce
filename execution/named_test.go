package execution_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func (h *house) named(id, sess, tool, text string) execution.Request {
	req := h.request(sess, tool, text)
	req.CallID = id
	return req
}

// TestConcurrentDuplicates: the second waits for the first, in a session, of a
// tool that only reads, and without a session.
func TestConcurrentDuplicates(t *testing.T) {
	for _, where := range []struct{ session, tool string }{{"s", "wait"}, {"s", "read"}, {"", "plain"}} {
		synctest.Test(t, func(t *testing.T) {
			runs := 0
			h := openPool(t, func(h *house) worker.PoolOptions {
				h.fake.Tools = append(h.fake.Tools, workertest.Tool{Tool: worker.Tool{Name: "plain"}, Run: h.wait})
				for i := range h.fake.Tools {
					run := h.fake.Tools[i].Run
					h.fake.Tools[i].Run = func(inv *workertest.Invocation) (any, error) {
						h.mu.Lock()
						runs++
						h.mu.Unlock()
						return run(inv)
					}
				}
				return worker.PoolOptions{Size: 4, Transport: h.fake}
			}, nil)
			defer h.close(t)
			repeated := 0
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					res, err := h.Execute(t.Context(), h.named("a", where.session, where.tool, "1s"))
					if err != nil {
						t.Error(err)
						return
					}
					h.mu.Lock()
					defer h.mu.Unlock()
					if res.Repeated {
						repeated++
					}
				})
			}
			all.Wait()
			if runs != 1 || repeated != 9 {
				t.Errorf("%s in session %q: %d runs, %d repetitions", where.tool, where.session, runs, repeated)
			}
		})
	}
}

func TestCallStatus(t *testing.T) {
	for _, where := range []struct{ session, tool string }{{"s", "wait"}, {"", "plain"}} {
		synctest.Test(t, func(t *testing.T) {
			h := openPool(t, func(h *house) worker.PoolOptions {
				h.fake.Tools = append(h.fake.Tools, workertest.Tool{Tool: worker.Tool{Name: "plain"}, Run: h.wait})
				return worker.PoolOptions{Size: 4, Transport: h.fake}
			}, nil)
			defer h.close(t)
			if _, err := h.CallStatus(t.Context(), "none", "a"); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("a call of no session: %v", err)
			}
			if _, _, err := h.sessions.Create(t.Context(), "s", nil); err != nil {
				t.Fatal(err)
			}
			is := func(id string, want execution.CallState, ask string) *execution.CallStatus {
				t.Helper()
				look := h.CallStatus
				if ask == "close" {
					look = h.CloseCall
				}
				status, err := look(t.Context(), where.session, id)
				if err != nil || status.State != want {
					t.Fatalf("session %q, call %q: %v, %v; want %v", where.session, id, status, err, want)
				}
				return status
			}
			is("a", execution.CallNotCommitted, "look")
			var all sync.WaitGroup
			all.Go(func() {
				if _, err := h.Execute(t.Context(), h.named("a", where.session, where.tool, "1s")); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			is("a", execution.CallRunning, "look")
			is("a", execution.CallRunning, "close")
			all.Wait()
			if status := is("a", execution.CallCommitted, "look"); status.Answer == nil || status.At.IsZero() {
				t.Errorf("committed: %+v", status)
			}
			is("a", execution.CallCommitted, "close")

			is("b", execution.CallClosed, "close")
			is("b", execution.CallClosed, "look")
			if _, err := h.Execute(t.Context(), h.named("b", where.session, where.tool, "1s")); !errors.Is(err, execution.ErrCallClosed) {
				t.Errorf("a call that came after its id was closed: %v", err)
			}
		})
	}
}

// TestCloseFencesARunningCall: one that runs in another process, which this one
// cannot see, does not commit.
func TestCloseFencesARunningCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 1, nil)
		defer h.close(t)
		h.do(t, "s", "note", "before")
		other := execution.New(execution.Options{Sessions: h.sessions, Directory: execution.NewLocal(h.sessions, "there")})
		failed := make(chan error, 1)
		go func() {
			_, err := h.Execute(t.Context(), h.named("a", "s", "slownote", "late"))
			failed <- err
		}()
		synctest.Wait()
		if status, err := other.CloseCall(t.Context(), "s", "a"); err != nil || status.State != execution.CallClosed {
			t.Fatalf("%+v, %v", status, err)
		}
		err := <-failed
		if !errors.Is(err, execution.ErrStateNotCommitted) || !errors.Is(err, execution.ErrCallClosed) {
			t.Errorf("the call: %v", err)
		}
		if got := h.notes(t, "s"); !slices.Equal(got, []string{"before"}) {
			t.Errorf("notes are %q", got)
		}
	})
}

// TestACommitElsewhereIsFound: the same call is committed by another process
// while it runs here; its answer is that of the one that was committed.
func TestACommitElsewhereIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 2, nil)
		defer h.close(t)
		self := execution.NewLocal(h.sessions, "here")
		two := execution.New(execution.Options{Sessions: h.sessions, Directory: self, Pools: []*worker.Pool{h.pool}})
		one := execution.New(execution.Options{Sessions: h.sessions, Directory: self, Pools: []*worker.Pool{h.pool}})
		var all sync.WaitGroup
		repeated := make(chan bool, 2)
		for _, x := range []*execution.Executor{one, two} {
			all.Go(func() {
				res, err := x.Execute(t.Context(), h.named("a", "s", "slownote", "once"))
				if err != nil {
					t.Error(err)
					return
				}
				repeated <- res.Repeated
			})
		}
		all.Wait()
		if a, b := <-repeated, <-repeated; a == b {
			t.Errorf("repeated: %t and %t", a, b)
		}
		if got := h.notes(t, "s"); !slices.Equal(got, []string{"once"}) {
			t.Errorf("notes are %q", got)
		}
	})
}

func TestOtherCallsUnderAnIDAreRefused(t *testing.T) {
	h := open(t, 1, nil)
	defer h.close(t)
	req := h.named("a", "s", "note", "x")
	req.Call.Args = json.RawMessage(`{"text": "x", "n": 1.50, "more": [1, {"b": 2, "a": 1}]}`)
	if _, err := h.Execute(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	again := req
	again.Call.Args = json.RawMessage(`{"more":[1,{"a":1,"b":2}],"n":1.50,"text":"x"}`)
	if res, err := h.Execute(t.Context(), again); err != nil || !res.Repeated {
		t.Errorf("the same arguments in another order: %v, %v", res, err)
	}
	for name, change := range map[string]func(*execution.Request){
		"tool":        func(r *execution.Request) { r.Call.Tool = "slownote" },
		"arguments":   func(r *execution.Request) { r.Call.Args = json.RawMessage(`{"text": "y"}`) },
		"attachments": func(r *execution.Request) { r.Call.Attachments = [][]byte{{1}} },
		"large numbers": func(r *execution.Request) {
			r.Call.Args = json.RawMessage(strings.Replace(string(again.Call.Args), "1.50", "1.5000000000000000000001", 1))
		},
	} {
		other := req
		change(&other)
		if _, err := h.Execute(t.Context(), other); !errors.Is(err, execution.ErrCallIDReused) || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("other %s: %v", name, err)
		}
	}
	if got := h.notes(t, "s"); !slices.Equal(got, []string{"x"}) {
		t.Errorf("notes are %q", got)
	}
}

// TestStreamsAreRepeated: with their chunks, as long as those are small enough.
func TestStreamsAreRepeated(t *testing.T) {
	for _, sess := range []string{"s", ""} {
		size := 10
		h := openPool(t, func(h *house) worker.PoolOptions {
			h.fake.Tools = append(h.fake.Tools, workertest.Tool{
				Tool: worker.Tool{Name: "count", Session: sess != "", Streams: true},
				Run: func(inv *workertest.Invocation) (any, error) {
					for i := range 3 {
						if err := inv.Yield(fmt.Sprint(i, strings.Repeat("x", size))); err != nil {
							return nil, err
						}
					}
					return nil, nil
				},
			})
			return worker.PoolOptions{Size: 4, Transport: h.fake}
		}, nil)
		stream := func(id string) (chunks []string, repeated bool, err error) {
			req := h.named(id, sess, "count", "")
			req.Call.OnChunk = func(c worker.Chunk) error {
				chunks = append(chunks, string(c.Value))
				return nil
			}
			res, err := h.Execute(t.Context(), req)
			return chunks, err == nil && res.Repeated, err
		}
		first, repeated, err := stream("a")
		if err != nil || repeated || len(first) != 3 {
			t.Fatalf("%q, %t, %v", first, repeated, err)
		}
		again, repeated, err := stream("a")
		if err != nil || !repeated || !slices.Equal(again, first) {
			t.Errorf("the stream again: %q, %t, %v", again, repeated, err)
		}
		size = 30_000
		if _, _, err := stream("b"); err != nil {
			t.Fatal(err)
		}
		_, _, err = stream("b")
		lost, ok := errors.AsType[*execution.AnswerNotKeptError](err)
		if !ok || !errors.Is(err, execution.ErrAnswerNotKept) || lost.Size < 3*30_000 || len(lost.SHA256) != 64 {
			t.Errorf("a stream that is too large to be kept: %v", err)
		}
		h.close(t)
	}
}

// TestFailedCallsLeaveNoID: a repetition runs.
func TestFailedCallsLeaveNoID(t *testing.T) {
	h := open(t, 1, nil)
	defer h.close(t)
	if _, err := h.Execute(t.Context(), h.named("a", "s", "crash", "")); !errors.Is(err, worker.ErrWorkerCrashed) {
		t.Fatal(err)
	}
	if status, err := h.CallStatus(t.Context(), "s", "a"); err != nil || status.State != execution.CallNotCommitted {
		t.Errorf("after a crash: %+v, %v", status, err)
	}
	if res, err := h.Execute(t.Context(), h.named("a", "s", "note", "x")); err != nil || res.Repeated {
		t.Errorf("after a crash: %+v, %v", res, err)
	}
}

// TestACallCannotRepeatItself: a nested call of the same name would wait for
// itself.
func TestACallCannotRepeatItself(t *testing.T) {
	var h *house
	var inner error
	h = open(t, 2, withInner(func(ctx context.Context) error {
		_, inner = h.Execute(ctx, h.named("a", "s", "note", "inner"))
		return nil
	}))
	defer h.close(t)
	if _, err := h.Execute(t.Context(), h.named("a", "s", "nest", "1")); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(inner, session.ErrInvalid) {
		t.Errorf("the nested call: %v", inner)
	}
}

// TestLostIDsAreTold: what had to make room is not said to be not committed.
func TestLostIDsAreTold(t *testing.T) {
	h := open(t, 1, nil)
	defer h.close(t)
	small := must2(session.New(memstore.New(), &session.Options{SweepInterval: -1, MaxCallBytes: 4 << 10}))
	defer small.Close()
	x := execution.New(execution.Options{Sessions: small, Directory: execution.NewLocal(small, "here"), Pools: []*worker.Pool{h.pool}})
	for i := range 40 {
		if _, err := x.Execute(t.Context(), h.named(fmt.Sprint(i), "s", "note", "x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, ask := range []func(context.Context, string, string) (*execution.CallStatus, error){x.CallStatus, x.CloseCall} {
		status, err := ask(t.Context(), "s", "0")
		if err != nil || status.State != execution.CallNotKept || status.KeptSince.IsZero() {
			t.Errorf("a call that had to make room: %+v, %v", status, err)
		}
	}
	if status, err := x.CallStatus(t.Context(), "s", "39"); err != nil || status.State != execution.CallCommitted {
		t.Errorf("the newest call: %+v, %v", status, err)
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
