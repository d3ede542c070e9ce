package execution_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// refusing is a worker that refuses a call before it looks at its state, as a
// transport does that cannot send it.
type refusing struct {
	worker.Conn
	refuse func(*worker.Call) error
}

func (c refusing) Call(ctx context.Context, call *worker.Call) (*worker.Result, error) {
	if err := c.refuse(call); err != nil {
		return nil, err
	}
	return c.Conn.Call(ctx, call)
}

type refusingTransport struct {
	worker.Transport
	refuse func(*worker.Call) error
}

func (t refusingTransport) Start(ctx context.Context, spec worker.Spec) (worker.Conn, error) {
	conn, err := t.Transport.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return refusing{conn, t.refuse}, nil
}

func openRefusing(t testing.TB, refuse func(*worker.Call) error) *house {
	t.Helper()
	return openPool(t, func(h *house) worker.PoolOptions {
		return worker.PoolOptions{Size: 1, Transport: refusingTransport{h.fake, refuse}}
	}, nil)
}

func (h *house) patchNotes(t testing.TB, notes string) {
	t.Helper()
	patch := session.Patch{Set: map[string]json.RawMessage{"notes": json.RawMessage(notes)}}
	if _, err := h.sessions.Patch(t.Context(), "s", patch); err != nil {
		t.Fatal(err)
	}
}

// TestARefusedCallSaysNothingOfTheWorkersCopy: the worker's copy has a change
// that a patch has overtaken. A call that never got to the worker must not make
// the copy pass for the newest state.
func TestARefusedCallSaysNothingOfTheWorkersCopy(t *testing.T) {
	var refusal error
	h := openRefusing(t, func(*worker.Call) error { return refusal })
	defer h.close(t)
	for _, refusal = range []error{
		&worker.ToolError{Kind: worker.InvalidArguments, Message: "too large to be sent"},
		&worker.ToolError{Kind: worker.WorkerFault, Message: "malformed"},
		worker.ErrToolNotFound,
		worker.ErrCanceled,
		errors.New("anything else"),
	} {
		made := refusal
		refusal = nil
		h.do(t, "s", "note", "by a call")
		h.patchNotes(t, `["patched"]`)
		refusal = made
		if _, err := h.Execute(t.Context(), h.request("s", "note", "refused")); !errors.Is(err, made) {
			t.Fatalf("got %v, want %v", err, made)
		}
		refusal = nil
		h.do(t, "s", "note", "next")
		if got := h.notes(t, "s"); !slices.Equal(got, []string{"patched", "next"}) {
			t.Errorf("after %q, notes are %q", made, got)
		}
	}
}

// TestACallersErrorIsNotTheWorkers: the context's cause, or the error of the
// one who receives a stream, may be the error of another call.
func TestACallersErrorIsNotTheWorkers(t *testing.T) {
	other := &worker.ToolError{Kind: worker.ToolRaised, Message: "of another call"}
	var cancel context.CancelCauseFunc
	h := openRefusing(t, func(*worker.Call) error {
		if cancel == nil {
			return nil
		}
		cancel(other)
		return other
	})
	defer h.close(t)
	h.do(t, "s", "note", "by a call")
	h.patchNotes(t, `["patched"]`)
	var ctx context.Context
	ctx, cancel = context.WithCancelCause(t.Context())
	if _, err := h.Execute(ctx, h.request("s", "note", "cancelled")); !errors.Is(err, other) {
		t.Fatal(err)
	}
	cancel = nil
	h.do(t, "s", "note", "next")
	if got := h.notes(t, "s"); !slices.Equal(got, []string{"patched", "next"}) {
		t.Errorf("notes are %q", got)
	}
}

func TestAReaderThatChangesItsSessionFails(t *testing.T) {
	h := open(t, 1, nil)
	defer h.close(t)
	h.do(t, "s", "note", "kept")
	_, err := h.Execute(t.Context(), h.request("s", "lie", "x"))
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.WorkerFault {
		t.Errorf("got %v", err)
	}
	h.do(t, "s", "note", "next")
	if got := h.notes(t, "s"); !slices.Equal(got, []string{"kept", "next"}) {
		t.Errorf("notes are %q", got)
	}
}

