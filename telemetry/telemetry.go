// Package telemetry makes Prometheus metrics of what sessions and pools report.
//
// The packages that are measured know nothing of it: they call the functions of
// an observer, which Metrics fills in, and whatever is a state rather than an
// event is read when it is scraped. Metrics registers on the Registerer it is
// given and starts no goroutine.
//
// # Concurrency and failure
//
// All functions are safe for concurrent use and cost two atomic additions on
// the paths that run millions of times a second. Labels have few values: never
// a session, and never a worker, which has a new generation after each restart.
// Names that come from Python, those of tools and of events, are counted; what
// is beyond the limit has the label "other".
//
// testdata/metrics.txt lists every metric; a test holds it to the code.
package telemetry

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
)

// Metrics are the metrics of one engine.
type Metrics struct {
	driver string

	operations *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	lives      *prometheus.CounterVec
	overwrites prometheus.Counter
	// operation holds the children of operations and durations that were used
	// once, by operation and result: a look-up by label costs more than a read
	// from memory.
	operation [][]atomic.Pointer[operation]

	tools  names // by pool
	events names // by pool
	// measurements by pool and event
	measurements names

	calls     *prometheus.CounterVec
	callTime  *prometheus.HistogramVec
	queueTime *prometheus.HistogramVec
	restarts  *prometheus.CounterVec
	exits     *prometheus.CounterVec
	starts    *prometheus.HistogramVec
	saturated *prometheus.CounterVec
	reported  *prometheus.CounterVec
	measured  *prometheus.SummaryVec
}

type operation struct {
	count    prometheus.Counter
	duration prometheus.Observer
}

// Buckets from a microsecond, which is a session read from memory, to the ten
// seconds after which a caller has left the queue.
var (
	operationBuckets = prometheus.ExponentialBuckets(1e-6, 4, 12)
	callBuckets      = prometheus.ExponentialBuckets(50e-6, 3, 13)
)

// Attach has the engine that is opened with cfg report to reg. It is called once
// for an engine, when the rest of cfg is set; engines that share a registry need
// prometheus.WrapRegistererWith, each with labels of its own.
func Attach(cfg *snakepit.Config, reg prometheus.Registerer) error {
	if !reflect.ValueOf(cfg.Telemetry).IsZero() || !reflect.ValueOf(cfg.Sessions.Observer).IsZero() {
		return errors.New("telemetry: Config.Telemetry or Config.Sessions.Observer is set already; attach what is to observe the engine once")
	}
	var store driver.Store = memstore.New()
	if cfg.Store != nil {
		store = cfg.Store
	}
	m, err := New(reg, driver.Describe(store).Name)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	cfg.Sessions.Observer = m.Sessions()
	cfg.Telemetry = snakepit.Telemetry{
		Workers: m.Workers(),
		Opened: func(e *snakepit.Engine) error {
			if err := reg.Register(Pools(e.Pools)); err != nil {
				return fmt.Errorf("register metrics: %w", err)
			}
			return nil
		},
	}
	return nil
}

