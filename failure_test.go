package snakepit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/telemetry"
)

// records collects what is logged.
type records struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *records) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// of returns the records with that message so far.
func (r *records) of(t testing.TB, message string) (list []map[string]any) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range bytes.Lines(r.text.Bytes()) {
		record := make(map[string]any)
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		if record["msg"] == message {
			list = append(list, record)
		}
	}
	return list
}

// An embedded engine, too, says which call failed, and where.
func TestFailedCallsAreLogged(t *testing.T) {
	log := new(records)
	e := openEngine(t, func(c *snakepit.Config) { c.Logger = log.logger() })
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name, session, tool string
		args                snakepit.Args
		ctx                 context.Context
		opts                []snakepit.CallOption
		want                map[string]any
		missing             []string
	}{
		{
			name: "raised", session: "alice", tool: "remember_then_raise", args: snakepit.Args{"text": "x"}, opts: []snakepit.CallOption{snakepit.WithCorrelationID("c-1")},
			want:    map[string]any{"level": "WARN", "kind": "tool_raised", "worker": "default-", "error": "ValueError: changed my mind", "correlation_id": "c-1", "source": "testdata/tools.py:"},
			missing: []string{"traceback"},
		},
		{
			name: "wrong argument", tool: "pause", args: snakepit.Args{"seconds": "long"},
			want:    map[string]any{"level": "INFO", "kind": "tool_invalid_arguments", "error": "seconds"},
			missing: []string{"session", "source"},
		},
		{name: "crash", session: "bob", tool: "crash_once", args: snakepit.Args{"path": filepath.Join(t.TempDir(), "crashed")}, want: map[string]any{"level": "ERROR", "kind": "worker_crashed", "worker": "default-", "error": "may have been executed"}},
		{name: "no such tool", tool: "nosuch", want: map[string]any{"level": "INFO", "kind": "refused", "error": "tool not found"}},
		{name: "no such pool", tool: "echo", opts: []snakepit.CallOption{snakepit.InPool("gpu")}, want: map[string]any{"level": "INFO", "kind": "refused", "pool": "gpu"}, missing: []string{"worker"}},
		{name: "deadline", tool: "pause", args: snakepit.Args{"seconds": 60}, opts: []snakepit.CallOption{snakepit.WithTimeout(50 * time.Millisecond)}, want: map[string]any{"level": "WARN", "kind": "deadline_exceeded", "worker": "default-"}},
		{name: "canceled by the caller", tool: "echo", ctx: canceled, want: map[string]any{"level": "DEBUG", "kind": "canceled"}},
	} {
		before := len(log.of(t, "call failed"))
		ctx := t.Context()
		if c.ctx != nil {
			ctx = c.ctx
		}
		var err error
		if c.session == "" {
			_, err = e.Execute(ctx, c.tool, c.args, c.opts...)
		} else {
			_, err = e.ExecuteInSession(ctx, c.session, c.tool, c.args, c.opts...)
		}
		if err == nil {
			t.Errorf("%s: no error", c.name)
		}
		got := log.of(t, "call failed")[before:]
		if len(got) != 1 {
			t.Errorf("%s: %d records", c.name, len(got))
			continue
		}
		if c.want["pool"] == nil {
			c.want["pool"] = "default"
		}
		if c.session != "" {
			c.want["session"] = c.session
		}
		c.want["tool"] = c.tool
		for key, want := range c.want {
			if text, _ := got[0][key].(string); !strings.Contains(text, want.(string)) {
				t.Errorf("%s: %s is %v, want %q", c.name, key, got[0][key], want)
			}
		}
		for _, key := range c.missing {
			if got[0][key] != nil {
				t.Errorf("%s: %s is %v", c.name, key, got[0][key])
			}
		}
		if ms, ok := got[0]["duration_ms"].(float64); !ok || ms < 0 || c.name == "deadline" && ms < 50 {
			t.Errorf("%s: duration_ms is %v", c.name, got[0]["duration_ms"])
		}
		if got[0]["correlation_id"] == nil {
			t.Errorf("%s: no correlation id", c.name)
		}
	}
}

func TestTracebacksInTheLog(t *testing.T) {
	log := new(records)
	e := openEngine(t, func(c *snakepit.Config) {
		c.Logger = log.logger()
		c.LogTracebacks = true
	})
	for _, err := range e.StreamInSession(t.Context(), "s", "remember_then_raise", snakepit.Args{"text": "x"}) {
		if err == nil {
			t.Error("no error")
		}
	}
	got := log.of(t, "call failed")
	if len(got) != 1 {
		t.Fatalf("%d records", len(got))
	}
	if text, _ := got[0]["traceback"].(string); !strings.HasPrefix(text, "Traceback") || !strings.Contains(text, "in remember_then_raise") {
		t.Errorf("the traceback is %v", got[0]["traceback"])
	}
}

