package snakepit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openEngine opens an engine over the tools in testdata with two workers,
// unless change says otherwise.
func openEngine(t testing.TB, change func(*snakepit.Config)) *snakepit.Engine {
	t.Helper()
	testenv.Python(t)
	cfg := snakepit.Config{
		Pools:  []snakepit.PoolConfig{{Tools: "testdata/tools.py", Workers: 2}},
		RunDir: t.TempDir(),
	}
	if change != nil {
		change(&cfg)
	}
	e, err := snakepit.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func inSession(t testing.TB, e *snakepit.Engine, id, tool string, args any, opts ...snakepit.CallOption) *snakepit.Result {
	t.Helper()
	res, err := e.ExecuteInSession(t.Context(), id, tool, args, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func decode[T any](t testing.TB, res *snakepit.Result) T {
	t.Helper()
	var v T
	if err := res.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// notes is what remember and recall return.
type notes struct {
	Count int
	Notes []string
	PID   int
}

func TestValuesTravelUnchanged(t *testing.T) {
	e := openEngine(t, nil)
	for _, value := range []string{
		`null`, `true`, `"grüße"`, `[1,2.5,"x",[]]`, `{"a":{"b":null}}`,
		`123456789012345678901234567890`, `-9007199254740993`,
		`{"$float":"NaN"}`, `{"$datetime":"2026-01-31T12:30:00+01:00"}`, `{"$object":{"$float":"not a float"}}`,
	} {
		res, err := e.Execute(t.Context(), "echo", json.RawMessage(`{"value":`+value+`}`))
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, res.Value); err != nil || compact.String() != value {
			t.Errorf("echo of %s returned %s (%v)", value, res.Value, err)
		}
	}

	raw := bytes.Repeat([]byte{0, 0xff, '\n'}, 100_000)
	res, err := e.Execute(t.Context(), "echo", snakepit.Args{"value": raw})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := res.Bytes(); !ok || !bytes.Equal(got, raw) {
		t.Errorf("raw bytes came back as %.40s with %d attachments", res.Value, len(res.Attachments))
	}
}

func TestCallErrors(t *testing.T) {
	e := openEngine(t, nil)
	ctx := t.Context()

	_, err := e.Execute(ctx, "nosuch", nil)
	if !errors.Is(err, worker.ErrToolNotFound) || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("unknown tool: %v", err)
	}
	_, err = e.Execute(ctx, "pause", snakepit.Args{"seconds": "long"})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.InvalidArguments || fault.Parameter != "seconds" {
		t.Errorf("wrong argument: %#v", err)
	}
	_, err = e.ExecuteInSession(ctx, "s", "remember_then_raise", snakepit.Args{"text": "x"})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.ToolRaised || fault.Type != "ValueError" ||
		fault.Message != "changed my mind" || !strings.Contains(fault.Traceback, "remember_then_raise") {
		t.Errorf("raising tool: %#v", err)
	}
	_, err = e.Execute(ctx, "echo", []int{1})
	if !errors.Is(err, session.ErrInvalid) {
		t.Errorf("arguments that are no object: %v", err)
	}
	_, err = e.Execute(ctx, "echo", nil, snakepit.InPool("other"))
	if !errors.Is(err, snakepit.ErrPoolNotFound) {
		t.Errorf("unknown pool: %v", err)
	}
	_, err = e.ExecuteInSession(ctx, "missing", "look", nil, snakepit.MustExist())
	if !errors.Is(err, session.ErrNotFound) {
		t.Errorf("session that must exist: %v", err)
	}
	_, err = e.ExecuteInSession(ctx, "", "look", nil)
	if !errors.Is(err, session.ErrInvalid) {
		t.Errorf("empty session id: %v", err)
	}
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

func TestCallID(t *testing.T) {
	e := openEngine(t, nil)
	call := func() error {
		_, err := e.ExecuteInSession(t.Context(), "s", "remember", snakepit.Args{"text": "once"}, snakepit.WithCallID("order-1"))
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	if err := call(); !errors.Is(err, session.ErrAlreadyCommitted) {
		t.Errorf("repetition: %v", err)
	}
	// A call that changes nothing is remembered as well.
	for i, want := range []error{nil, session.ErrAlreadyCommitted} {
		if _, err := e.ExecuteInSession(t.Context(), "s", "look", nil, snakepit.WithCallID("order-2")); !errors.Is(err, want) {
			t.Errorf("call %d that changes nothing: %v, want %v", i, err, want)
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

func TestCancelFreesTheWorker(t *testing.T) {
	e := openEngine(t, func(c *snakepit.Config) { c.Pools[0].Workers = 1 })
	for _, tool := range []string{"pause", "apause"} {
		pid := decode[int](t, must(e.Execute(t.Context(), "pid", nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := e.Execute(ctx, tool, snakepit.Args{"seconds": 3600})
			done <- err
		}()
		await(t, "the call runs", func() bool { return e.Stats().Pools[0].Busy == 1 })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", tool, err)
		}
		if again := decode[int](t, must(e.Execute(t.Context(), "pid", nil))); again != pid {
			t.Errorf("%s: worker %d was replaced by %d instead of being interrupted", tool, pid, again)
		}
	}
}

func TestCrash(t *testing.T) {
	e := openEngine(t, nil)
	flag := func(name string) snakepit.Args { return snakepit.Args{"path": filepath.Join(t.TempDir(), name)} }

	_, err := e.ExecuteInSession(t.Context(), "s", "crash_once", flag("a"))
	crash, ok := errors.AsType[*worker.CrashError](err)
	if !ok || !crash.MaybeExecuted || crash.Exit.Signal == "" {
		t.Fatalf("got %#v", err)
	}
	if sess, err := e.Sessions().Peek(t.Context(), "s"); err != nil {
		t.Error(err)
	} else if _, found := sess.Var("survived"); found {
		t.Error("a crashed call committed")
	}

	// Both ways of being idempotent, in a session and outside.
	inSession(t, e, "s", "crash_once_idempotent", flag("b"))
	inSession(t, e, "s", "crash_once", flag("c"), snakepit.Idempotent())
	if _, err := e.Execute(t.Context(), "crash_once_plain", flag("d")); err != nil {
		t.Error(err)
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

func TestHostTools(t *testing.T) {
	var e *snakepit.Engine
	e = openEngine(t, func(c *snakepit.Config) {
		c.HostTools = map[string]snakepit.HostTool{
			"double": func(_ context.Context, args json.RawMessage) (any, error) {
				var in struct{ X int }
				if err := json.Unmarshal(args, &in); err != nil {
					return nil, err
				}
				return in.X * 2, nil
			},
			"fail": func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("no luck today") },
			// Calls back into the session whose call it serves.
			"nested": func(ctx context.Context, _ json.RawMessage) (any, error) {
				_, err := e.ExecuteInSession(ctx, "s", "remember", snakepit.Args{"text": "nested"})
				return "ok", err
			},
		}
	})
	if got := decode[int](t, must(e.Execute(t.Context(), "ask", snakepit.Args{"name": "double", "x": 21}))); got != 42 {
		t.Errorf("double returned %d", got)
	}
	_, err := e.Execute(t.Context(), "ask", snakepit.Args{"name": "fail"})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || !strings.Contains(fault.Message, "no luck today") {
		t.Errorf("failing host tool: %v", err)
	}
	inSession(t, e, "s", "ask", snakepit.Args{"name": "nested"})
	if got := decode[notes](t, inSession(t, e, "s", "recall", nil)); !slices.Equal(got.Notes, []string{"nested"}) {
		t.Errorf("notes are %q", got.Notes)
	}
}

func TestWhatToolsPrintGoesToTheLog(t *testing.T) {
	var log lockedBuffer
	e := openEngine(t, func(c *snakepit.Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	inSession(t, e, "alice", "speak", snakepit.Args{"text": "hello"}, snakepit.WithCorrelationID("c-42"))
	await(t, "the raw line", func() bool { return strings.Contains(log.String(), "raw hello") })

	records := make(map[string]map[string]any)
	for line := range strings.Lines(log.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		records[fmt.Sprint(r["msg"])] = r
	}
	for msg, level := range map[string]string{"printed hello": "INFO", "logged hello": "WARN"} {
		r := records[msg]
		if r["level"] != level || r["session"] != "alice" || r["correlation_id"] != "c-42" || !strings.HasPrefix(fmt.Sprint(r["worker"]), "default-") {
			t.Errorf("record of %q is %v", msg, r)
		}
	}
	if r := records["raw hello"]; !strings.HasPrefix(fmt.Sprint(r["worker"]), "default-") {
		t.Errorf("record of the raw line is %v", r)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestDrainLetsCallsEnd(t *testing.T) {
	e := openEngine(t, func(c *snakepit.Config) { c.Pools[0].Workers = 1 })
	gate := filepath.Join(t.TempDir(), "gate")
	var all sync.WaitGroup
	for range 3 { // one runs, one waits for a worker, one for its turn
		all.Go(func() {
			inSession(t, e, "s", "wait_for", snakepit.Args{"path": gate})
		})
	}
	await(t, "the first call runs", func() bool { _, err := os.Stat(gate + ".running"); return err == nil })
	drained := make(chan error, 1)
	go func() { drained <- e.Drain(t.Context()) }()
	await(t, "new calls are refused", func() bool {
		_, err := e.Execute(t.Context(), "pid", nil, snakepit.WithTimeout(10*time.Millisecond))
		return errors.Is(err, worker.ErrDraining)
	})
	select {
	case err := <-drained:
		t.Errorf("drained with calls running: %v", err)
	default:
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestOpenErrors(t *testing.T) {
	testenv.Python(t)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.py")
	if err := os.WriteFile(broken, []byte("import snakepit\nimport no_such_module_here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pool snakepit.PoolConfig
		want string
	}{
		"no tools":            {snakepit.PoolConfig{}, "has no Tools"},
		"missing file":        {snakepit.PoolConfig{Tools: filepath.Join(dir, "none.py")}, "no such file"},
		"directory":           {snakepit.PoolConfig{Tools: dir}, "is a directory"},
		"broken module":       {snakepit.PoolConfig{Tools: broken}, "No module named 'no_such_module_here'"},
		"missing module":      {snakepit.PoolConfig{Tools: "no_such_module_here"}, "no_such_module_here"},
		"missing interpreter": {snakepit.PoolConfig{Tools: "testdata/tools.py", Interpreter: filepath.Join(dir, "python")}, filepath.Join(dir, "python")},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := snakepit.Open(t.Context(), snakepit.Config{Pools: []snakepit.PoolConfig{c.pool}, RunDir: t.TempDir()})
			if err == nil {
				e.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want it to say %q", err, c.want)
			}
		})
	}
	if _, err := snakepit.Open(t.Context(), snakepit.Config{}); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("no pools: %v", err)
	}
}

func must(res *snakepit.Result, err error) *snakepit.Result {
	if err != nil {
		panic(err)
	}
	return res
}

func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, what, is)
}
