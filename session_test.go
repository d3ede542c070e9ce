package snakepit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
)

type notes struct {
	Count int
	Notes []string
	PID   int
}

func TestStateSurvivesTheWorker(t *testing.T) {
	e := openEngine(t, nil)
	first := decode[notes](t, inSession(t, e, "alice", "remember", snakepit.Args{"text": "milk"}))
	if again := decode[notes](t, inSession(t, e, "alice", "remember", snakepit.Args{"text": "bread"})); again.PID != first.PID || again.Count != 2 {
		t.Errorf("second call: %+v after %+v; want the same worker", again, first)
	}
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The first call may still meet the dying worker; it is safe to repeat
	// because recall is idempotent by nature.
	var after notes
	for {
		res, err := e.ExecuteInSession(t.Context(), "alice", "recall", nil)
		if errors.Is(err, worker.ErrWorkerCrashed) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		after = decode[notes](t, res)
		break
	}
	if !slices.Equal(after.Notes, []string{"milk", "bread"}) || after.PID == first.PID {
		t.Errorf("after the worker was killed: %+v", after)
	}
}

// A call, a stream, and a call that waits for its turn take longer than their
// session lives without being used.
func TestSessionOutlivesItsCalls(t *testing.T) {
	e := openEngine(t, nil)
	if _, _, err := e.Sessions().Create(t.Context(), "short", &session.CreateOptions{TTL: new(500 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			res, err := e.ExecuteInSession(t.Context(), "short", "pause", snakepit.Args{"seconds": 1.5}, snakepit.MustExist())
			if err != nil || string(res.Value) != `"done"` {
				t.Errorf("call: %v", err)
			}
		})
	}
	all.Wait()
	for _, err := range e.StreamInSession(t.Context(), "short", "count_slowly", snakepit.Args{"n": 3, "seconds": 0.5}, snakepit.MustExist()) {
		if err != nil {
			t.Errorf("stream: %v", err)
		}
	}
	sess, err := e.Sessions().Peek(t.Context(), "short")
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := sess.Var("at"); string(v) != "3" || time.Until(sess.Deadline()) > time.Second {
		t.Errorf("at = %s, and %v are left", v, time.Until(sess.Deadline()))
	}
}

// A call does not begin with arguments that a worker could not read, and a tool
// cannot leave behind what no later call could.
func TestNestedTooDeeply(t *testing.T) {
	e := openEngine(t, nil)
	deep := json.RawMessage(`{"value":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`)
	if _, err := e.Execute(t.Context(), "echo", deep); !errors.Is(err, session.ErrInvalid) || !strings.Contains(err.Error(), "deeper than 200 levels") {
		t.Errorf("arguments: %v", err)
	}
	_, err := e.ExecuteInSession(t.Context(), "s", "nest", snakepit.Args{"depth": 201})
	var invalid *session.InvalidError
	if !errors.Is(err, execution.ErrStateNotCommitted) || !errors.As(err, &invalid) || invalid.Field != `variable "nested"` {
		t.Errorf("a variable: %v", err)
	}
	inSession(t, e, "s", "nest", snakepit.Args{"depth": 200})
	inSession(t, e, "s", "look", nil)
}

