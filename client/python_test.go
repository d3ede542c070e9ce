package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/worker"
)

// TestRealPython has two Python processes at the other end of the connection.
func TestRealPython(t *testing.T) {
	testenv.Python(t)
	c, _ := serve(t, func(cfg *snakepit.Config) {
		cfg.Pools[0] = snakepit.PoolConfig{Workers: 2, Tools: filepath.Join(testenv.Root(t), "testdata", "tools.py")}
	})
	t.Run("values", func(t *testing.T) { pythonValues(t, c) })
	t.Run("programs", func(t *testing.T) { pythonPrograms(t, c) })
	t.Run("one session, many callers", func(t *testing.T) { pythonCallers(t, c) })
	t.Run("leaving", func(t *testing.T) { pythonLeaving(t, c) })
	t.Run("errors", func(t *testing.T) { pythonErrors(t, c) })
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	raw := make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{7}).Read(raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

func pythonValues(t *testing.T, c *client.Client) {
	for _, value := range []string{`null`, `9007199254740993`, `-123456789012345678901234567890`, `{"a":[1.5,"ä",{"b":[]}]}`, `{"$float":"NaN"}`} {
		res, err := c.Execute(t.Context(), client.Call{Tool: "echo", Args: json.RawMessage(`{"value":` + value + `}`)})
		if err != nil || string(res.Value) != value {
			t.Errorf("echo of %s: %v (%v)", value, res, err)
		}
	}
	// Bytes need no number, also next to those that have one.
	raw := randomBytes(t, 3<<20)
	for _, attachments := range [][][]byte{nil, {[]byte("another")}} {
		res, err := c.Execute(t.Context(), client.Call{Tool: "echo", Args: map[string]any{"value": raw}, Attachments: attachments})
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := res.Bytes(); !ok || !bytes.Equal(got, raw) {
			t.Errorf("next to %d attachments, %.40s came back", len(attachments), res.Value)
		}
	}
}

// pythonPrograms sends a program that Python reads, and fetches one that Python
// wrote.
func pythonPrograms(t *testing.T, c *client.Client) {
	ctx := t.Context()
	content := randomBytes(t, 3<<20+1)
	if _, _, err := c.Create(ctx, "programs", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutProgram(ctx, "programs", "sent", "", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	res, err := c.Execute(ctx, client.Call{Tool: "load", Args: map[string]string{"name": "sent"}, Session: "programs"})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := res.Bytes(); !ok || !bytes.Equal(got, content) {
		t.Errorf("Python read %d bytes", len(got))
	}
	if _, err := c.Execute(ctx, client.Call{Tool: "save", Args: map[string]any{"name": "made", "data": content}, Session: "programs"}); err != nil {
		t.Fatal(err)
	}
	p, r, err := c.GetProgram(ctx, "programs", "made")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, content) || p.Size != int64(len(content)) {
		t.Errorf("%d of %d bytes came back (%v)", len(got), p.Size, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// pythonCallers has callers write to one session at once: none is lost.
func pythonCallers(t *testing.T, c *client.Client) {
	const callers, each = 4, 10
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				if _, err := c.Execute(t.Context(), client.Call{Tool: "remember", Args: map[string]string{"text": "x"}, Session: "shared"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s, err := c.Peek(t.Context(), "shared", nil)
	if err != nil {
		t.Fatal(err)
	}
	var vars struct{ Notes []string }
	if err := json.Unmarshal(s.Vars, &vars); err != nil || len(vars.Notes) != callers*each {
		t.Errorf("%d notes of %d calls (%v)", len(vars.Notes), callers*each, err)
	}
}

func pythonLeaving(t *testing.T, c *client.Client) {
	n := 0
	for _, err := range c.Stream(t.Context(), client.Call{Tool: "count_to", Args: map[string]int{"n": 1_000_000_000}, Session: "left"}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 10 {
			break
		}
	}
	// A call of the session waits for the end of the stream.
	if _, err := c.Execute(t.Context(), client.Call{Tool: "look", Session: "left"}); err != nil {
		t.Error(err)
	}
	if s, err := c.Peek(t.Context(), "left", nil); err != nil || string(s.Vars) != "{}" {
		t.Errorf("the stream that was left committed %+v (%v)", s, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Execute(ctx, client.Call{Tool: "pause", Args: map[string]int{"seconds": 600}, Session: "left"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("out of time: %v", err)
	}
	if _, err := c.Execute(t.Context(), client.Call{Tool: "look", Session: "left"}); err != nil {
		t.Error(err)
	}
	if s, err := c.Peek(t.Context(), "left", nil); err != nil || string(s.Vars) != "{}" {
		t.Errorf("the call that was out of time committed %+v (%v)", s, err)
	}
}

func pythonErrors(t *testing.T, c *client.Client) {
	ctx := t.Context()
	_, err := c.Execute(ctx, client.Call{Tool: "remember_then_raise", Args: map[string]string{"text": "x"}, Session: "raising"})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.ToolRaised || fault.Type != "ValueError" ||
		fault.Message != "changed my mind" || !strings.Contains(fault.Traceback, "in remember_then_raise") {
		t.Errorf("what the tool raised became %#v", err)
	}
	_, err = c.Execute(ctx, client.Call{Tool: "pause", Args: map[string]string{"seconds": "long"}})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.InvalidArguments || fault.Parameter != "seconds" {
		t.Errorf("the wrong argument became %#v", err)
	}
	if _, err := c.Execute(ctx, client.Call{Tool: "nosuch"}); !errors.Is(err, worker.ErrToolNotFound) {
		t.Errorf("a tool that is missing: %v", err)
	}

	crash := client.Call{Tool: "crash_once", Args: map[string]string{"path": filepath.Join(t.TempDir(), "crashed")}, Session: "crashing", ID: "c-1"}
	_, err = c.Execute(ctx, crash)
	if e, ok := errors.AsType[*worker.CrashError](err); !ok || !e.MaybeExecuted || e.Worker == "" || e.Exit.Signal == "" || !errors.Is(err, worker.ErrWorkerCrashed) {
		t.Errorf("the crash became %#v", err)
	}
	if res, err := c.Execute(ctx, crash); err != nil || string(res.Value) != `"survived"` {
		t.Errorf("the same call again: %v (%v)", res, err)
	}
	if res, err := c.Execute(ctx, crash); err != nil || !res.Repeated || string(res.Value) != `"survived"` {
		t.Errorf("a third time: %+v, %v", res, err)
	}
}
