package telemetry_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/telemetry"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// used returns a registry whose every metric has a value.
func used(t testing.TB) (*prometheus.Registry, *telemetry.Metrics) {
	t.Helper()
	reg := prometheus.NewRegistry()
	m, err := telemetry.New(reg, "memory")
	if err != nil {
		t.Fatal(err)
	}
	reg.MustRegister(telemetry.Pools(func() []snakepit.PoolInfo {
		return []snakepit.PoolInfo{{Name: "default", Size: 4, Ready: 3, Busy: 2, Queued: 7, AwaitingTurn: 4, QueueTimeouts: 5}}
	}))
	reg.MustRegister(telemetry.Log(func() uint64 { return 7 }))
	w := m.Workers()
	w.CallDone(worker.CallDone{Pool: "default", Tool: "add", Result: "ok", Queued: time.Millisecond, Ran: time.Second})
	w.Event("default", worker.Event{Name: "price.found", Measurements: map[string]float64{"base": 2}})
	w.WorkerStarted("default", "default-1", time.Second)
	w.WorkerExited("default", "default-1", worker.Exit{})
	w.Restart("default", "exited")
	w.Saturated("default")
	store, err := session.New(memstore.New(), &session.Options{Observer: m.Sessions()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if _, _, err := store.Create(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Peek(t.Context(), "missing"); err == nil {
		t.Fatal("found a session that is missing")
	}
	return reg, m
}

func TestMetricNames(t *testing.T) {
	reg, _ := used(t)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		lines = append(lines, f.GetName()+" "+strings.ToLower(f.GetType().String())+" "+strings.Join(labels, ","))
	}
	got := strings.Join(lines, "\n") + "\n"
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("metrics have changed; dashboards and alerts use these names. Now:\n%s(go test ./telemetry -update accepts that)", got)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestValues(t *testing.T) {
	reg, _ := used(t)
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP snakepit_log_records_dropped_total Log records dropped because the reader of the log was stuck or gone.
# TYPE snakepit_log_records_dropped_total counter
snakepit_log_records_dropped_total 7
# HELP snakepit_session_operations_total Operations on the session store.
# TYPE snakepit_session_operations_total counter
snakepit_session_operations_total{driver="memory",op="create",result="ok"} 2
snakepit_session_operations_total{driver="memory",op="peek",result="not_found"} 1
# HELP snakepit_sessions_total Sessions created, deleted and expired.
# TYPE snakepit_sessions_total counter
snakepit_sessions_total{event="created"} 1
snakepit_sessions_total{event="deleted"} 0
snakepit_sessions_total{event="expired"} 0
# HELP snakepit_pool_workers Workers of a pool, by state: configured, ready (busy or not), busy.
# TYPE snakepit_pool_workers gauge
snakepit_pool_workers{pool="default",state="busy"} 2
snakepit_pool_workers{pool="default",state="configured"} 4
snakepit_pool_workers{pool="default",state="ready"} 3
# HELP snakepit_pool_queue_length Calls that wait, by what for: the turn of their session, or a worker.
# TYPE snakepit_pool_queue_length gauge
snakepit_pool_queue_length{for="turn",pool="default"} 4
snakepit_pool_queue_length{for="worker",pool="default"} 3
# HELP snakepit_pool_queue_timeouts_total Callers who waited too long, for the turn of their session or for a worker.
# TYPE snakepit_pool_queue_timeouts_total counter
snakepit_pool_queue_timeouts_total{pool="default"} 5
`), "snakepit_log_records_dropped_total", "snakepit_session_operations_total", "snakepit_sessions_total", "snakepit_pool_workers", "snakepit_pool_queue_length", "snakepit_pool_queue_timeouts_total")
	if err != nil {
		t.Error(err)
	}
}

// TestEveryOperationAndResult drives the observer with all there are, from many
// goroutines, and finds each counted.
func TestEveryOperationAndResult(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := telemetry.New(reg, "memory")
	if err != nil {
		t.Fatal(err)
	}
	observe := m.Sessions().Operation
	const callers, each = 8, 5
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				for _, op := range session.Operations() {
					for _, result := range session.Results() {
						observe(op, result, time.Microsecond)
					}
				}
			}
		})
	}
	all.Wait()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	operations, results := len(session.Operations()), len(session.Results())
	for _, f := range families {
		switch f.GetName() {
		case "snakepit_session_operations_total":
			if len(f.Metric) != operations*results {
				t.Errorf("%d counters", len(f.Metric))
			}
			for _, c := range f.Metric {
				if c.Counter.GetValue() != callers*each {
					t.Errorf("%v", c)
				}
			}
		case "snakepit_session_operation_duration_seconds":
			if len(f.Metric) != operations {
				t.Errorf("%d histograms", len(f.Metric))
			}
			for _, h := range f.Metric {
				if h.Histogram.GetSampleCount() != uint64(callers*each*results) {
					t.Errorf("%v", h)
				}
			}
		}
	}
}

// Names that come from Python make no more series than their limit.
func TestNamesFromPythonAreBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := telemetry.New(reg, "memory")
	if err != nil {
		t.Fatal(err)
	}
	w := m.Workers()
	for range 2 { // a name that was known once stays known
		for i := range 500 {
			name := fmt.Sprint("name-", i)
			w.CallDone(worker.CallDone{Pool: "p", Tool: name, Result: "ok"})
			w.Event("p", worker.Event{Name: name, Measurements: map[string]float64{"n": 1}})
			w.Event("p", worker.Event{Name: "name-0", Measurements: map[string]float64{name: 1}})
		}
	}
	w.CallDone(worker.CallDone{Pool: "p", Result: "refused"}) // a name that the caller made up
	w.CallDone(worker.CallDone{Pool: "q", Tool: "name-499", Result: "ok"})
	counts := make(map[string]int)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		counts[f.GetName()] = len(f.Metric)
		for _, series := range f.Metric {
			key := f.GetName()
			for _, l := range series.Label {
				key += " " + l.GetName() + "=" + l.GetValue()
			}
			values[key] = series.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]int{
		"snakepit_pool_calls_total":            100 + 2 + 1, // and "other" twice, and the other pool's
		"snakepit_pool_call_duration_seconds":  100 + 1 + 1,
		"snakepit_tool_events_total":           100 + 1,
		"snakepit_tool_event_measurements":     100 + 1 + 20,
		"snakepit_pool_queue_duration_seconds": 2,
	} {
		if counts[name] != want {
			t.Errorf("%s has %d series, want %d", name, counts[name], want)
		}
	}
	for key, want := range map[string]float64{
		"snakepit_pool_calls_total pool=p result=ok tool=name-0":     2,
		"snakepit_pool_calls_total pool=p result=ok tool=other":      800,
		"snakepit_pool_calls_total pool=p result=refused tool=other": 1,
		"snakepit_pool_calls_total pool=q result=ok tool=name-499":   1,
		"snakepit_tool_events_total event=other pool=p":              800,
		"snakepit_tool_events_total event=name-0 pool=p":             1002,
	} {
		if values[key] != want {
			t.Errorf("%s is %v, want %v", key, values[key], want)
		}
	}
}

// One call is all that an embedding program needs.
func TestAttach(t *testing.T) {
	reg := prometheus.NewRegistry()
	cfg := snakepit.Config{Pools: []snakepit.PoolConfig{{Workers: 1, Transport: new(workertest.Fake)}}}
	if err := telemetry.Attach(&cfg, reg); err != nil {
		t.Fatal(err)
	}
	e, err := snakepit.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.ExecuteInSession(t.Context(), "s", "echo", snakepit.Args{"value": 1}); err != nil {
		t.Fatal(err)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP snakepit_pool_calls_total Calls given to workers, by tool and result.
# TYPE snakepit_pool_calls_total counter
snakepit_pool_calls_total{pool="default",result="ok",tool="echo"} 1
# HELP snakepit_pool_workers Workers of a pool, by state: configured, ready (busy or not), busy.
# TYPE snakepit_pool_workers gauge
snakepit_pool_workers{pool="default",state="busy"} 0
snakepit_pool_workers{pool="default",state="configured"} 1
snakepit_pool_workers{pool="default",state="ready"} 1
# HELP snakepit_sessions_total Sessions created, deleted and expired.
# TYPE snakepit_sessions_total counter
snakepit_sessions_total{event="created"} 1
snakepit_sessions_total{event="deleted"} 0
snakepit_sessions_total{event="expired"} 0
`), "snakepit_pool_calls_total", "snakepit_pool_workers", "snakepit_sessions_total"); err != nil {
		t.Error(err)
	}

	// What was set already is not thrown away in silence.
	if err := telemetry.Attach(&cfg, prometheus.NewRegistry()); err == nil {
		t.Error("attached twice to one configuration")
	}
	if err := telemetry.Attach(&snakepit.Config{}, reg); err == nil {
		t.Error("attached two engines to one registry")
	}
}

func TestTwoEnginesNeedTwoRegisterers(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := telemetry.New(reg, "memory"); err != nil {
		t.Fatal(err)
	}
	if _, err := telemetry.New(reg, "memory"); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

func BenchmarkOperation(b *testing.B) {
	m, err := telemetry.New(prometheus.NewRegistry(), "memory")
	if err != nil {
		b.Fatal(err)
	}
	observe := m.Sessions().Operation
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			observe(session.OpGet, session.ResultOK, time.Microsecond)
		}
	})
}

// BenchmarkMemoryGet reads sessions from memory by 64 callers, once unobserved
// and once with the metrics on.
func BenchmarkMemoryGet(b *testing.B) {
	for _, observed := range []bool{false, true} {
		b.Run(fmt.Sprintf("observed=%t", observed), func(b *testing.B) {
			m, err := telemetry.New(prometheus.NewRegistry(), "memory")
			if err != nil {
				b.Fatal(err)
			}
			opts := &session.Options{MaxSessions: -1}
			if observed {
				opts.Observer = m.Sessions()
			}
			store, err := session.New(memstore.New(), opts)
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			ids := make([]string, 10_000)
			for i := range ids {
				ids[i] = fmt.Sprintf("session-%d", i)
				if _, _, err := store.Create(b.Context(), ids[i], nil); err != nil {
					b.Fatal(err)
				}
			}
			b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				ctx, i := b.Context(), rand.IntN(len(ids))
				for pb.Next() {
					if i++; i == len(ids) {
						i = 0
					}
					if _, err := store.Get(ctx, ids[i]); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}
