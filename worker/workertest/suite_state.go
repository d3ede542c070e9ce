package workertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// A session as the host would keep it.
const (
	incarnation = "00112233445566778899aabbccddeeff"
	another     = "ffeeddccbbaa99887766554433221100"
)

// heldState is the session of a call that relies on what the worker holds;
// fullState brings the variables.
func heldState(version uint64) *worker.SessionState {
	return &worker.SessionState{ID: "s1", Incarnation: incarnation, Version: version}
}

func fullState(version uint64, vars string) *worker.SessionState {
	s := heldState(version)
	s.Vars = json.RawMessage(vars)
	return s
}

// wantNote calls remember and checks its count and the change it reports.
func wantNote(t testing.TB, conn worker.Conn, state *worker.SessionState, text, notes string) {
	t.Helper()
	var out struct{ Count int }
	res := do(t, conn, &worker.Call{Tool: "remember", Args: object(t, "text", text), Session: state}, &out)
	var all []string
	if err := json.Unmarshal([]byte(notes), &all); err != nil {
		t.Fatal(err)
	}
	if out.Count != len(all) {
		t.Errorf("remember says there are %d notes, want %d", out.Count, len(all))
	}
	if res.Change == nil || len(res.Change.Set) != 1 || len(res.Change.Unset) != 0 ||
		!sameJSON(t, res.Change.Set["notes"], nil, json.RawMessage(notes), nil) {
		t.Errorf("change is %+v, want notes = %s", res.Change, notes)
	}
}

// wantNotes calls recall, which changes nothing.
func wantNotes(t testing.TB, conn worker.Conn, state *worker.SessionState, notes string) {
	t.Helper()
	res := do(t, conn, &worker.Call{Tool: "recall", Session: state}, nil)
	if !sameJSON(t, res.Value, nil, json.RawMessage(notes), nil) {
		t.Errorf("notes are %s, want %s", res.Value, notes)
	}
	if res.Change != nil {
		t.Errorf("a call that only reads reports the change %+v", res.Change)
	}
}

func wantMissing(t testing.TB, conn worker.Conn, state *worker.SessionState) {
	t.Helper()
	h := newHost()
	_, err := conn.Call(bounded(t), &worker.Call{Tool: "recall", Session: state, Host: h})
	if !errors.Is(err, worker.ErrStateMissing) {
		t.Fatalf("a call in %s at version %d without its variables: error is %v, want %v",
			state.Incarnation, state.Version, err, worker.ErrStateMissing)
	}
}

// stateCommitted: after each call the host commits the change as the next
// version, and never sends the variables again.
func (s suite) stateCommitted(t *testing.T) {
	conn := s.start(t)
	wantNote(t, conn, fullState(1, `{}`), "a", `["a"]`)
	wantNotes(t, conn, heldState(2), `["a"]`)
	wantNotes(t, conn, heldState(2), `["a"]`)
	wantNote(t, conn, heldState(2), "b", `["a","b"]`)
	wantNote(t, conn, heldState(3), "c", `["a","b","c"]`)
	wantNotes(t, conn, heldState(7), `["a","b","c"]`) // others wrote programs meanwhile
	// What comes with a call replaces what was held.
	wantNote(t, conn, fullState(8, `{"notes":["x"],"other":{"$date":"2026-01-31"}}`), "y", `["x","y"]`)
	wantNotes(t, conn, heldState(9), `["x","y"]`)
}

func (s suite) stateMissing(t *testing.T) {
	conn := s.start(t)
	wantMissing(t, conn, heldState(1))
	wantNotes(t, conn, fullState(1, `{"notes":["a"]}`), `["a"]`)
	wantMissing(t, conn, heldState(2)) // nothing was pending that could be 2
	wantNotes(t, conn, fullState(2, `{"notes":["b"]}`), `["b"]`)
	wantMissing(t, conn, heldState(1))
	reborn := heldState(2)
	reborn.Incarnation = another
	wantMissing(t, conn, reborn)
	reborn.Vars = json.RawMessage(`{}`)
	wantNotes(t, conn, reborn, `[]`)
	wantMissing(t, conn, heldState(2))
	works(t, conn)
}

// statePending: a change that was not committed must not be seen.
func (s suite) statePending(t *testing.T) {
	conn := s.start(t)
	wantNote(t, conn, fullState(4, `{"notes":["a"]}`), "lost", `["a","lost"]`)
	wantMissing(t, conn, heldState(4)) // the commit failed: still version 4
	wantNotes(t, conn, fullState(4, `{"notes":["a"]}`), `["a"]`)
	wantNote(t, conn, heldState(4), "b", `["a","b"]`)
	wantNotes(t, conn, heldState(5), `["a","b"]`)
}