func TestChangesMadeElsewhereAreSeen(t *testing.T) {
	e := openEngine(t, nil)
	inSession(t, e, "s", "remember", snakepit.Args{"text": "a"})
	if _, err := e.Sessions().Patch(t.Context(), "s", session.Patch{
		Set: map[string]json.RawMessage{"notes": json.RawMessage(`["x","y"]`)},
	}); err != nil {
		t.Fatal(err)
	}
	got := decode[notes](t, inSession(t, e, "s", "remember", snakepit.Args{"text": "z"}))
	if got.Count != 3 {
		t.Errorf("the tool did not see the patch: %+v", got)
	}
	stored, err := e.Sessions().Peek(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := stored.Var("notes"); string(v) != `["x","y","z"]` {
		t.Errorf("stored %s", v)
	}
}

func TestMetadataChangedElsewhereIsSeen(t *testing.T) {
	e := openEngine(t, nil)
	inSession(t, e, "s", "about", nil)
	if _, err := e.Sessions().Patch(t.Context(), "s", session.Patch{
		SetMetadata: map[string]string{"k": "new"}, SetLabels: map[string]string{"l": "new"},
	}); err != nil {
		t.Fatal(err)
	}
	got := decode[struct{ Labels, Metadata map[string]string }](t, inSession(t, e, "s", "about", nil))
	if got.Metadata["k"] != "new" || got.Labels["l"] != "new" {
		t.Errorf("the tool saw %+v", got)
	}
}

func TestRaisingCommitsNothing(t *testing.T) {
	e := openEngine(t, nil)
	inSession(t, e, "s", "remember", snakepit.Args{"text": "kept"})
	if _, err := e.ExecuteInSession(t.Context(), "s", "remember_then_raise", snakepit.Args{"text": "lost"}); err == nil {
		t.Fatal("no error")
	}
	got := decode[notes](t, inSession(t, e, "s", "recall", nil))
	if !slices.Equal(got.Notes, []string{"kept"}) {
		t.Errorf("notes are %q", got.Notes)
	}
}

// countingDriver counts the batches of a store, and can refuse them.
type countingDriver struct {
	driver.Store
	applied atomic.Int64
	refuse  atomic.Pointer[error]
}

func (d *countingDriver) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	d.applied.Add(1)
	if err := d.refuse.Load(); err != nil {
		return 0, *err
	}
	return d.Store.Apply(ctx, id, b)
}

func (d *countingDriver) Unwrap() driver.Store { return d.Store }

func TestNothingIsWrittenWhenNothingChanged(t *testing.T) {
	store := &countingDriver{Store: memstore.New()}
	e := openEngine(t, func(c *snakepit.Config) { c.Store = store })
	inSession(t, e, "s", "remember", snakepit.Args{"text": "a"})
	before := store.applied.Load()
	for range 10 {
		inSession(t, e, "s", "look", nil)
		inSession(t, e, "s", "recall", nil)
	}
	if n := store.applied.Load() - before; n != 0 {
		t.Errorf("calls that changed nothing wrote %d times", n)
	}
}

