package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/health"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func TestHealth(t *testing.T) {
	engine, err := snakepit.Open(t.Context(), snakepit.Config{
		Pools:  []snakepit.PoolConfig{{Workers: 1, Transport: new(workertest.Fake)}},
		RunDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	var store error
	checks := health.New()
	checks.Add("store", health.Check{Critical: true, Run: func(context.Context) error { return store }})
	c, _ := dial(t, server.New(server.Options{Engine: engine, Health: checks.Handler()}))

	for _, store = range []error{nil, errors.New("disk full"), nil} {
		for _, path := range []string{"/health", "/readyz"} {
			body, ok, err := c.Health(t.Context(), path)
			var report health.Report
			if err != nil || json.Unmarshal(body, &report) != nil {
				t.Fatalf("%s answered %s (%v)", path, body, err)
			}
			text := report.Checks["store"].Error
			if ok != (store == nil) || report.Ready != ok || ok != (text == "") || !ok && text != store.Error() {
				t.Errorf("%s with %v: %t, %s", path, store, ok, body)
			}
		}
	}
	if body, ok, err := c.Health(t.Context(), "/livez"); err != nil || !ok || strings.TrimSpace(string(body)) != `{"ok":true}` {
		t.Errorf("/livez answered %s, %t (%v)", body, ok, err)
	}
	if body, _, err := c.Health(t.Context(), "/health/nosuch"); err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("a check that is missing: %s (%v)", body, err)
	}
}

// TestHealthThatIsNotServed: an engine served without checks is not one that is unwell.
func TestHealthThatIsNotServed(t *testing.T) {
	engine, err := snakepit.Open(t.Context(), snakepit.Config{
		Pools:  []snakepit.PoolConfig{{Workers: 1, Transport: new(workertest.Fake)}},
		RunDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	c, _ := dial(t, server.New(server.Options{Engine: engine}))
	if body, ok, err := c.Health(t.Context(), "/health"); err == nil || ok || body != nil || !strings.Contains(err.Error(), "404 Not Found: there is nothing at /health") {
		t.Errorf("answered %q, %t (%v)", body, ok, err)
	}
}

// TestHealthOfOthers asks what is no snakepit server, such as a proxy before
// one that is down.
func TestHealthOfOthers(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<html>bad gateway</html>"))
	}))
	defer proxy.Close()
	c, err := client.New(proxy.URL, &client.Options{HTTPClient: proxy.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if body, ok, err := c.Health(t.Context(), "/health"); err == nil || ok || body != nil ||
		!strings.Contains(err.Error(), "502 Bad Gateway") || !strings.Contains(err.Error(), proxy.URL) {
		t.Errorf("answered %q, %t (%v)", body, ok, err)
	}
}
