package frames_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/frames"
)

func TestHello(t *testing.T) {
	h := peers(t, "serves")
	conn := h.start()
	info := conn.Info()
	if info.SDK != "peer 1" || info.Runtime != "Go" || info.Protocol != 1 || info.Capacity != 4 || info.PID <= 1 {
		t.Errorf("info %+v", info)
	}
	if len(info.Tools) != 1 || info.Tools[0].Name != "echo" || !info.Tools[0].ReadOnly || !info.Tools[0].Idempotent || !info.Tools[0].Session || info.Tools[0].Streams {
		t.Errorf("tools %+v", info.Tools)
	}
	if got := string(info.Tools[0].Parameters); got != `{"type":"object"}` {
		t.Errorf("parameters %s", got)
	}
	if err := conn.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	const welcome = `welcome {"generation":3,"log_level":"info","max_frame":134217728,"protocol":1,"worker":"test-1"}`
	if attrs := h.records.find(welcome); attrs == nil || attrs["stream"] != "stdout" || attrs["level"] != slog.LevelInfo {
		t.Errorf("the worker was not answered %s", welcome)
	}
}

func TestWorkersThatDoNotStart(t *testing.T) {
	for script, want := range map[string][]string{
		"exits":         {"start worker test-1: its process exited with status 7 before it said hello", "no module named anything"},
		"other version": {"no common protocol version", "future 9", "2 to 9", "1 to 1"},
		"does not load": {"its tools do not load: ImportError: no numpy", "\nline 1\nline 2"},
		"bad hello":     {"hello"},
		"bad frame":     {"protocol violation"},
		"closes":        {"closed its socket before it said hello"},
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			h := peers(t, script)
			err := h.startError(t.Context())
			se, ok := errors.AsType[*worker.StartError](err)
			if !ok || se.Worker != "test-1" {
				t.Fatalf("got %v", err)
			}
			for _, part := range want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is missing in %q", part, err)
				}
			}
			switch script {
			case "does not load":
				if se.Traceback != "line 1\nline 2" {
					t.Errorf("traceback %q", se.Traceback)
				}
				if attrs := h.records.find("about to fail"); attrs["level"] != slog.LevelWarn {
					t.Errorf("its log: %v", attrs)
				}
			case "exits":
				if attrs := h.records.find("no module named anything"); attrs["stream"] != "stderr" || attrs["level"] != slog.LevelWarn {
					t.Errorf("its stderr: %v", attrs)
				}
			case "other version":
				if h.records.find("answered -32010") == nil {
					t.Error("the worker was not told")
				}
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	h := peers(t, "says nothing")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := h.startError(ctx)
	if _, ok := errors.AsType[*worker.StartError](err); !ok || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "hello in time") {
		t.Errorf("a deadline: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, stop)
	if err := h.startError(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancel: %v", err)
	}
	if err := h.startError(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}

func TestLaunchFails(t *testing.T) {
	h := newHarness(t, func(worker.Spec) worker.Command { return worker.Command{Path: "/no/such/python"} })
	err := h.startError(t.Context())
	if se, ok := errors.AsType[*worker.StartError](err); !ok || !strings.Contains(se.Reason, "/no/such/python") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	h.opts.Launcher = brokenLauncher{}
	if err := h.startError(t.Context()); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

type brokenLauncher struct{}

func (brokenLauncher) Launch(context.Context, worker.Command) (worker.Process, error) {
	return nil, iotest.ErrTimeout
}

func TestFrameLimitIsTold(t *testing.T) {
	h := peers(t, "serves")
	h.opts.MaxFrame = 1 << 20
	conn := h.start()
	_, err := call(t, conn, "params", `{"x":"`+strings.Repeat("x", 1<<20)+`"}`)
	if te, ok := errors.AsType[*worker.ToolError](err); !ok || te.Kind != worker.InvalidArguments || !strings.Contains(te.Message, "1048576") {
		t.Errorf("a call beyond the limit: %v", err)
	}
	mustCall(t, conn, "params", `{}`)
	_, err = call(t, conn, "frame 1048577 8", `{}`)
	wantCrash(t, conn, err, true)
	if attrs := h.records.find("worker killed"); attrs == nil {
		t.Error("nobody was told of the frame")
	}
}

var _ worker.Transport = frames.New(frames.Options{})

// What a worker says of itself is checked; the error names the field, its value
// and what is allowed.
func TestBadHellos(t *testing.T) {
	tools := func(list string) string { return `{"protocol":[1,1],"tools":[` + list + `]}` }
	for name, c := range map[string]struct{ hello, want string }{
		"protocol left out":    {`{}`, "protocol is []"},
		"protocol reversed":    {`{"protocol":[2,1]}`, "protocol is [2 1]"},
		"negative protocol":    {`{"protocol":[-1,1]}`, "protocol is [-1 1]"},
		"a number for tools":   {`{"protocol":[1,1],"tools":7}`, "tools"},
		"huge capacity":        {`{"protocol":[1,1],"capacity":1000000000}`, "capacity is 1000000000: 1 to 256 calls"},
		"negative capacity":    {`{"protocol":[1,1],"capacity":-1}`, "capacity is -1"},
		"capacity with digits": {`{"protocol":[1,1],"capacity":1e400}`, "capacity"},
		"negative pid":         {`{"protocol":[1,1],"pid":-7}`, "pid is -7"},
		"long sdk":             {`{"protocol":[1,1],"sdk":"` + strings.Repeat("x", 513) + `"}`, "sdk has 513 bytes: 512 are allowed"},
		"many tools":           {tools(strings.Repeat(`{"name":"a"},`, 4096) + `{"name":"a"}`), "tools has 4097 entries: 4096 are allowed"},
		"no name":              {tools(`{"doc":"x"}`), "tools[0]: name \"\" has 0 bytes"},
		"long name":            {tools(`{"name":"` + strings.Repeat("n", 129) + `"}`), "has 129 bytes: 1 to 128 are allowed"},
		"name with a line end": {tools(`{"name":"a\nb"}`), "tools[0]: name \"a\\nb\" has '\\n'"},
		"name with a space":    {tools(`{"name":"a b"}`), "no spaces"},
		"name not text":        {tools(`{"name":"a\ud800"}`), "tools[0]: name"},
		"the same name twice":  {tools(`{"name":"a"},{"name":"b"},{"name":"a"}`), "tools[2]: name \"a\" stands twice"},
		"parameters no object": {tools(`{"name":"a","parameters":[1]}`), "parameters of \"a\" are \"[1]\": a JSON Schema object"},
		"large parameters":     {tools(`{"name":"a","parameters":{"x":"` + strings.Repeat("x", 256<<10) + `"}}`), "262144 are allowed"},
		"large doc":            {tools(`{"name":"a","doc":"` + strings.Repeat("x", 65537) + `"}`), "doc of \"a\" has 65537 bytes: 65536 are allowed"},
		"unknown on_conflict":  {tools(`{"name":"a","on_conflict":"maybe"}`), "on_conflict of \"a\" is \"maybe\": ignore, fail and retry"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(c.hello) > 100<<10 { // more than the environment of a process holds
				path := filepath.Join(t.TempDir(), "hello")
				if err := os.WriteFile(path, []byte(c.hello), 0o600); err != nil {
					t.Fatal(err)
				}
				c.hello = "@" + path
			}
			err := peers(t, "hello "+c.hello).startError(t.Context())
			if _, ok := errors.AsType[*worker.StartError](err); !ok || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "its hello is not valid") {
				t.Errorf("got %.300v, want a start error that says %q", err, c.want)
			}
		})
	}
}
