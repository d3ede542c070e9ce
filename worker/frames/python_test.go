package frames_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// The suite of workertest runs over this package and real Python workers in
// workertest itself; here is what only a socket and a process can show.

// readyHost has a tool that tells the test when it is called, and waits.
func readyHost() (h *host, ready chan struct{}, release chan struct{}) {
	ready, release = make(chan struct{}, 10), make(chan struct{})
	h = newHost()
	h.tools = map[string]func(context.Context, json.RawMessage) (json.RawMessage, error){
		"ready": func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
			ready <- struct{}{}
			select {
			case <-release:
				return json.RawMessage(`"released"`), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
	return h, ready, release
}

func TestAKilledWorkerIsNoticedAtOnce(t *testing.T) {
	h := pythons(t, "testdata/tools.py")
	conn := h.start()
	host, ready, release := readyHost()
	close(release)
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Call(context.Background(), &worker.Call{Tool: "stuck", Host: host})
		failed <- err
	}()
	await(t, ready, "the tool")
	killed := time.Now()
	if err := syscall.Kill(conn.Info().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	crash := wantCrash(t, conn, <-failed, true)
	if crash.Exit.Signal != "SIGKILL" || crash.Exit.Code != 137 || crash.Exit.Expected {
		t.Errorf("exit %+v", crash.Exit)
	}
	if took := time.Since(killed); took > 5*time.Second {
		t.Errorf("the crash was told after %v", took)
	}
}

// A descendant that has the socket and its own session keeps both ends of it
// open; the process's end counts all the same.
func TestAForkedChildDoesNotHideTheCrash(t *testing.T) {
	conn := pythons(t, "testdata/tools.py").start()
	_, err := call(t, conn, "fork", "{}")
	if crash := wantCrash(t, conn, err, true); crash.Exit.Code != 9 {
		t.Errorf("exit %+v", crash.Exit)
	}
}

func TestASlowHostHoldsUpNobody(t *testing.T) {
	conn := pythons(t, "testdata/tools.py").start()
	host, ready, release := readyHost()
	answered := make(chan error, 1)
	go func() {
		res, err := conn.Call(context.Background(), &worker.Call{Tool: "ask", Host: host})
		if err == nil && string(res.Value) != `"released"` {
			err = fmt.Errorf("got %s", res.Value)
		}
		answered <- err
	}()
	await(t, ready, "the tool")
	for range 3 {
		if err := conn.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// Frames much bigger than the socket's buffers go both ways at the same time.
func TestBigFramesBothWays(t *testing.T) {
	conn := pythons(t, "testdata/tools.py").start()
	const size = 8 << 20
	var callers sync.WaitGroup
	for i := range 4 {
		data := bytes.Repeat([]byte{byte(i)}, size)
		callers.Go(func() {
			res, err := conn.Call(t.Context(), &worker.Call{
				Tool: "echo", Args: json.RawMessage(`{"value":{"$bytes":0}}`), Attachments: [][]byte{data},
			})
			if err != nil {
				t.Error(err)
			} else if len(res.Attachments) != 1 || !bytes.Equal(res.Attachments[0], data) {
				t.Error("other bytes came back")
			}
		})
	}
	callers.Go(func() {
		n := 0
		_, err := conn.Call(t.Context(), &worker.Call{Tool: "blocks", Args: json.RawMessage(`{"n":20,"size":1000000}`), OnChunk: func(c worker.Chunk) error {
			if !bytes.Equal(c.Attachments[0], bytes.Repeat([]byte{byte(n)}, 1_000_000)) {
				return errors.New("another chunk")
			}
			n++
			return nil
		}})
		if err != nil || n != 20 {
			t.Errorf("%d chunks, %v", n, err)
		}
	})
	callers.Wait()
}

func TestThousandsOfCalls(t *testing.T) {
	h := pythons(t, "testdata/tools.py")
	slots := make(chan worker.Conn, 3)
	for range cap(slots) {
		slots <- h.start()
	}
	var callers sync.WaitGroup
	for i := range 20 {
		callers.Go(func() {
			for j := range 150 {
				conn := <-slots
				want := fmt.Sprintf(`{"i":%d,"j":[%d]}`, i, j)
				res, err := conn.Call(t.Context(), &worker.Call{Tool: "echo", Args: json.RawMessage(`{"value":` + want + `}`)})
				var compact bytes.Buffer
				if err == nil {
					err = json.Compact(&compact, res.Value)
				}
				if err != nil || compact.String() != want {
					t.Errorf("got %s, %v, want %s", compact.String(), err, want)
				}
				if j%10 == 0 {
					if err := conn.Ping(t.Context()); err != nil {
						t.Error(err)
					}
					conn.Forget("s")
				}
				slots <- conn
			}
		})
	}
	callers.Wait()
}

// Several callers share one connection: the turn to read goes around, and calls
// that are given up at any moment leave it in order.
func TestCallersShareTheReading(t *testing.T) {
	conn := pythons(t, "testdata/tools.py").start()
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for j := range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+(i*31+j*17)%40)*100*time.Microsecond)
				if i%2 == 0 {
					cancel()
					ctx, cancel = t.Context(), func() {}
				}
				res, err := conn.Call(ctx, &worker.Call{Tool: "echo", Args: json.RawMessage(`{"value":7}`)})
				cancel()
				var given *worker.UnansweredError
				switch {
				case err == nil && string(res.Value) == "7":
				case i%2 == 1 && errors.As(err, &given):
					await(t, given.Answered, "the answer")
				case i%2 == 1 && errors.Is(err, context.DeadlineExceeded), i%2 == 1 && errors.Is(err, worker.ErrCanceled):
				default:
					t.Errorf("got %v, %v", res, err)
				}
			}
		})
	}
	callers.Wait()
	mustCall(t, conn, "echo", `{"value":1}`)
}

