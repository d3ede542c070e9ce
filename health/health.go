// Package health keeps named checks and answers /livez, /readyz and /health
// from them.
//
// The process is alive as long as it answers: /livez never fails for a store or
// a pool, because a restart would not mend those. It is ready while every
// critical check passes. A Registry runs its checks when it is asked, each
// within its time, all at once, and remembers when each of them last changed.
//
// # Concurrency and failure
//
// All methods are safe for concurrent use. A check that does not return within
// its time counts as failed; it must return soon after its context ends.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// defaultTimeout bounds a check that has no time of its own.
const defaultTimeout = 2 * time.Second

// Check is something that can be in order or not.
type Check struct {
	// Run returns nil, or what is not in order.
	Run func(context.Context) error
	// Detail, if not nil, returns what else there is to know, as JSON can
	// show it.
	Detail func(context.Context) (any, error)
	// Critical checks decide readiness.
	Critical bool
	// Timeout bounds Run and Detail; 2 s if it is 0.
	Timeout time.Duration
}

// Status is what a check said.
type Status struct {
	OK       bool   `json:"ok"`
	Critical bool   `json:"critical"`
	Error    string `json:"error,omitempty"`
	// Since is when OK last changed, or the check was added.
	Since  time.Time `json:"since"`
	Detail any       `json:"detail,omitempty"`
}

// Report is what all checks said.
type Report struct {
	OK     bool              `json:"ok"`
	Ready  bool              `json:"ready"`
	Checks map[string]Status `json:"checks"`
}

// Registry holds checks.
type Registry struct {
	mu     sync.Mutex // guards the fields below
	checks map[string]Check
	last   map[string]Status
	// unready, if not empty, is why the process is not ready, whatever the
	// checks say.
	unready string
}

// New returns a registry without checks.
func New() *Registry {
	return &Registry{checks: make(map[string]Check), last: make(map[string]Status)}
}

// Add adds a check, replacing one of the same name.
func (r *Registry) Add(name string, c Check) {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks[name] = c
	r.last[name] = Status{OK: true, Critical: c.Critical, Since: time.Now()}
}

// SetUnready makes the process not ready for a reason, such as a shutdown; an
// empty reason ends that.
func (r *Registry) SetUnready(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unready = reason
}

// Report runs the named checks, or all if none is named.
func (r *Registry) Report(ctx context.Context, names ...string) Report {
	r.mu.Lock()
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(r.checks))
	}
	checks := make(map[string]Check, len(names))
	for _, name := range names {
		if c, ok := r.checks[name]; ok {
			checks[name] = c
		}
	}
	unready := r.unready
	r.mu.Unlock()

	results := make(map[string]Status, len(checks))
	var all sync.WaitGroup
	var mu sync.Mutex
	for name, c := range checks {
		all.Go(func() {
			status := c.status(ctx)
			mu.Lock()
			defer mu.Unlock()
			results[name] = status
		})
	}
	all.Wait()

	report := Report{OK: unready == "", Ready: unready == "", Checks: results}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, status := range results {
		status.Since = time.Now()
		if last := r.last[name]; last.OK == status.OK {
			status.Since = last.Since
		}
		results[name], r.last[name] = status, status
		report.OK = report.OK && status.OK
		report.Ready = report.Ready && (status.OK || !status.Critical)
	}
	if unready != "" {
		results["process"] = Status{Critical: true, Error: unready, Since: time.Now()}
	}
	return report
}

func (c Check) status(ctx context.Context) Status {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, errors.New("the check took too long"))
	defer cancel()
	status := Status{OK: true, Critical: c.Critical}
	if err := c.Run(ctx); err != nil {
		status.OK, status.Error = false, err.Error()
	}
	if c.Detail != nil {
		detail, err := c.Detail(ctx)
		if err != nil && status.OK {
			status.OK, status.Error = false, err.Error()
		}
		status.Detail = detail
	}
	return status
}

// Handler serves /livez, /readyz, /health with all checks, and /health/NAME
// with one. The answers are JSON; the status is 200 if all is well and 503
// otherwise.
func (r *Registry) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		write(w, true, map[string]bool{"ok": true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) {
		report := r.Report(req.Context())
		write(w, report.Ready, report)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, req *http.Request) {
		report := r.Report(req.Context())
		write(w, report.OK, report)
	})
	mux.HandleFunc("GET /health/{name}", func(w http.ResponseWriter, req *http.Request) {
		status, ok := r.Report(req.Context(), req.PathValue("name")).Checks[req.PathValue("name")]
		if !ok {
			http.NotFound(w, req)
			return
		}
		write(w, status.OK, status)
	})
	return mux
}

func write(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// An error here means that the client has left.
	_ = json.NewEncoder(w).Encode(body)
}
