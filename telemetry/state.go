package telemetry

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/snakepit-go/snakepit"
)

// Log returns a collector of how many log records were dropped because nobody
// read them, which it asks for when it is scraped.
func Log(dropped func() uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "snakepit_log_records_dropped_total", Help: "Log records dropped because the reader of the log was stuck or gone.",
	}, func() float64 { return float64(dropped()) })
}

// Pools returns a collector of the state of pools, which it reads when it is
// scraped.
func Pools(read func() []snakepit.PoolInfo) prometheus.Collector {
	return poolCollector(read)
}

type poolCollector func() []snakepit.PoolInfo

var (
	poolWorkers = prometheus.NewDesc("snakepit_pool_workers", "Workers of a pool, by state: configured, ready (busy or not), busy.",
		[]string{"pool", "state"}, nil)
	poolQueue         = prometheus.NewDesc("snakepit_pool_queue_length", "Calls that wait, by what for: the turn of their session, or a worker.", []string{"pool", "for"}, nil)
	poolQueueTimeouts = prometheus.NewDesc("snakepit_pool_queue_timeouts_total", "Callers who waited too long, for the turn of their session or for a worker.", []string{"pool"}, nil)
)

// Describe implements prometheus.Collector.
func (poolCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- poolWorkers
	ch <- poolQueue
	ch <- poolQueueTimeouts
}

// Collect implements prometheus.Collector.
func (read poolCollector) Collect(ch chan<- prometheus.Metric) {
	for _, p := range read() {
		for state, n := range map[string]int{"configured": p.Size, "ready": p.Ready, "busy": p.Busy} {
			ch <- prometheus.MustNewConstMetric(poolWorkers, prometheus.GaugeValue, float64(n), p.Name, state)
		}
		ch <- prometheus.MustNewConstMetric(poolQueue, prometheus.GaugeValue, float64(p.AwaitingTurn), p.Name, "turn")
		ch <- prometheus.MustNewConstMetric(poolQueue, prometheus.GaugeValue, float64(p.Queued-p.AwaitingTurn), p.Name, "worker")
		ch <- prometheus.MustNewConstMetric(poolQueueTimeouts, prometheus.CounterValue, float64(p.QueueTimeouts), p.Name)
	}
}

// module is ours, which may be the program or a part of it.
const module = "github.com/snakepit-go/snakepit"

// buildInfo is a metric that says what is running.
func buildInfo() prometheus.Collector {
	labels := prometheus.Labels{"version": "unknown", "revision": "unknown", "goversion": "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		labels["goversion"] = info.GoVersion
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == module && m.Version != "" {
				labels["version"] = m.Version
			}
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && info.Main.Path == module {
				labels["revision"] = s.Value
			}
		}
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "snakepit_build_info", Help: "1, with the version, revision and Go version of the program as labels.", ConstLabels: labels,
	}, func() float64 { return 1 })
}
