package app

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/snakepit-go/snakepit/health"
)

// registry returns where metrics go, and the handler that serves them unless that is the program's own registry.
func (a *App) registry() (prometheus.Registerer, http.Handler) {
	if a.opts.Registerer != nil {
		return a.opts.Registerer, nil
	}
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r, promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// addChecks adds what /readyz and /health tell of. Counting the sessions looks at all of them, so readiness does not wait
// for it: the store counts as ready if it answers.
func (a *App) addChecks() {
	sessions := a.engine.Sessions()
	a.health.Add("store", health.Check{Critical: true, Run: sessions.Ping})
	a.health.Add("sessions", health.Check{
		Run: sessions.Ping,
		Detail: func(ctx context.Context) (any, error) {
			s, err := sessions.Stats(ctx)
			if err != nil {
				return nil, err
			}
			detail := map[string]any{
				"driver": s.Driver, "sessions": s.Sessions, "max_sessions": s.MaxSessions, "bytes": s.Bytes, "max_bytes": s.MaxBytes,
				"created": s.Created, "deleted": s.Deleted, "expired": s.Expired, "sweeps": s.Sweeps,
				"damaged": s.Damaged,
			}
			if s.MaxSessions > 0 {
				detail["utilization"] = float64(s.Sessions) / float64(s.MaxSessions)
			}
			return detail, nil
		},
	})
	a.health.Add("pools", health.Check{
		Critical: true,
		Run:      func(context.Context) error { return a.engine.Ready() },
		Detail: func(context.Context) (any, error) {
			pools := make(map[string]any)
			for _, p := range a.engine.Pools() {
				pools[p.Name] = map[string]int{"size": p.Size, "ready": p.Ready, "busy": p.Busy, "queued": p.Queued, "awaiting_turn": p.AwaitingTurn}
			}
			return pools, nil
		},
	})
}
