package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/health"
)

func get(t *testing.T, r *health.Registry, path string) (int, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	var body map[string]any
	if w.Code != http.StatusNotFound {
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s answered %q: %v", path, w.Body, err)
		}
	}
	return w.Code, body
}

func TestEndpoints(t *testing.T) {
	var store, cache error
	r := health.New()
	r.Add("sessions", health.Check{
		Critical: true,
		Run:      func(context.Context) error { return store },
		Detail:   func(context.Context) (any, error) { return map[string]int{"sessions": 3}, nil },
	})
	r.Add("cache", health.Check{Run: func(context.Context) error { return cache }})

	for _, c := range []struct {
		name                       string
		store, cache               error
		unready                    string
		live, ready, health, check int
	}{
		{"all is well", nil, nil, "", 200, 200, 200, 200},
		{"a critical check fails", errors.New("disk full"), nil, "", 200, 503, 503, 503},
		{"another check fails", nil, errors.New("cold"), "", 200, 200, 503, 200},
		{"stopping", nil, nil, "draining", 200, 503, 503, 200},
		{"well again", nil, nil, "", 200, 200, 200, 200},
	} {
		store, cache = c.store, c.cache
		r.SetUnready(c.unready)
		for path, want := range map[string]int{
			"/livez": c.live, "/readyz": c.ready, "/health": c.health, "/health/sessions": c.check, "/health/other": 404,
		} {
			if code, body := get(t, r, path); code != want {
				t.Errorf("%s: %s answered %d %v, want %d", c.name, path, code, body, want)
			}
		}
	}
	_, body := get(t, r, "/health/sessions")
	if detail, _ := body["detail"].(map[string]any); detail["sessions"] != 3.0 {
		t.Errorf("/health/sessions answered %v", body)
	}
}

func TestSinceIsTheLastChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var err error
		r := health.New()
		began := time.Now()
		r.Add("c", health.Check{Run: func(context.Context) error { return err }})
		since := func() time.Duration { return r.Report(t.Context()).Checks["c"].Since.Sub(began) }
		time.Sleep(time.Minute)
		if got := since(); got != 0 {
			t.Errorf("unchanged since %v", got)
		}
		err = errors.New("broken")
		if got := since(); got != time.Minute {
			t.Errorf("broken since %v", got)
		}
		time.Sleep(time.Minute)
		if got := since(); got != time.Minute {
			t.Errorf("still broken since %v", got)
		}
	})
}

func TestSlowChecksFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.New()
		for _, name := range []string{"a", "b"} {
			r.Add(name, health.Check{Timeout: time.Second, Run: func(ctx context.Context) error {
				<-ctx.Done()
				return context.Cause(ctx)
			}})
		}
		began := time.Now()
		report := r.Report(t.Context())
		if took := time.Since(began); took != time.Second {
			t.Errorf("two slow checks took %v", took)
		}
		if report.OK || report.Checks["a"].Error != "the check took too long" {
			t.Errorf("report %+v", report)
		}
	})
}