func (s suite) stateAfterError(t *testing.T) {
	conn := s.start(t)
	wantNote(t, conn, fullState(1, `{}`), "a", `["a"]`)
	for range 2 {
		_, err := conn.Call(bounded(t), &worker.Call{Tool: "remember_and_fail", Args: object(t, "text", "b"), Session: heldState(2)})
		var te *worker.ToolError
		if !errors.As(err, &te) || te.Type != "ValueError" {
			t.Fatalf("error is %v", err)
		}
		wantNotes(t, conn, heldState(2), `["a"]`)
	}
	wantNote(t, conn, heldState(2), "c", `["a","c"]`)
}

func (s suite) manySessions(t *testing.T) {
	conn := s.start(t)
	const n = 20
	for round := range 3 {
		for i := range n {
			state := &worker.SessionState{ID: fmt.Sprintf("s%d", i), Incarnation: incarnation, Version: uint64(round + 1)}
			notes := make([]string, round+1)
			for r := range notes {
				notes[r] = fmt.Sprintf("%d in round %d", i, r)
			}
			if round == 0 {
				state.Vars = json.RawMessage(`{}`)
			}
			raw, err := json.Marshal(notes)
			if err != nil {
				t.Fatal(err)
			}
			wantNote(t, conn, state, notes[round], string(raw))
		}
	}
}

func (s suite) localObjects(t *testing.T) {
	conn := s.start(t)
	hold := func(state *worker.SessionState, want int) {
		t.Helper()
		var out struct{ Count int }
		res := do(t, conn, &worker.Call{Tool: "hold", Session: state}, &out)
		if out.Count != want || !res.Local || res.LocalUnused || res.Change != nil {
			t.Errorf("hold is %d, want %d; local is %v, not used %v, change %+v", out.Count, want, res.Local, res.LocalUnused, res.Change)
		}
	}
	if res := do(t, conn, &worker.Call{Tool: "recall", Session: fullState(1, `{}`)}, nil); res.Local {
		t.Error("a session without local objects is said to have some")
	}
	hold(heldState(1), 1)
	hold(heldState(1), 2)
	hold(fullState(2, `{}`), 3) // variables are replaced, objects stay
	if res := do(t, conn, &worker.Call{Tool: "recall", Session: heldState(2)}, nil); !res.Local || !res.LocalUnused {
		t.Errorf("a call that did not use the session's local objects: there are some %v, not used %v", res.Local, res.LocalUnused)
	}
	reborn := fullState(1, `{}`)
	reborn.Incarnation = another
	hold(reborn, 1)
	conn.Forget("s1")
	reborn.Version = 2
	hold(reborn, 1)
}

func (s suite) forget(t *testing.T) {
	conn := s.start(t)
	other := fullState(1, `{"notes":["kept"]}`)
	other.ID = "s2"
	wantNotes(t, conn, other, `["kept"]`)
	wantNotes(t, conn, fullState(1, `{"notes":["a"]}`), `["a"]`)
	conn.Forget("s1", "never heard of")
	wantMissing(t, conn, heldState(1)) // in order: no sign of life in between
	other.Vars = nil
	wantNotes(t, conn, other, `["kept"]`)
	conn.Forget()
	wantNotes(t, conn, fullState(1, `{"notes":["b"]}`), `["b"]`)
}

func (s suite) programs(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	data := bytes.Repeat([]byte("\x00model\xff"), 50_000)
	put := &worker.Call{
		Tool: "program_put", Host: h, Session: fullState(1, `{}`),
		Args: object(t, "name", "model", "data", map[string]int{"$bytes": 0}), Attachments: [][]byte{data},
	}
	var out struct{ Size int }
	if do(t, conn, put, &out); out.Size != len(data) {
		t.Errorf("stored %d bytes of %d", out.Size, len(data))
	}
	if !bytes.Equal(h.program("model"), data) {
		t.Fatalf("the host got %d bytes of %d, or others", len(h.program("model")), len(data))
	}
	state := fullState(2, `{}`)
	state.Programs = []worker.Program{{Name: "model", Size: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}}
	res := do(t, conn, &worker.Call{Tool: "program_get", Host: h, Session: state, Args: object(t, "name", "model")}, nil)
	if !sameJSON(t, res.Value, res.Attachments, json.RawMessage(`{"$bytes":0}`), [][]byte{data}) {
		t.Errorf("the program came back as %.100s with %d parts", res.Value, len(res.Attachments))
	}
	_, err := conn.Call(bounded(t), &worker.Call{Tool: "program_get", Host: h, Session: heldState(2), Args: object(t, "name", "nonsense")})
	var te *worker.ToolError
	if !errors.As(err, &te) || te.Kind != worker.ToolRaised {
		t.Errorf("a program that does not exist: error is %v", err)
	}
	works(t, conn)
}