func TestStateNotCommitted(t *testing.T) {
	store := &countingDriver{Store: memstore.New()}
	e := openEngine(t, func(c *snakepit.Config) { c.Store = store })
	inSession(t, e, "s", "remember", snakepit.Args{"text": "a"})

	refusal := fmt.Errorf("disk full: %w", driver.ErrTooLarge)
	store.refuse.Store(&refusal)
	_, err := e.ExecuteInSession(t.Context(), "s", "remember", snakepit.Args{"text": "b"})
	notCommitted, ok := errors.AsType[*execution.StateNotCommittedError](err)
	if !ok || !notCommitted.Executed || !errors.Is(err, driver.ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	store.refuse.Store(nil)

	// The worker's copy holds "b", which was never stored: it must not be used.
	got := decode[notes](t, inSession(t, e, "s", "recall", nil))
	if !slices.Equal(got.Notes, []string{"a"}) {
		t.Errorf("notes are %q", got.Notes)
	}
}

func TestSessionDeletedDuringACall(t *testing.T) {
	e := openEngine(t, nil)
	inSession(t, e, "s", "remember", snakepit.Args{"text": "a"})
	_, err := e.StreamFunc(t.Context(), "s", "count_to", snakepit.Args{"n": 1}, func(*snakepit.Chunk) error {
		_, err := e.Sessions().Delete(t.Context(), "s")
		return err
	})
	if !errors.Is(err, execution.ErrStateNotCommitted) {
		t.Errorf("got %v", err)
	}
	if _, err := e.Sessions().Peek(t.Context(), "s"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a late commit brought the session back: %v", err)
	}
	if n := decode[int](t, inSession(t, e, "s", "look", nil)); n != 0 {
		t.Errorf("the new session has %d notes of the old one", n)
	}
}

// TestCallID: one call with an id, whatever else is written to its session, and
// the same call again.
func TestCallID(t *testing.T) {
	e := openEngine(t, nil)
	call := func(text string) (*snakepit.Result, error) {
		return e.ExecuteInSession(t.Context(), "s", "remember", snakepit.Args{"text": text}, snakepit.WithCallID("order-1"))
	}
	first, err := call("once")
	if err != nil || first.Repeated {
		t.Fatalf("%+v, %v", first, err)
	}
	for i := range 16 {
		if _, err := e.Sessions().Patch(t.Context(), "s", session.Patch{Set: map[string]json.RawMessage{"other": json.RawMessage(fmt.Sprint(i))}}); err != nil {
			t.Fatal(err)
		}
	}
	again, err := call("once")
	if err != nil {
		t.Fatalf("the same call again: %v", err)
	}
	if !again.Repeated || string(again.Value) != string(first.Value) || again.Worker != first.Worker || again.StateVersion != first.StateVersion+16 {
		t.Errorf("the same call again gave %+v after %+v", again, first)
	}
	if _, err := call("something else"); !errors.Is(err, snakepit.ErrCallIDReused) {
		t.Errorf("other arguments: %v", err)
	}
	if _, err := e.ExecuteInSession(t.Context(), "s", "recall", nil, snakepit.WithCallID("order-1")); !errors.Is(err, snakepit.ErrCallIDReused) {
		t.Errorf("another tool: %v", err)
	}
	// A call that changes nothing is kept as well, in its session and without one.
	for i, repeated := range []bool{false, true} {
		for _, call := range []func() (*snakepit.Result, error){
			func() (*snakepit.Result, error) {
				return e.ExecuteInSession(t.Context(), "s", "look", nil, snakepit.WithCallID("order-2"))
			},
			func() (*snakepit.Result, error) {
				return e.Execute(t.Context(), "echo", snakepit.Args{"value": 1}, snakepit.WithCallID("order-1"))
			},
		} {
			if res, err := call(); err != nil || res.Repeated != repeated {
				t.Errorf("call %d that changes nothing: %+v, %v", i, res, err)
			}
		}
	}
	got := decode[notes](t, inSession(t, e, "s", "recall", nil))
	if !slices.Equal(got.Notes, []string{"once"}) {
		t.Errorf("notes are %q", got.Notes)
	}
}

func TestCallsOfASessionRunOneAtATime(t *testing.T) {
	e := openEngine(t, nil)
	var all sync.WaitGroup
	const calls = 40
	for i := range calls {
		all.Go(func() {
			if _, err := e.ExecuteInSession(t.Context(), "shared", "remember", snakepit.Args{"text": fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got := decode[notes](t, inSession(t, e, "shared", "recall", nil))
	slices.Sort(got.Notes)
	if len(slices.Compact(got.Notes)) != calls {
		t.Errorf("%d of %d calls left their note", len(got.Notes), calls)
	}
}

func TestReadOnlyCallsOverlap(t *testing.T) {
	e := openEngine(t, nil)
	inSession(t, e, "s", "remember", snakepit.Args{"text": "a"})
	gate := filepath.Join(t.TempDir(), "gate")
	pids := make(chan int, 2)
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			pids <- decode[int](t, inSession(t, e, "s", "wait_for_readonly", snakepit.Args{"path": fmt.Sprint(gate, i)}))
		})
	}
	// Both run at once, or this waits for ever.
	for i := range 2 {
		await(t, "both readers run", func() bool {
			_, err := os.Stat(fmt.Sprint(gate, i, ".running"))
			return err == nil
		})
	}
	for i := range 2 {
		if err := os.WriteFile(fmt.Sprint(gate, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	if a, b := <-pids, <-pids; a == b {
		t.Errorf("both ran in worker %d", a)
	}
}

func TestStreamOfAToolThatDoesNotStream(t *testing.T) {
	e := openEngine(t, nil)
	var got []string
	for chunk, err := range e.StreamInSession(t.Context(), "s", "remember", snakepit.Args{"text": "a"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(chunk.Value))
	}
	if len(got) != 1 || !strings.Contains(got[0], `"count":1`) {
		t.Errorf("the stream was %q", got)
	}
}

func TestStreamCommitsAtItsEnd(t *testing.T) {
	e := openEngine(t, nil)
	ctx := t.Context()
	var seen []int
	for chunk, err := range e.StreamInSession(ctx, "s", "count_to", snakepit.Args{"n": 300}) {
		if err != nil {
			t.Fatal(err)
		}
		var v struct{ At int }
		if err := chunk.Decode(&v); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, v.At)
	}
	if len(seen) != 300 || !slices.IsSorted(seen) {
		t.Errorf("got %d chunks: %v", len(seen), seen)
	}
	if sess, err := e.Sessions().Peek(ctx, "s"); err != nil {
		t.Error(err)
	} else if v, _ := sess.Var("at"); string(v) != "300" {
		t.Errorf("committed at = %s", v)
	}

	for _, err := range e.StreamInSession(ctx, "s", "count_to", snakepit.Args{"n": 1_000_000}) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	got := inSession(t, e, "s", "look", nil)
	if sess, err := e.Sessions().Peek(ctx, "s"); err != nil || got.StateVersion != 2 {
		t.Errorf("after leaving a stream: %v, state version %d", err, got.StateVersion)
	} else if v, _ := sess.Var("at"); string(v) != "300" {
		t.Errorf("a stream that was left committed at = %s", v)
	}
}

func TestLocalObjectsKeepTheSessionOnItsWorker(t *testing.T) {
	e := openEngine(t, nil)
	pid := decode[int](t, inSession(t, e, "s", "keep", snakepit.Args{"value": 7}))
	gate := filepath.Join(t.TempDir(), "gate")

	// Occupy that worker with another session's call.
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			inSession(t, e, fmt.Sprint("other", i), "wait_for", snakepit.Args{"path": gate})
		})
	}
	await(t, "both workers are busy", func() bool { return e.Stats().Pools[0].Busy == 2 })
	all.Go(func() {
		got := decode[struct{ Kept, PID int }](t, inSession(t, e, "s", "kept", nil))
		if got.Kept != 7 || got.PID != pid {
			t.Errorf("got %+v from the session whose objects are in %d", got, pid)
		}
	})
	await(t, "the call waits", func() bool { return e.Stats().Pools[0].Queued == 1 })
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all.Wait()

	if _, err := e.Sessions().Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if got := decode[struct{ Kept *int }](t, inSession(t, e, "s", "kept", nil)); got.Kept != nil {
		t.Errorf("a new session of the same id found the old one's object %d", *got.Kept)
	}
}

func TestProgramChangedDuringACall(t *testing.T) {
	var e *snakepit.Engine
	e = openEngine(t, func(c *snakepit.Config) {
		c.HostTools = map[string]snakepit.HostTool{
			"replace": func(ctx context.Context, _ json.RawMessage) (any, error) {
				_, err := e.Sessions().PutProgram(ctx, "s", "m", strings.NewReader("new"), nil)
				return nil, err
			},
			"delete": func(ctx context.Context, _ json.RawMessage) (any, error) {
				_, err := e.Sessions().DeleteProgram(ctx, "s", "m")
				return nil, err
			},
		}
	})
	for name, want := range map[string]string{"replace": "replaced since the call began", "delete": "deleted since the call began"} {
		inSession(t, e, "s", "save", snakepit.Args{"name": "m", "data": []byte("old")})
		_, err := e.ExecuteInSession(t.Context(), "s", "ask_and_load", snakepit.Args{"name": name, "program": "m"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestPrograms(t *testing.T) {
	e := openEngine(t, nil)
	data := bytes.Repeat([]byte("model\x00"), 700_000) // several chunks
	if n := decode[int](t, inSession(t, e, "s", "save", snakepit.Args{"name": "m", "data": data})); n != len(data) {
		t.Errorf("the tool read %d of the %d bytes it wrote", n, len(data))
	}
	if _, err := e.ExecuteInSession(t.Context(), "s", "save_then_raise", snakepit.Args{"name": "m", "data": []byte("worse")}); err == nil {
		t.Fatal("no error")
	}
	if got, _ := inSession(t, e, "s", "load", snakepit.Args{"name": "m"}).Bytes(); !bytes.Equal(got, data) {
		t.Errorf("read %d bytes back", len(got))
	}
	if _, err := e.Sessions().PutProgram(t.Context(), "s", "m", strings.NewReader("from outside"), nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := inSession(t, e, "s", "load", snakepit.Args{"name": "m"}).Bytes(); string(got) != "from outside" {
		t.Errorf("the tool read %q", got)
	}
	inSession(t, e, "s", "drop", snakepit.Args{"name": "m"})
	if list, err := e.Sessions().Programs(t.Context(), "s"); err != nil || len(list) != 0 {
		t.Errorf("programs after deletion: %v, %v", list, err)
	}
	_, err := e.ExecuteInSession(t.Context(), "s", "load", snakepit.Args{"name": "m"})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Type != "KeyError" {
		t.Errorf("loading a missing program: %v", err)
	}
}
