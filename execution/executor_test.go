package execution_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is an executor over a memory store and a pool of workers in process.
type house struct {
	*execution.Executor
	sessions *session.Store
	pool     *worker.Pool
	fake     *workertest.Fake

	mu sync.Mutex
	// sent lists, for each call of note, whether the state came with it.
	sent []bool
	// order lists the texts that note has been given, as it got them.
	order []string
	// forgotten lists what workers were told to forget.
	forgotten []string
}

func open(t testing.TB, workers int, change func(*execution.Options)) *house {
	t.Helper()
	return openPool(t, func(h *house) worker.PoolOptions {
		return worker.PoolOptions{Size: workers, Transport: h.fake}
	}, change)
}

func openPool(t testing.TB, pool func(*house) worker.PoolOptions, change func(*execution.Options)) *house {
	t.Helper()
	h := &house{}
	h.fake = &workertest.Fake{
		Tools: []workertest.Tool{
			{Tool: worker.Tool{Name: "note", Session: true}, Run: h.note},
			{Tool: worker.Tool{Name: "read", Session: true, ReadOnly: true}, Run: h.wait},
			{Tool: worker.Tool{Name: "wait", Session: true}, Run: h.wait},
			{Tool: worker.Tool{Name: "crash", Session: true}, Run: h.crash},
			{Tool: worker.Tool{Name: "slownote", Session: true}, Run: h.slowNote},
			{Tool: worker.Tool{Name: "streamnote", Session: true, Streams: true}, Run: h.streamNote},
			{Tool: worker.Tool{Name: "keep", Session: true, ReadOnly: true}, Run: h.keep},
			{Tool: worker.Tool{Name: "lie", Session: true, ReadOnly: true}, Run: h.note},
			{Tool: worker.Tool{Name: "nest", Session: true}, Run: h.nest},
			{Tool: worker.Tool{Name: "readnest", Session: true, ReadOnly: true}, Run: h.nest},
		},
		OnForget: func(_ worker.Spec, sessions []string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.forgotten = append(h.forgotten, sessions...)
		},
	}
	h.fake.Tools = append(h.fake.Tools, h.localTools()...)
	var err error
	if h.sessions, err = session.New(memstore.New(), &session.Options{MaxSessions: -1, SweepInterval: -1}); err != nil {
		t.Fatal(err)
	}
	options := pool(h)
	options.PingInterval = -1
	if h.pool, err = worker.NewPool(options); err != nil {
		t.Fatal(err)
	}
	opts := execution.Options{
		Sessions:  h.sessions,
		Directory: execution.NewLocal(h.sessions, "here"),
		Pools:     []*worker.Pool{h.pool},
	}
	if change != nil {
		change(&opts)
	}
	h.Executor = execution.New(opts)
	if err := h.pool.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) close(t testing.TB) {
	t.Helper()
	if err := errors.Join(h.pool.Stop(context.Background()), h.sessions.Close()); err != nil {
		t.Error(err)
	}
}

// note appends a text to the session's variable "notes" and returns the worker.
func (h *house) note(inv *workertest.Invocation) (any, error) {
	var args struct{ Text string }
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.sent = append(h.sent, inv.Call().Session.Vars != nil)
	h.order = append(h.order, args.Text)
	h.mu.Unlock()
	var notes []string
	if raw, ok := inv.Vars()["notes"]; ok {
		if err := json.Unmarshal(raw, &notes); err != nil {
			return nil, err
		}
	}
	encoded, err := json.Marshal(append(notes, args.Text))
	inv.Vars()["notes"] = encoded
	return inv.Worker().Spec().ID, err
}

// wait sleeps for the given time.
func (h *house) wait(inv *workertest.Invocation) (any, error) {
	var args struct{ Text string }
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(args.Text)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(d):
		return inv.Worker().Spec().ID, nil
	case <-inv.Context().Done():
		return nil, context.Cause(inv.Context())
	}
}

func (h *house) crash(inv *workertest.Invocation) (any, error) {
	inv.Worker().Crash()
	<-inv.Gone()
	return nil, errors.New("crashed")
}

// slowNote is note, which takes a second from reading to writing.
func (h *house) slowNote(inv *workertest.Invocation) (any, error) {
	select {
	case <-time.After(time.Second):
		return h.note(inv)
	case <-inv.Context().Done():
		return nil, context.Cause(inv.Context())
	}
}

