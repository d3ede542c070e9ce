// Package health keeps named checks and answers /livez, /readyz and /health
// from them.
//
// The process is alive as long as it answers: /livez never fails for a store or
// a pool, because a restart would not mend those. It is ready while every
// critical check passes; /readyz runs only those, and no details. A Registry
// runs its checks when it is asked, all at once, and remembers when each of them
// last changed and what it last failed with.
//
// # Concurrency and failure
//
// All methods are safe for concurrent use. Whoever asks while a check runs
// shares its answer, so that many probes cost no more than one. A check that
// does not return within its time counts as failed, and is not started again
// before it has returned.
package health

import (
	"context"
	"encoding/json"
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
	// Timeout bounds Run and Detail, each; 2 s if it is 0.
	Timeout time.Duration
}

// Status is what a check said.
type Status struct {
	OK       bool   `json:"ok"`
	Critical bool   `json:"critical"`
	Error    string `json:"error,omitempty"`
	// Since is when OK last changed, or the check was added.
	Since time.Time `json:"since"`
	// LastError is the last one there was, at LastFailed.
	LastError  string    `json:"last_error,omitempty"`
	LastFailed time.Time `json:"last_failed,omitzero"`
	Detail     any       `json:"detail,omitempty"`
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
	checks map[string]*check
	// unready, if not empty, is why the process is not ready, whatever the
	// checks say, and unreadySince when it was said.
	unready      string
	unreadySince time.Time
}

// check is a Check with what it said last.
type check struct {
	critical    bool
	run, detail *flight

	mu   sync.Mutex // guards last
	last Status
}

// New returns a registry without checks.
func New() *Registry { return &Registry{checks: make(map[string]*check)} }

// Add adds a check, replacing one of the same name.
func (r *Registry) Add(name string, c Check) {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	added := &check{critical: c.Critical, last: Status{OK: true, Critical: c.Critical, Since: time.Now()}}
	added.run = newFlight(c.Timeout, func(ctx context.Context) (any, error) { return nil, c.Run(ctx) })
	if c.Detail != nil {
		added.detail = newFlight(c.Timeout, c.Detail)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks[name] = added
}

// SetUnready makes the process not ready for a reason, such as a shutdown; an
// empty reason ends that.
func (r *Registry) SetUnready(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unready, r.unreadySince = reason, time.Now()
}

// Report runs the named checks, or all if none is named, with their details.
func (r *Registry) Report(ctx context.Context, names ...string) Report {
	return r.report(ctx, true, func(name string, _ *check) bool { return len(names) == 0 || slices.Contains(names, name) })
}

// Ready runs the critical checks.
func (r *Registry) Ready(ctx context.Context) Report {
	return r.report(ctx, false, func(_ string, c *check) bool { return c.critical })
}

func (r *Registry) report(ctx context.Context, details bool, wanted func(string, *check) bool) Report {
	r.mu.Lock()
	checks := maps.Clone(r.checks)
	unready := Status{Critical: true, Error: r.unready, Since: r.unreadySince}
	r.mu.Unlock()
	maps.DeleteFunc(checks, func(name string, c *check) bool { return !wanted(name, c) })

	report := Report{OK: true, Ready: true, Checks: make(map[string]Status, len(checks)+1)}
	var all sync.WaitGroup
	var mu sync.Mutex // guards report
	add := func(name string, s Status) {
		mu.Lock()
		defer mu.Unlock()
		report.Checks[name] = s
		report.OK = report.OK && s.OK
		report.Ready = report.Ready && (s.OK || !s.Critical)
	}
	for name, c := range checks {
		all.Go(func() { add(name, c.status(ctx, details)) })
	}
	if unready.Error != "" {
		add("process", unready)
	}
	all.Wait()
	return report
}

func (c *check) status(ctx context.Context, details bool) Status {
	_, err := c.run.do(ctx)
	var detail any
	if details && c.detail != nil {
		var detailErr error
		if detail, detailErr = c.detail.do(ctx); err == nil {
			err = detailErr
		}
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && ctx.Err() != nil {
		// Who asked has left; that says nothing about the check.
		status := c.last
		status.OK, status.Error = false, err.Error()
		return status
	}
	if ok := err == nil; ok != c.last.OK {
		c.last.OK, c.last.Since = ok, now
	}
	c.last.Error = ""
	if err != nil {
		c.last.Error, c.last.LastError, c.last.LastFailed = err.Error(), err.Error(), now
	}
	status := c.last
	status.Detail = detail
	return status
}

// Handler serves /livez, /readyz with the critical checks, /health with all
// checks, and /health/NAME with one. The answers are JSON; the status is 200 if all is well and 503
// otherwise.
func (r *Registry) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		write(w, true, map[string]bool{"ok": true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) {
		report := r.Ready(req.Context())
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