// TestGuestsLeaveNothingBehind: what a reader keeps for its session in another
// worker than the session's own is dropped with the reader, and so is what a
// call leaves whose session is bound nowhere.
func TestGuestsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 2, nil)
		defer h.close(t)
		home := h.do(t, "s", "note", "x").Worker
		var all sync.WaitGroup
		for range 2 { // the second finds the session's worker taken
			all.Go(func() {
				if _, err := h.Execute(t.Context(), h.request("s", "keep", "1s")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if !slices.Equal(h.forgotten, []string{"s"}) {
			t.Errorf("forgotten: %q; want the copy of the one that did not run on %s", h.forgotten, home)
		}

		h.forgotten = nil
		req := h.request("new", "note", "")
		req.Call.Args = json.RawMessage(`{"text":5}`)
		if _, err := h.Execute(t.Context(), req); err == nil {
			t.Error("no error")
		}
		if !slices.Equal(h.forgotten, []string{"new"}) {
			t.Errorf("forgotten: %q, want the session that is bound nowhere", h.forgotten)
		}
	})
}

// withInner gives the host a tool for "nest" to call.
func withInner(inner func(ctx context.Context) error) func(*execution.Options) {
	return func(o *execution.Options) {
		o.HostTools = map[string]execution.HostTool{
			"inner": func(ctx context.Context, _ json.RawMessage) (any, error) { return nil, inner(ctx) },
		}
	}
}

func TestNestedCallsDoNotWaitForTheirParentsWorker(t *testing.T) {
	for _, affinity := range []execution.Affinity{execution.Hint, execution.StrictQueue, execution.StrictFailFast} {
		synctest.Test(t, func(t *testing.T) {
			var h *house
			h = open(t, 2, withInner(func(ctx context.Context) error {
				req := h.request("s", "note", "inner")
				req.Affinity = affinity
				_, err := h.Execute(ctx, req)
				return err
			}))
			defer h.close(t)
			h.do(t, "s", "note", "outer")
			req := h.request("s", "nest", "1")
			req.Affinity = affinity
			if _, err := h.Execute(t.Context(), req); err != nil {
				t.Errorf("affinity %d: %v", affinity, err)
			}
			h.do(t, "s", "note", "after")
			if got := h.notes(t, "s"); !slices.Equal(got, []string{"outer", "inner", "after"}) {
				t.Errorf("affinity %d: notes are %q", affinity, got)
			}
		})
	}
}

// TestNestedCallsOfOneCallTakeTurns: a tool may ask its host for several things
// at once; calls back into its session must not lose each other's changes.
func TestNestedCallsOfOneCallTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *house
		h = open(t, 4, withInner(func(ctx context.Context) error {
			_, err := h.Execute(ctx, h.request("s", "slownote", "inner"))
			return err
		}))
		defer h.close(t)
		h.do(t, "s", "nest", "3")
		if got := h.notes(t, "s"); len(got) != 3 {
			t.Errorf("3 calls left the notes %q", got)
		}
	})
}

func TestAReaderCannotHaveAWriterWriteForIt(t *testing.T) {
	var h *house
	tool := "note"
	h = open(t, 2, withInner(func(ctx context.Context) error {
		_, err := h.Execute(ctx, h.request("s", tool, "1ms"))
		return err
	}))
	defer h.close(t)
	if _, err := h.Execute(t.Context(), h.request("s", "readnest", "1")); err == nil || !strings.Contains(err.Error(), worker.ErrReadOnly.Error()) {
		t.Errorf("a writer within a reader: %v", err)
	}
	tool = "read"
	h.do(t, "s", "readnest", "1")
	if got := h.notes(t, "s"); got != nil {
		t.Errorf("notes are %q", got)
	}
}
