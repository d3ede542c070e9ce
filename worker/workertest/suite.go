package workertest

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/worker"
)

// PythonTools is the text of tools.py: the tool set for the Python SDK.
//
//go:embed tools.py
var PythonTools string

// Harness is what the suite needs to know of a transport.
type Harness struct {
	// Transport returns the transport under test, whose workers offer the
	// tool set of the package's documentation.
	Transport func(testing.TB) worker.Transport
	// Broken returns one whose workers cannot start because the user's code
	// does not load; nil leaves out the test of it.
	Broken func(testing.TB) worker.Transport
	// Window is how many chunks a stream may be ahead of its consumer, in all
	// buffers together; 64 if zero.
	Window int
	// Signals says that the workers are processes of their own on a system that
	// shows whether a signal has stopped one.
	Signals bool
}

// patience bounds every wait of the suite for what must happen.
const patience = 30 * time.Second

// Run runs the conformance suite: what the pool relies on in a Transport. Each
// test starts workers of its own and checks that nothing of them is left.
func Run(t *testing.T, h Harness) {
	if h.Window == 0 {
		h.Window = 64
	}
	s := suite{h}
	for _, test := range []struct {
		name string
		run  func(suite, *testing.T)
	}{
		{"Hello", suite.hello},
		{"StartWithEndedContext", suite.startWithEndedContext},
		{"BrokenTools", suite.brokenTools},
		{"EchoValues", suite.echoValues},
		{"EchoBytes", suite.echoBytes},
		{"Big", suite.big},
		{"ToolErrors", suite.toolErrors},
		{"UnknownTool", suite.unknownTool},
		{"Stream", suite.stream},
		{"StreamWithSlowConsumer", suite.slowConsumer},
		{"StreamOfAPlainTool", suite.streamOfAPlainTool},
		{"StreamAbandoned", suite.streamAbandoned},
		{"StreamCanceled", suite.streamCanceled},
		{"Cancel", suite.cancel},
		{"Deadline", suite.deadline},
		{"CancelOfADeafTool", suite.cancelDeaf},
		{"EndedContext", suite.endedContext},
		{"StateIsCommitted", suite.stateCommitted},
		{"StateMissing", suite.stateMissing},
		{"StatePending", suite.statePending},
		{"StateAfterAnError", suite.stateAfterError},
		{"StateOfManySessions", suite.manySessions},
		{"LocalObjects", suite.localObjects},
		{"Read", suite.read},
		{"Forget", suite.forget},
		{"HostCall", suite.hostCall},
		{"HostCallEndsWithTheCall", suite.hostCallEnds},
		{"NoHost", suite.noHost},
		{"Programs", suite.programs},
		{"AnswerSealsTheCall", suite.answerSeals},
		{"Log", suite.log},
		{"Pings", suite.pings},
		{"Suspended", suite.suspended},
		{"Crash", suite.crash},
		{"CrashOfAnIdleWorker", suite.crashIdle},
		{"Kill", suite.kill},
		{"Stop", suite.stop},
		{"StopWaitsForCalls", suite.stopWaits},
		{"StopEndsWithItsContext", suite.stopKills},
		{"Generations", suite.generations},
		{"Pool", suite.pool},
		{"PoolSurvivesCrashes", suite.poolCrashes},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) })
			test.run(s, t)
		})
	}
	t.Run("NoDescriptorsLeft", s.descriptors)
}

type suite struct{ Harness }

// start starts a worker that ends with the test.
func (s suite) start(t testing.TB) worker.Conn {
	t.Helper()
	return s.startLogging(t, slog.New(slog.DiscardHandler))
}

func (s suite) startLogging(t testing.TB, log *slog.Logger) worker.Conn {
	t.Helper()
	conn, err := s.Transport(t).Start(bounded(t), worker.Spec{Pool: "suite", ID: "suite-1", Generation: 1, Logger: log})
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		conn.Kill()
		await(t, "the end of the worker", conn.Done())
	})
	return conn
}

// bounded is the context of what must come to an end by itself.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func await(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		t.Fatalf("no sign of %s after %v", what, patience)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// do runs a call that must succeed and decodes its result into out.
func do(t testing.TB, conn worker.Conn, call *worker.Call, out any) *worker.Result {
	t.Helper()
	res, err := conn.Call(bounded(t), call)
	if err != nil {
		t.Fatalf("call %s: %v", call.Tool, err)
	}
	if out != nil {
		if err := json.Unmarshal(res.Value, out); err != nil {
			t.Fatalf("result %s of %s: %v", res.Value, call.Tool, err)
		}
	}
	return res
}

// works makes sure that a worker takes calls after what was done to it.
func works(t testing.TB, conn worker.Conn) {
	t.Helper()
	var sum int
	if do(t, conn, &worker.Call{Tool: "add", Args: object(t, "a", 40, "b", 2)}, &sum); sum != 42 {
		t.Fatalf("40 + 2 = %d", sum)
	}
}