// The consumer of a stream that has enough is no failure.
func TestALeftStreamIsNoFailure(t *testing.T) {
	log := new(records)
	e := openEngine(t, func(c *snakepit.Config) { c.Logger = log.logger() })
	for range e.StreamInSession(t.Context(), "s", "count_to", snakepit.Args{"n": 5}) {
		break
	}
	enough := errors.New("enough")
	if _, err := e.StreamFunc(t.Context(), "s", "count_to", snakepit.Args{"n": 5}, func(*snakepit.Chunk) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	if got := log.of(t, "call failed"); len(got) != 0 {
		t.Errorf("records: %v", got)
	}
}

// What a tool reports with snakepit.event is in the log and in the metrics.
func TestEventsOfTools(t *testing.T) {
	log := new(records)
	reg := prometheus.NewRegistry()
	e := openEngine(t, func(c *snakepit.Config) {
		c.Logger = log.logger()
		if err := telemetry.Attach(c, reg); err != nil {
			t.Fatal(err)
		}
	})
	report := func(args snakepit.Args) {
		t.Helper()
		inSession(t, e, "alice", "report", args, snakepit.WithCorrelationID("c-7"))
	}
	report(snakepit.Args{"name": "price.found", "measurements": snakepit.Args{"base": 2.5}, "attrs": snakepit.Args{"item": "tea"}})
	report(snakepit.Args{"name": "price.found", "measurements": snakepit.Args{"base": 4}})
	report(snakepit.Args{"name": "", "measurements": snakepit.Args{}})
	report(snakepit.Args{"name": strings.Repeat("x", 129), "measurements": snakepit.Args{}})
	many := snakepit.Args{}
	for i := range 33 {
		many[strings.Repeat("m", i+1)] = i
	}
	report(snakepit.Args{"name": "many", "measurements": many})

	got := log.of(t, "event")
	if len(got) != 2 {
		t.Fatalf("events: %v", got)
	}
	for key, want := range map[string]any{"level": "INFO", "pool": "default", "event": "price.found", "session": "alice", "correlation_id": "c-7"} {
		if got[0][key] != want {
			t.Errorf("%s is %v, want %v", key, got[0][key], want)
		}
	}
	if m, _ := got[0]["measurements"].(map[string]any); m["base"] != 2.5 {
		t.Errorf("measurements: %v", got[0]["measurements"])
	}
	if a, _ := got[0]["attrs"].(map[string]any); a["item"] != "tea" {
		t.Errorf("attrs: %v", got[0]["attrs"])
	}
	refused := log.of(t, "an event is refused")
	for i, want := range []string{"it has no name", "129 bytes, at most 128", "33 measurements and attributes, at most 32"} {
		if i >= len(refused) || !strings.Contains(refused[i]["error"].(string), want) {
			t.Errorf("refusal %d lacks %q: %v", i, want, refused)
		}
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP snakepit_tool_events_total Events that tools have reported.
# TYPE snakepit_tool_events_total counter
snakepit_tool_events_total{event="price.found",pool="default"} 2
# HELP snakepit_tool_event_measurements Sum and number of what the events of tools have measured, in units of the tool's own.
# TYPE snakepit_tool_event_measurements summary
snakepit_tool_event_measurements_sum{event="price.found",measurement="base",pool="default"} 6.5
snakepit_tool_event_measurements_count{event="price.found",measurement="base",pool="default"} 2
`), "snakepit_tool_events_total", "snakepit_tool_event_measurements"); err != nil {
		t.Error(err)
	}
}

// fullStore has no room for anything.
type fullStore struct{ driver.Store }

func (fullStore) Apply(context.Context, string, *driver.Batch) (driver.Revision, error) {
	return 0, driver.ErrFull
}

// What the operator of the store has to mend is logged as an error, and not as
// a call that was refused.
func TestAFullStoreIsLoggedForItsOperator(t *testing.T) {
	log := new(records)
	e := openEngine(t, func(c *snakepit.Config) { c.Logger, c.Store = log.logger(), fullStore{memstore.New()} })
	if _, err := e.ExecuteInSession(t.Context(), "alice", "remember", snakepit.Args{"text": "x"}); !errors.Is(err, driver.ErrFull) {
		t.Fatal(err)
	}
	got := log.of(t, "call failed")
	if len(got) != 1 || got[0]["kind"] != "store_failed" || got[0]["level"] != "ERROR" {
		t.Errorf("%v", got)
	}
}
