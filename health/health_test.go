package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func TestLastErrorIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := errors.New("disk full")
		r := health.New()
		r.Add("store", health.Check{Critical: true, Run: func(context.Context) error { return err }})
		r.Ready(t.Context())
		failed := time.Now()
		time.Sleep(time.Minute)
		err = nil
		s := r.Ready(t.Context()).Checks["store"]
		if !s.OK || s.Error != "" || s.LastError != "disk full" || !s.LastFailed.Equal(failed) || !s.Since.Equal(time.Now()) {
			t.Errorf("the status is %+v", s)
		}
	})
}

func TestReadinessRunsWhatItNeeds(t *testing.T) {
	r := health.New()
	never := func(context.Context) (any, error) { t.Error("a detail was asked for"); return nil, nil }
	r.Add("critical", health.Check{Critical: true, Run: func(context.Context) error { return nil }, Detail: never})
	r.Add("other", health.Check{Run: func(context.Context) error { t.Error("a check that is not critical ran"); return nil }})
	if code, body := get(t, r, "/readyz"); code != http.StatusOK || len(body["checks"].(map[string]any)) != 1 {
		t.Errorf("/readyz answered %d %v", code, body)
	}
}

// TestStuckCheckHoldsNobodyUp has a check that is deaf to its context: probes
// go on, and it is not started twice.
func TestStuckCheckHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started atomic.Int32
		release := make(chan struct{})
		r := health.New()
		r.Add("stuck", health.Check{Critical: true, Timeout: time.Second, Run: func(context.Context) error {
			started.Add(1)
			<-release
			return nil
		}})
		var probes sync.WaitGroup
		for i := range 5 {
			probes.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				began := time.Now()
				if report := r.Ready(t.Context()); report.Ready || report.Checks["stuck"].Error != "the check took too long" {
					t.Errorf("probe %d got %+v", i, report)
				}
				if took := time.Since(began); took != time.Second {
					t.Errorf("probe %d took %v", i, took)
				}
			})
		}
		probes.Wait()
		if n := started.Load(); n != 1 {
			t.Errorf("the check was started %d times", n)
		}
		close(release)
		synctest.Wait()
		if report := r.Ready(t.Context()); !report.Ready || started.Load() != 2 {
			t.Errorf("after its return: %+v, started %d times", report, started.Load())
		}
	})
}

func TestWhoAsksMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := health.New()
		r.Add("slow", health.Check{Timeout: time.Hour, Run: func(ctx context.Context) error {
			<-release
			return ctx.Err()
		}})
		gone := errors.New("gone")
		ctx, leave := context.WithCancelCause(t.Context())
		stayed := make(chan health.Report)
		go func() { stayed <- r.Report(t.Context()) }()
		synctest.Wait()
		go func() { synctest.Wait(); leave(gone) }()
		if report := r.Report(ctx); report.Checks["slow"].Error != "gone" {
			t.Errorf("who left got %+v", report)
		}
		close(release)
		if report := <-stayed; !report.OK || report.Checks["slow"].LastError != "" {
			t.Errorf("who stayed got %+v", report)
		}
	})
}
