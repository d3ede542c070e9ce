package frames_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/frames"
	"github.com/snakepit-go/snakepit/worker/process"
)

// peerEnv makes the test binary a worker that follows a script of peer_test.go.
const peerEnv = "SNAKEPIT_TEST_PEER"

func TestMain(m *testing.M) {
	if script := os.Getenv(peerEnv); script != "" {
		playPeer(script)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// harness starts workers of one test.
type harness struct {
	t       testing.TB
	opts    frames.Options
	onEvent func(worker.Event)
	records *records
}

func newHarness(t testing.TB, command func(worker.Spec) worker.Command) *harness {
	t.Helper()
	launcher, err := process.New(process.Options{RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := launcher.Close(); err != nil {
			t.Error(err)
		}
	})
	opts := frames.Options{Launcher: launcher, Command: func(spec worker.Spec) (worker.Command, error) { return command(spec), nil }}
	return &harness{t: t, opts: opts, records: &records{more: make(chan struct{})}}
}

// peers are workers that follow a script.
func peers(t testing.TB, script string) *harness {
	return newHarness(t, func(worker.Spec) worker.Command {
		// A race-detecting binary takes a second to exit, unless told otherwise.
		return worker.Command{Path: os.Args[0], Env: []string{peerEnv + "=" + script, "GORACE=atexit_sleep_ms=0"}}
	})
}

func (h *harness) spec() worker.Spec {
	return worker.Spec{Pool: "test", ID: "test-1", Generation: 3, Logger: slog.New(h.records), OnEvent: h.onEvent}
}

func (h *harness) start() worker.Conn {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := frames.New(h.opts).Start(ctx, h.spec())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		conn.Kill()
		<-conn.Done()
	})
	return conn
}

// startError starts a worker that must not start.
func (h *harness) startError(ctx context.Context) error {
	h.t.Helper()
	conn, err := frames.New(h.opts).Start(ctx, h.spec())
	if err == nil {
		conn.Kill()
		h.t.Fatal("the worker started")
	}
	return err
}

func call(t testing.TB, conn worker.Conn, tool, args string) (*worker.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return conn.Call(ctx, &worker.Call{CorrelationID: "c-1", Tool: tool, Args: json.RawMessage(args)})
}

func mustCall(t testing.TB, conn worker.Conn, tool, args string) string {
	t.Helper()
	res, err := call(t, conn, tool, args)
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return string(res.Value)
}

func await(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("waited too long for ", what)
	}
}

// wantCrash checks an error of a call whose worker ended.
func wantCrash(t testing.TB, conn worker.Conn, err error, maybeExecuted bool) *worker.CrashError {
	t.Helper()
	crash, ok := errors.AsType[*worker.CrashError](err)
	if !ok {
		t.Fatalf("got %v, want a crash", err)
	}
	if crash.MaybeExecuted != maybeExecuted || crash.Worker != "test-1" {
		t.Errorf("got %+v", crash)
	}
	select {
	case <-conn.Done():
	default:
		t.Error("Done is not closed after a crash was reported")
	}
	if crash.Exit != conn.Exit() || crash.Exit.Reason == "" {
		t.Errorf("exit %+v, of the worker %+v", crash.Exit, conn.Exit())
	}
	return crash
}

// records is a slog.Handler that keeps what it is given.
type records struct {
	mu   sync.Mutex
	all  []slog.Record
	more chan struct{} // closed with the next record
}

func (r *records) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (r *records) WithAttrs([]slog.Attr) slog.Handler           { return r }
func (r *records) WithGroup(string) slog.Handler                { return r }

func (r *records) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rec)
	close(r.more)
	r.more = make(chan struct{})
	return nil
}

// await waits for a record with a message.
func (r *records) await(t testing.TB, message string) {
	t.Helper()
	for {
		r.mu.Lock()
		more := r.more
		r.mu.Unlock()
		if r.find(message) != nil {
			return
		}
		await(t, more, "the record: "+message)
	}
}

// find returns the attributes of the first record with a message, and its
// level as "level"; nil if there is none.
func (r *records) find(message string) map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.all, func(rec slog.Record) bool { return rec.Message == message })
	if i < 0 {
		return nil
	}
	attrs := map[string]any{"level": r.all[i].Level}
	r.all[i].Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.Any()
		return true
	})
	return attrs
}