// streamNote is note, which yields a chunk first.
func (h *house) streamNote(inv *workertest.Invocation) (any, error) {
	if err := inv.Yield("chunk"); err != nil {
		return nil, err
	}
	return h.note(inv)
}

// keep keeps an object in the worker and waits.
func (h *house) keep(inv *workertest.Invocation) (any, error) {
	inv.Local()["kept"] = true
	return h.wait(inv)
}

// nest calls the host's tool "inner" a number of times, all at once.
func (h *house) nest(inv *workertest.Invocation) (any, error) {
	var args struct{ Text string }
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(args.Text)
	if err != nil {
		return nil, err
	}
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = inv.Notify("inner", nil) })
	}
	all.Wait()
	return nil, errors.Join(errs...)
}

func (h *house) request(sessionID, tool, text string) execution.Request {
	args, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		panic(err)
	}
	return execution.Request{Pool: h.pool, Session: sessionID, Call: worker.Call{Tool: tool, Args: args}}
}

func (h *house) do(t testing.TB, sessionID, tool, text string) *execution.Result {
	t.Helper()
	res, err := h.Execute(t.Context(), h.request(sessionID, tool, text))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (h *house) notes(t testing.TB, sessionID string) (notes []string) {
	t.Helper()
	sess, err := h.sessions.Peek(t.Context(), sessionID)
	if errors.Is(err, session.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if raw, ok := sess.Var("notes"); ok {
		if err := json.Unmarshal(raw, &notes); err != nil {
			t.Fatal(err)
		}
	}
	return notes
}

func TestTurnsComeInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 3, nil)
		defer h.close(t)
		var all sync.WaitGroup
		h.do(t, "s", "note", "first")
		for i := range 20 {
			all.Go(func() {
				if i%5 == 0 {
					h.do(t, "s", "wait", "1s")
					return
				}
				h.do(t, "s", "note", strconv.Itoa(i))
			})
			synctest.Wait() // the call runs or waits for its turn
		}
		all.Wait()
		want := []string{"first"}
		for i := range 20 {
			if i%5 != 0 {
				want = append(want, strconv.Itoa(i))
			}
		}
		if !slices.Equal(h.order, want) || !slices.Equal(h.notes(t, "s"), want) {
			t.Errorf("calls ran in the order %v and left %v", h.order, h.notes(t, "s"))
		}
	})
}

func TestReadersOverlapAndWritersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 3, nil)
		defer h.close(t)
		h.do(t, "s", "note", "x")
		// Two readers, a writer that came after them, and a reader after the
		// writer: 1 s for the pair, then 1 s each.
		var all sync.WaitGroup
		began := time.Now()
		ended := make([]time.Duration, 4)
		for i, tool := range []string{"read", "read", "wait", "read"} {
			all.Go(func() {
				h.do(t, "s", tool, "1s")
				ended[i] = time.Since(began)
			})
			synctest.Wait()
		}
		all.Wait()
		if want := []time.Duration{time.Second, time.Second, 2 * time.Second, 3 * time.Second}; !slices.Equal(ended, want) {
			t.Errorf("ended after %v, want %v", ended, want)
		}
	})
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 2, nil)
		defer h.close(t)
		var all sync.WaitGroup
		all.Go(func() { h.do(t, "s", "wait", "10s") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := h.Execute(ctx, h.request("s", "note", "late")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("left after %v", waited)
		}
		h.do(t, "other", "note", "x") // another session does not wait
		h.do(t, "s", "note", "next")
		all.Wait()
		if got := h.notes(t, "s"); !slices.Equal(got, []string{"next"}) {
			t.Errorf("notes are %v", got)
		}
	})
}

func TestStateIsSentOnlyToAWorkerThatLacksIt(t *testing.T) {
	h := open(t, 2, nil)
	defer h.close(t)
	for range 3 {
		h.do(t, "s", "note", "x")
	}
	// Labels and metadata travel with the state, though they have no version.
	if _, err := h.sessions.Patch(t.Context(), "s", session.Patch{SetMetadata: map[string]string{"k": "v"}}); err != nil {
		t.Fatal(err)
	}
	h.do(t, "s", "note", "x")
	if _, err := h.sessions.Patch(t.Context(), "s", session.Patch{Set: map[string]json.RawMessage{"other": json.RawMessage("1")}}); err != nil {
		t.Fatal(err)
	}
	h.do(t, "s", "note", "x")
	if want := []bool{true, false, false, true, true}; !slices.Equal(h.sent, want) {
		t.Errorf("state was sent %v, want %v", h.sent, want)
	}
}

func TestFenceRefusesALateOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := open(t, 1, nil)
		defer old.close(t)
		old.do(t, "s", "note", "by the old owner")

		// The old owner is slow; a new process takes the session over.
		heir := execution.New(execution.Options{
			Sessions: old.sessions, Directory: execution.NewLocal(old.sessions, "heir"), Pools: []*worker.Pool{old.pool},
		})
		req := old.request("s", "note", "too late")
		req.Call.OnChunk = nil
		slow := old.request("s", "wait", "1s")
		slow.CallID = "a commit without changes is fenced too"
		done := make(chan error, 1)
		go func() {
			_, err := old.Execute(t.Context(), slow)
			done <- err
		}()
		synctest.Wait()
		takeover, err := execution.NewLocal(old.sessions, "heir").Claim(t.Context(), mustPeek(t, old.sessions, "s"))
		if err != nil {
			t.Fatal(err)
		}
		if owner, _ := takeover.Owner(); owner.Epoch != 2 {
			t.Errorf("owner after the takeover is %+v", owner)
		}
		if err := <-done; !errors.Is(err, execution.ErrStateNotCommitted) || !errors.Is(err, session.ErrFenced) {
			t.Errorf("late commit: %v", err)
		}
		if _, err := heir.Execute(t.Context(), old.request("s", "note", "by the heir")); err != nil {
			t.Error(err)
		}
		if got := old.notes(t, "s"); !slices.Equal(got, []string{"by the old owner", "by the heir"}) {
			t.Errorf("notes are %v", got)
		}
	})
}

func mustPeek(t *testing.T, st *session.Store, id string) *session.Session {
	t.Helper()
	s, err := st.Peek(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOwnershipIsClaimedOnce(t *testing.T) {
	h := open(t, 1, nil)
	defer h.close(t)
	if _, _, err := h.sessions.Create(t.Context(), "s", nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.do(t, "s", "note", "x")
	}
	if owner, ok := mustPeek(t, h.sessions, "s").Owner(); !ok || owner.Node != "here" || owner.Epoch != 1 {
		t.Errorf("owner is %+v, %t", owner, ok)
	}
}

func TestForgottenSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 1, func(o *execution.Options) { o.MaxBindings = 2 })
		defer h.close(t)
		for _, id := range []string{"a", "b", "c"} { // one more than is remembered
			h.do(t, id, "note", "x")
		}
		h.Forget("b", "an earlier session of that id")
		h.Forget("c", mustPeek(t, h.sessions, "c").Incarnation())
		h.Forget("never seen", "at all")
		synctest.Wait()
		if want := []string{"a", "c"}; !slices.Equal(h.forgotten, want) {
			t.Errorf("forgot %v, want %v", h.forgotten, want)
		}
		ref := worker.Ref{ID: "default-1", Generation: 1}
		if n := h.Bound("default", ref); n != 1 {
			t.Errorf("%d sessions are bound, want 1", n)
		}
		h.fake.Worker("default-1").Crash()
		synctest.Wait()
		if n := h.Bound("default", ref); n != 0 {
			t.Errorf("%d sessions are bound to a dead worker", n)
		}
	})
}

func TestAffinity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 2, nil)
		defer h.close(t)
		home := h.do(t, "s", "note", "x").Worker
		busy := func() (done func()) {
			var all sync.WaitGroup
			all.Go(func() { // the session's worker is taken by another session bound to it
				for _, id := range []string{"a", "b", "c", "d"} {
					if h.do(t, id, "note", "x").Worker == home {
						h.do(t, id, "wait", "1s")
						return
					}
				}
				t.Error("no session landed on the worker")
			})
			synctest.Wait()
			return all.Wait
		}
		with := func(a execution.Affinity) (*execution.Result, error) {
			req := h.request("s", "note", "x")
			req.Affinity = a
			return h.Execute(t.Context(), req)
		}

		done := busy()
		if _, err := with(execution.StrictFailFast); !errors.Is(err, worker.ErrWorkerBusy) {
			t.Errorf("fail fast on a busy worker: %v", err)
		}
		began := time.Now()
		if res, err := with(execution.StrictQueue); err != nil || res.Worker != home || time.Since(began) != time.Second {
			t.Errorf("strict queue: %+v, %v after %v", res, err, time.Since(began))
		}
		done()

		h.fake.Worker(home).Crash()
		synctest.Wait()
		if _, err := with(execution.StrictQueue); err != nil {
			t.Errorf("a binding that ended with its worker must not bind: %v", err)
		}

		home = must(with(execution.Hint)).Worker
		done = busy()
		moved := must(with(execution.Hint)).Worker
		if moved == home {
			t.Errorf("hint waited for the busy worker %s", home)
		}
		done()
		if res := must(with(execution.Hint)); res.Worker != moved {
			t.Errorf("the session moved to %s, but its next call ran on %s", moved, res.Worker)
		}
	})
}

