package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/internal/testenv"
)

// The program is used as its page says, twice: what was ordered is there after a
// restart.
func TestEmbedded(t *testing.T) {
	testenv.Python(t)
	data := filepath.Join(t.TempDir(), "orders")
	for _, want := range []string{"2 items, 9.20", "4 items, 18.40"} {
		ctx, stop := context.WithCancel(t.Context())
		out, ready := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			ended <- run(ctx, []string{"-tools", "tools.py", "-data", data, "-listen", "127.0.0.1:0"}, ready, io.Discard)
			_ = ready.Close()
		}()
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("%v, %v", err, <-ended)
		}
		url := strings.TrimPrefix(strings.TrimSpace(line), "ready at ")

		get(t, url+"/order?customer=alice&item=tea&count=2", 200)
		if got := get(t, url+"/order?customer=alice&item=cake&count=1", 200); strings.TrimSpace(got) != want {
			t.Errorf("order: %q, want %q", got, want)
		}
		if got := get(t, url+"/order?customer=alice&item=stone&count=1", 422); !strings.Contains(got, `there is no "stone"`) {
			t.Errorf("an item that there is not: %q", got)
		}
		if got := get(t, url+"/metrics", 200); !strings.Contains(got, `snakepit_pool_calls_total{pool="default",result="ok",tool="order"} 2`) {
			t.Errorf("metrics: %s", got)
		}
		// The same engine, served.
		c, err := client.New(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		alice, err := c.Peek(t.Context(), "alice", nil)
		if err != nil || !strings.Contains(string(alice.Vars), "cake") {
			t.Errorf("%+v, %v", alice, err)
		}
		c.Close()
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

func get(t *testing.T, url string, status int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		t.Fatalf("%s: %s, %v: %s", url, res.Status, err, body)
	}
	return string(body)
}