// read: a worker that is asked what a call has read names at least that, says
// that it was all, or says nothing.
func (s suite) read(t *testing.T) {
	conn := s.start(t)
	state := fullState(1, `{"notes":["milk"],"other":1}`)
	state.WantRead = true
	res := do(t, conn, &worker.Call{Tool: "recall", Session: state}, nil)
	if res.Read != nil && !res.Read.All && !slices.Contains(res.Read.Keys, "notes") {
		t.Errorf("recall reads notes, and the answer says %+v", res.Read)
	}
	if res := do(t, conn, &worker.Call{Tool: "recall", Session: heldState(1)}, nil); res.Read != nil {
		t.Errorf("without being asked, the answer says %+v", res.Read)
	}
}

// records is a slog.Handler's output as lines of text, to be waited for.
type records struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.Write(p)
	select {
	case r.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (r *records) find(t testing.TB, words ...string) {
	t.Helper()
	r.count(t, 1, words...)
}

// count waits until n lines have all the words.
func (r *records) count(t testing.TB, n int, words ...string) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		r.mu.Lock()
		text := r.text.String()
		r.mu.Unlock()
		lines := 0
		for line := range strings.Lines(text) {
			found := 0
			for _, word := range words {
				if strings.Contains(line, word) {
					found++
				}
			}
			if found == len(words) {
				lines++
			}
		}
		if lines >= n {
			return
		}
		select {
		case <-r.more:
		case <-limit.C:
			t.Fatalf("%d lines with %q in the log, want %d:\n%s", lines, words, n, text)
		}
	}
}

func (s suite) log(t *testing.T) {
	out := &records{more: make(chan struct{}, 1)}
	logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	conn := s.startLogging(t, logger.With("worker", "suite-1"))
	for _, level := range []string{"info", "warning", "error"} {
		name := map[string]string{"info": "INFO", "warning": "WARN", "error": "ERROR"}[level]
		do(t, conn, &worker.Call{
			Tool: "log", CorrelationID: "corr-" + level,
			Args: object(t, "message", "milk is "+level, "level", level),
		}, nil)
		out.find(t, "level="+name, "milk is "+level, "corr-"+level, "worker=suite-1")
	}
}

// sealable is a host that notices what is asked of it when the call has
// returned.
type sealable struct {
	worker.Host

	mu       sync.Mutex
	running  int
	returned bool
	late     bool
}

// enter begins a method, and returns what ends it.
func (s *sealable) enter() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
	s.late = s.late || s.returned
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}
}

func (s *sealable) WriteProgram(ctx context.Context, name, contentType string) (io.WriteCloser, error) {
	defer s.enter()()
	w, err := s.Host.WriteProgram(ctx, name, contentType)
	return &sealableWriter{s, w}, err
}

type sealableWriter struct {
	host *sealable
	to   io.WriteCloser
}

func (w *sealableWriter) Write(p []byte) (int, error) {
	defer w.host.enter()()
	return w.to.Write(p)
}

func (w *sealableWriter) Close() error {
	defer w.host.enter()()
	runtime.Gosched() // to be found at it
	return w.to.Close()
}

// answerSeals: what a thread of the tool asks for after the answer does not
// reach the host, and what reached it before is through when the call returns.
func (s suite) answerSeals(t *testing.T) {
	out := &records{more: make(chan struct{}, 1)}
	conn := s.startLogging(t, slog.New(slog.NewTextHandler(out, nil)))
	const rounds = 100
	hosts := make([]*sealable, rounds)
	for i := range hosts {
		h := &sealable{Host: newHost()}
		hosts[i] = h
		do(t, conn, &worker.Call{
			Tool: "linger", CorrelationID: fmt.Sprintf("corr-%d.", i), Host: h, Session: fullState(uint64(i+1), `{}`),
		}, nil)
		h.mu.Lock()
		h.returned = true
		running := h.running
		h.mu.Unlock()
		if running > 0 {
			t.Fatalf("call %d returned while its host was asked", i)
		}
	}
	out.count(t, rounds, "msg=refused")
	for i, h := range hosts {
		h.mu.Lock()
		if h.late {
			t.Errorf("the host of call %d was asked after it had returned", i)
		}
		h.mu.Unlock()
	}
	works(t, conn)
}