// object makes arguments of names and values in turn.
func object(t testing.TB, pairs ...any) json.RawMessage {
	t.Helper()
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// running is a call that is under way.
type running struct {
	done   chan struct{}
	result *worker.Result
	err    error
}

func begin(ctx context.Context, conn worker.Conn, call *worker.Call) *running {
	r := &running{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.result, r.err = conn.Call(ctx, call)
	}()
	return r
}

func (r *running) wait(t testing.TB) (*worker.Result, error) {
	t.Helper()
	await(t, "the call's return", r.done)
	return r.result, r.err
}

// canceled fails the test unless err is that of a call whose context ended for
// this reason, and returns when the worker has answered.
func canceled(t testing.TB, err, reason error) *worker.UnansweredError {
	t.Helper()
	var given *worker.UnansweredError
	if !errors.As(err, &given) {
		t.Fatalf("error is %v, want an *UnansweredError", err)
	}
	if !errors.Is(given.Err, reason) {
		t.Fatalf("the call was given up because of %v, want %v", given.Err, reason)
	}
	return given
}

// host is a worker.Host of functions and memory.
type host struct {
	tools map[string]func(ctx context.Context, args json.RawMessage) (json.RawMessage, error)

	mu       sync.Mutex
	programs map[string][]byte
}

func newHost() *host {
	return &host{
		tools:    make(map[string]func(context.Context, json.RawMessage) (json.RawMessage, error)),
		programs: make(map[string][]byte),
	}
}

// signal adds a tool that reports its calls on the channel it returns, and
// passes once per value of gate; a nil gate never holds it.
func (h *host) signal(name string, gate <-chan struct{}) <-chan struct{} {
	called := make(chan struct{}, 1024)
	h.tools[name] = func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		called <- struct{}{}
		if gate != nil {
			select {
			case <-gate:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		return json.RawMessage("null"), nil
	}
	return called
}

func (h *host) CallTool(ctx context.Context, name string, args json.RawMessage) (json.RawMessage, error) {
	f, ok := h.tools[name]
	if !ok {
		return nil, errors.New("the host has no tool " + name)
	}
	return f(ctx, args)
}

func (h *host) ReadProgram(_ context.Context, name string, offset int64, limit int) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	data, ok := h.programs[name]
	if !ok {
		return nil, errors.New("no program " + name)
	}
	data = data[min(offset, int64(len(data))):]
	return data[:min(limit, len(data))], nil
}

func (h *host) WriteProgram(_ context.Context, name, _ string) (io.WriteCloser, error) {
	return &programWriter{host: h, name: name}, nil
}

func (h *host) DeleteProgram(_ context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.programs, name)
	return nil
}

func (h *host) program(name string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.programs[name]
}

type programWriter struct {
	host *host
	name string
	data []byte
}

func (w *programWriter) Write(p []byte) (int, error) {
	w.data = append(w.data, p...)
	return len(p), nil
}

func (w *programWriter) Close() error {
	w.host.mu.Lock()
	defer w.host.mu.Unlock()
	w.host.programs[w.name] = w.data
	return nil
}

// sameJSON compares JSON values: integers by their digits, other numbers by
// value, and {"$bytes": i} by the bytes it stands for.
func sameJSON(t testing.TB, a json.RawMessage, aParts [][]byte, b json.RawMessage, bParts [][]byte) bool {
	t.Helper()
	x, y := decode(t, a, aParts), decode(t, b, bParts)
	return reflect.DeepEqual(x, y)
}

func decode(t testing.TB, raw json.RawMessage, parts [][]byte) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%.200s is not JSON: %v", raw, err)
	}
	return normal(t, v, parts)
}

func normal(t testing.TB, v any, parts [][]byte) any {
	t.Helper()
	switch v := v.(type) {
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			return v
		}
		f, err := v.Float64()
		if err != nil {
			t.Fatal(err)
		}
		return f
	case []any:
		for i := range v {
			v[i] = normal(t, v[i], parts)
		}
	case map[string]any:
		if n, ok := v["$bytes"].(json.Number); ok && len(v) == 1 {
			i, err := strconv.Atoi(string(n))
			if err != nil || i < 0 || i >= len(parts) {
				t.Fatalf("{$bytes: %s} of %d parts", n, len(parts))
			}
			return append([]byte{}, parts[i]...)
		}
		for k := range maps.Clone(v) {
			v[k] = normal(t, v[k], parts)
		}
	}
	return v
}

// descriptors starts and ends workers in every way and counts open files.
func (s suite) descriptors(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc/self/fd here")
		}
		return len(entries)
	}
	round := func() {
		transport := s.Transport(t)
		for i, end := range []func(worker.Conn){
			func(c worker.Conn) { c.Kill() },
			func(c worker.Conn) { _ = c.Stop(bounded(t)) },
			func(c worker.Conn) {
				_, _ = c.Call(bounded(t), &worker.Call{Tool: "crash", Args: object(t, "code", 1)})
			},
		} {
			conn, err := transport.Start(bounded(t), worker.Spec{
				Pool: "suite", ID: "suite-" + strconv.Itoa(i), Generation: 1, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			end(conn)
			await(t, "the end of the worker", conn.Done())
		}
	}
	round() // what is opened once stays
	before := count()
	for range 3 {
		round()
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); count() > before; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%d open files, %d before nine workers came and went", count(), before)
		}
	}
}
