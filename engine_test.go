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
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/session"
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
	res, err = e.Execute(t.Context(), "echo", snakepit.Args{"value": raw}, snakepit.WithAttachments([]byte("another")))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := res.Bytes(); !ok || !bytes.Equal(got, raw) {
		t.Errorf("raw bytes next to attachments came back as %.40s with %d attachments", res.Value, len(res.Attachments))
	}
	for _, none := range []any{nil, snakepit.Args(nil), json.RawMessage(nil), json.RawMessage("null")} {
		if res, err := e.Execute(t.Context(), "echo", none); err != nil || string(res.Value) != "null" {
			t.Errorf("no arguments, given as %#v: %v (%v)", none, res, err)
		}
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
	for _, args := range []any{[]int{1}, json.RawMessage(`[1]`), json.RawMessage(`{`)} {
		if _, err := e.Execute(ctx, "echo", args); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("arguments %s, which are no object: %v", args, err)
		}
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
			"panic": func(context.Context, json.RawMessage) (any, error) { panic("out of luck") },
			"fail":  func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("no luck today") },
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
	_, err = e.Execute(t.Context(), "ask", snakepit.Args{"name": "panic"})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || !strings.HasSuffix(fault.Message, "panic: out of luck") {
		t.Errorf("panicking host tool: %v", err)
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

// TestACallOfAnEndedCall: a host tool may hold on to its context. What it calls
// with it after its own call and a drain is refused like any other.
func TestACallOfAnEndedCall(t *testing.T) {
	kept := make(chan context.Context, 1)
	e := openEngine(t, func(c *snakepit.Config) {
		c.HostTools = map[string]snakepit.HostTool{"keep": func(ctx context.Context, _ json.RawMessage) (any, error) {
			kept <- ctx
			return nil, nil
		}}
	})
	if _, err := e.Execute(t.Context(), "ask", snakepit.Args{"name": "keep"}); err != nil {
		t.Fatal(err)
	}
	if err := e.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := <-kept
	for _, ctx := range []context.Context{ctx, context.WithoutCancel(ctx)} {
		if _, err := e.Execute(ctx, "pid", nil); !errors.Is(err, worker.ErrDraining) {
			t.Errorf("got %v", err)
		}
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

func TestTimeoutsThatCallersAskForAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		pool    snakepit.PoolConfig
		allowed time.Duration
	}{
		"default":                      {snakepit.PoolConfig{}, time.Hour},
		"calls have longer without it": {snakepit.PoolConfig{CallTimeout: 2 * time.Hour}, 2 * time.Hour},
		"set":                          {snakepit.PoolConfig{MaxTimeout: 20 * time.Minute}, 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			e := openEngine(t, func(cfg *snakepit.Config) {
				cfg.Pools[0].CallTimeout, cfg.Pools[0].MaxTimeout = c.pool.CallTimeout, c.pool.MaxTimeout
			})
			if _, err := e.Execute(t.Context(), "pid", nil, snakepit.WithTimeout(c.allowed)); err != nil {
				t.Error(err)
			}
			for _, timeout := range []time.Duration{c.allowed + 1, -1} {
				_, err := e.Execute(t.Context(), "pid", nil, snakepit.WithTimeout(timeout))
				if !errors.Is(err, snakepit.ErrInvalid) {
					t.Errorf("with a timeout of %v: %v", timeout, err)
				}
			}
		})
	}
	e := openEngine(t, func(cfg *snakepit.Config) { cfg.Pools[0].MaxTimeout = -1 })
	if _, err := e.Execute(t.Context(), "pid", nil, snakepit.WithTimeout(1000*time.Hour)); err != nil {
		t.Errorf("without a bound: %v", err)
	}
}