func must(res *execution.Result, err error) *execution.Result {
	if err != nil {
		panic(err)
	}
	return res
}

func TestSlowWriterElsewhereDoesNotHideItsWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 1, nil)
		defer h.close(t)
		h.do(t, "s", "note", "a")
		// A patch lands while a call runs: both must be there, and the next
		// call must see both.
		req := h.request("s", "wait", "1s")
		req.CallID = "id"
		done := make(chan error, 1)
		go func() {
			_, err := h.Execute(t.Context(), req)
			done <- err
		}()
		synctest.Wait()
		if _, err := h.sessions.Patch(t.Context(), "s", session.Patch{
			Set: map[string]json.RawMessage{"notes": json.RawMessage(`["patched"]`)},
		}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		h.do(t, "s", "note", "b")
		if got := h.notes(t, "s"); !slices.Equal(got, []string{"patched", "b"}) {
			t.Errorf("notes are %v", got)
		}
	})
}

// TestRandomHistories runs random calls on few sessions and workers, with
// crashes, cancels and writes from outside, and compares what is stored with
// what callers were told.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type step struct {
			session string
			kind    string
		}
		kinds := []string{"note", "note", "note", "crash", "cancel", "patch", "read"}
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				session: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "session"),
				kind:    rapid.SampledFrom(kinds).Draw(rt, "kind"),
			}
		}), 1, 40).Draw(rt, "steps")
		together := rapid.IntRange(1, 6).Draw(rt, "together")

		synctest.Test(t, func(t *testing.T) {
			h := open(t, 2, nil)
			defer h.close(t)
			var mu sync.Mutex
			told := make(map[string][]string) // acknowledged notes by session
			maybe := make(map[string]bool)
			slots := make(chan struct{}, together)
			var all sync.WaitGroup
			for i, s := range steps {
				slots <- struct{}{}
				all.Go(func() {
					defer func() { <-slots }()
					text := fmt.Sprint(s.kind, i)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					switch s.kind {
					case "note":
						_, err := h.Execute(ctx, h.request(s.session, "note", text))
						mu.Lock()
						defer mu.Unlock()
						if err == nil {
							told[s.session] = append(told[s.session], text)
						} else {
							maybe[text] = !errors.Is(err, worker.ErrWorkerCrashed)
						}
					case "crash":
						if _, err := h.Execute(ctx, h.request(s.session, "crash", "")); err == nil {
							t.Error("a crash went well")
						}
					case "cancel":
						time.AfterFunc(time.Millisecond, cancel)
						if _, err := h.Execute(ctx, h.request(s.session, "wait", "1h")); err == nil {
							t.Error("a cancelled call went well")
						}
					case "read":
						if _, err := h.Execute(ctx, h.request(s.session, "read", "1ms")); err != nil && !errors.Is(err, worker.ErrWorkerCrashed) {
							t.Error(err)
						}
					case "patch":
						_, err := h.sessions.Patch(ctx, s.session, session.Patch{Set: map[string]json.RawMessage{"patched": json.RawMessage("1")}})
						if err != nil && !errors.Is(err, session.ErrNotFound) {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			for _, id := range []string{"a", "b", "c"} {
				stored := h.notes(t, id)
				for _, text := range told[id] {
					if n := slices.Index(stored, text); n < 0 {
						t.Errorf("session %s lost %s: %v", id, text, stored)
					}
				}
				for i, text := range stored {
					if slices.Index(stored, text) != i || !slices.Contains(told[id], text) && !maybe[text] {
						t.Errorf("session %s holds %s twice or unasked: %v", id, text, stored)
					}
				}
			}
		})
	})
}