func TestWhatToolsSayReachesTheLog(t *testing.T) {
	h := pythons(t, "testdata/tools.py")
	events := make(chan worker.Event, 1)
	h.onEvent = func(e worker.Event) { events <- e }
	conn := h.start()
	_, err := conn.Call(t.Context(), &worker.Call{
		CorrelationID: "c-9", Tool: "talk",
		Session: &worker.SessionState{ID: "s1", Incarnation: "i", Version: 1, Vars: json.RawMessage("{}")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for message, want := range map[string]map[string]any{
		"printed": {"level": slog.LevelInfo, "logger": "stdout", "correlation_id": "c-9", "session": "s1"},
		"logged":  {"level": slog.LevelWarn, "logger": "mine", "correlation_id": "c-9", "session": "s1", "rows": 3.0},
	} {
		got := h.records.find(message)
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%q: %s is %v, want %v", message, key, got[key], value)
			}
		}
	}
	e := <-events
	if e.Name != "talked" || e.Session != "s1" || e.CorrelationID != "c-9" || e.Measurements["rows"] != 3 || e.Attrs["kind"] != "full" {
		t.Errorf("event %+v", e)
	}
	if err := conn.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.records.find("past the library"); got["stream"] != "stderr" {
		t.Errorf("what was written past the library: %v", got)
	}
}

// Between calls nobody waits for an answer, and what a worker says is heard.
func TestAnIdleWorkerIsHeard(t *testing.T) {
	h := pythons(t, "testdata/tools.py")
	conn := h.start()
	mustCall(t, conn, "later", "{}")
	h.records.await(t, "said later")
	if err := syscall.Kill(conn.Info().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, conn.Done(), "the end")
	if exit := conn.Exit(); exit.Code != 0 || exit.Expected {
		t.Errorf("exit %+v", exit)
	}
}

// What may be kept and sent is what a Python worker can read and write, also
// where dates make it walk through the value; what it could not read is refused
// before it is sent, and costs no worker.
func TestStateAtItsLimits(t *testing.T) {
	h := pythons(t, "testdata/tools.py")
	conn := h.start()
	for _, core := range []string{`{"$datetime":"2026-01-31T12:30:00"}`, `{"$float":"NaN"}`, `[` + strings.Repeat("7", 4300) + `]`} {
		const depth = 199
		text := strings.Repeat("[", depth) + core + strings.Repeat("]", depth)
		state := &worker.SessionState{ID: "s", Incarnation: "i", Version: 1, Vars: json.RawMessage(`{"from":` + text + `}`)}
		res, err := conn.Call(t.Context(), &worker.Call{Tool: "copy", Session: state})
		if err != nil {
			t.Fatalf("a value around %.30s: %v", core, err)
		}
		if string(res.Value) != text || string(res.Change.Set["to"]) != "["+text+"]" {
			t.Errorf("a value around %.30s came back as %.300s", core, res.Value)
		}
		if res, err = conn.Call(t.Context(), &worker.Call{Tool: "echo", Args: json.RawMessage(`{"value":` + text[1:len(text)-1] + `}`)}); err != nil {
			t.Fatalf("an argument around %.30s: %v", core, err)
		} else if string(res.Value) != text[1:len(text)-1] {
			t.Errorf("an argument around %.30s came back as %.300s", core, res.Value)
		}
	}
	for what, text := range map[string]string{
		"nested deeper than 200 levels":                          strings.Repeat("[", 201) + strings.Repeat("]", 201),
		"a number of 5000000 characters, where 4300 are allowed": strings.Repeat("9", 5_000_000),
		"beyond 1.8e308": "1e400",
	} {
		state := &worker.SessionState{ID: "s", Incarnation: "i", Version: 2, Vars: json.RawMessage(`{"fine":1,"bad":` + text + `}`)}
		if _, err := conn.Call(t.Context(), &worker.Call{Tool: "echo", Args: json.RawMessage(`{"value":1}`), Session: state}); !errors.Is(err, worker.ErrStateUnreadable) ||
			!strings.Contains(err.Error(), `variable "bad"`) || !strings.Contains(err.Error(), what) {
			t.Errorf("a variable that is %s: %v", what, err)
		}
		_, err := conn.Call(t.Context(), &worker.Call{Tool: "echo", Args: json.RawMessage(`{"value":` + text + `}`)})
		if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.InvalidArguments || !strings.Contains(fault.Message, what) {
			t.Errorf("an argument that is %s: %v", what, err)
		}
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the worker is gone: %v", err)
	}
}