// New registers the metrics of an engine whose sessions are kept by the named
// driver.
func New(reg prometheus.Registerer, driver string) (*Metrics, error) {
	m := &Metrics{
		driver:       driver,
		tools:        names{limit: maxTools},
		events:       names{limit: maxEvents},
		measurements: names{limit: maxMeasurements},
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "snakepit_session_operations_total", Help: "Operations on the session store.",
		}, []string{"op", "driver", "result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "snakepit_session_operation_duration_seconds", Help: "Time of operations on the session store.",
			Buckets: operationBuckets,
		}, []string{"op", "driver"}),
		lives: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "snakepit_sessions_total", Help: "Sessions created, deleted and expired.",
		}, []string{"event"}),
		overwrites: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "snakepit_session_variables_overwritten_total",
			Help: "Variables that a call set or unset although another write had changed them meanwhile.",
		}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "snakepit_pool_calls_total", Help: "Calls given to workers, by tool and result.",
		}, []string{"pool", "tool", "result"}),
		callTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "snakepit_pool_call_duration_seconds", Help: "Time of calls in workers, without queueing, by tool.",
			Buckets: callBuckets,
		}, []string{"pool", "tool"}),
		queueTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "snakepit_pool_queue_duration_seconds", Help: "Time that calls waited, for the turn of their session and for a worker.",
			Buckets: callBuckets,
		}, []string{"pool"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "snakepit_pool_restarts_total", Help: "Restarts of workers, by reason.",
		}, []string{"pool", "reason"}),
		exits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "snakepit_pool_worker_exits_total", Help: "Ends of workers, by whether they were asked to end.",
		}, []string{"pool", "expected"}),
		starts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "snakepit_pool_worker_start_duration_seconds", Help: "Time from the start of a worker until it is ready.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
		}, []string{"pool"}),
		saturated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "snakepit_pool_saturated_total", Help: "Callers refused because the queue was full.",
		}, []string{"pool"}),
		reported: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "snakepit_tool_events_total", Help: "Events that tools have reported.",
		}, []string{"pool", "event"}),
		measured: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "snakepit_tool_event_measurements", Help: "Sum and number of what the events of tools have measured, in units of the tool's own.",
		}, []string{"pool", "event", "measurement"}),
	}
	m.operation = make([][]atomic.Pointer[operation], len(session.Operations()))
	for op := range m.operation {
		m.operation[op] = make([]atomic.Pointer[operation], len(session.Results()))
	}
	for _, c := range []prometheus.Collector{
		m.operations, m.durations, m.lives, m.overwrites,
		m.calls, m.callTime, m.queueTime, m.restarts, m.exits, m.starts, m.saturated, m.reported, m.measured, buildInfo(),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Sessions returns the observer for session.Options.
func (m *Metrics) Sessions() session.Observer {
	created, deleted, expired := m.lives.WithLabelValues("created"), m.lives.WithLabelValues("deleted"), m.lives.WithLabelValues("expired")
	return session.Observer{
		Operation: func(op session.Operation, result session.Result, d time.Duration) {
			child := m.operation[op][result].Load()
			if child == nil {
				child = &operation{
					count:    m.operations.WithLabelValues(op.String(), m.driver, result.String()),
					duration: m.durations.WithLabelValues(op.String(), m.driver),
				}
				m.operation[op][result].Store(child)
			}
			child.count.Inc()
			child.duration.Observe(d.Seconds())
		},
		Created:     func(string, string) { created.Inc() },
		Deleted:     func(string, string) { deleted.Inc() },
		Expired:     func(string, string) { expired.Inc() },
		Overwritten: func(_, _ string, keys []string) { m.overwrites.Add(float64(len(keys))) },
	}
}

// Workers returns the observer for the engine's pools.
func (m *Metrics) Workers() worker.Observer {
	return worker.Observer{
		CallDone: func(c worker.CallDone) {
			tool := m.tools.label(c.Tool, c.Pool)
			m.calls.WithLabelValues(c.Pool, tool, c.Result).Inc()
			m.callTime.WithLabelValues(c.Pool, tool).Observe(c.Ran.Seconds())
			m.queueTime.WithLabelValues(c.Pool).Observe(c.Queued.Seconds())
		},
		Event: func(pool string, e worker.Event) {
			event := m.events.label(e.Name, pool)
			m.reported.WithLabelValues(pool, event).Inc()
			for name, value := range e.Measurements {
				m.measured.WithLabelValues(pool, event, m.measurements.label(name, pool, event)).Observe(value)
			}
		},
		WorkerStarted: func(pool, _ string, took time.Duration) {
			m.starts.WithLabelValues(pool).Observe(took.Seconds())
		},
		WorkerExited: func(pool, _ string, exit worker.Exit) {
			expected := "false"
			if exit.Expected {
				expected = "true"
			}
			m.exits.WithLabelValues(pool, expected).Inc()
		},
		Restart:   func(pool, reason string) { m.restarts.WithLabelValues(pool, reason).Inc() },
		Saturated: func(pool string) { m.saturated.WithLabelValues(pool).Inc() },
	}
}
