package server_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/internal/wireerr"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// TestBytesInWorkAreBounded fills the budget of requests with calls that run:
// large ones are refused then by every protocol, also ones that are small only
// as long as they are compressed; small ones are served.
func TestBytesInWorkAreBounded(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	wait := workertest.Tool{
		Tool: worker.Tool{Name: "wait"},
		Run: func(*workertest.Invocation) (any, error) {
			began <- struct{}{}
			<-goOn
			return nil, nil
		},
	}
	echo := workertest.Tool{
		Tool: worker.Tool{Name: "echo"},
		Run:  func(*workertest.Invocation) (any, error) { return nil, nil },
	}
	const mib = 1 << 20
	r := serve(t, func(cfg *snakepit.Config, opts *server.Options) {
		cfg.Pools[0].Transport, cfg.Pools[0].Workers = &workertest.Fake{Tools: []workertest.Tool{wait, echo}}, 4
		opts.MaxRequest, opts.MaxBytesInWork = 6*mib, 12*mib // 10.5 MiB of it for large requests
	})
	// More than what Connect's handlers read of a refused body by themselves.
	large := func(tool string) string {
		return `{"invocation":{"tool":"` + tool + `","arguments":{"value":"` + strings.Repeat("x", 5*mib) + `"}}}`
	}
	ended := make(chan answer, 2)
	for range 2 {
		go func() { ended <- r.post(t, execute, large("wait")) }()
		<-began
	}

	res := r.post(t, execute, large("echo"))
	if res.status != http.StatusTooManyRequests || res.header.Get("Retry-After") == "" || !strings.Contains(compact(res.body), `"overloaded"`) ||
		!strings.Contains(res.body, "of at most 12582912 (limits.bytes_in_work)") {
		t.Errorf("one more large request is answered %d %.300s", res.status, res.body)
	}
	// The two that run hold their arguments at least, and no more than was sent.
	use := regexp.MustCompile(`and (\d+) bytes of requests are in work`).FindStringSubmatch(res.body)
	if use == nil {
		t.Fatalf("the refusal does not say what is in work: %.300s", res.body)
	}
	if n, err := strconv.Atoi(use[1]); err != nil || n < 2*5*mib || n > 2*len(large("wait")) {
		t.Errorf("two requests of 5 MiB count as %s bytes in work", use[1])
	}
	req := call("echo", `{"value":"`+strings.Repeat("x", 5*mib)+`"}`)
	_, err := snakepitv1connect.NewExecutionServiceClient(httpClient(t, true), r.url, connect.WithGRPC()).Execute(t.Context(), req)
	if !errors.Is(wireerr.Decode(err), client.ErrOverloaded) {
		t.Errorf("over gRPC: %v", err)
	}
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	if _, err := w.Write([]byte(large("echo"))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if res := r.post(t, execute, bomb.String(), "Content-Encoding", "gzip"); res.status != http.StatusTooManyRequests {
		t.Errorf("%d bytes that are 5 MiB when decompressed are answered %d %.300s", bomb.Len(), res.status, res.body)
	}
	if res := r.post(t, execute, echoCall); res.status != http.StatusOK {
		t.Errorf("a small request is answered %d %s", res.status, res.body)
	}

	close(goOn)
	for range 2 {
		if res := <-ended; res.status != http.StatusOK {
			t.Errorf("a call that filled the budget is answered %d %s", res.status, res.body)
		}
	}
	for range 2 { // what was held has been given back, by the refused ones as well
		if res := r.post(t, execute, large("echo")); res.status != http.StatusOK {
			t.Errorf("when there is room again: %d %.300s", res.status, res.body)
		}
		if res := r.post(t, execute, bomb.String(), "Content-Encoding", "gzip"); res.status != http.StatusOK {
			t.Errorf("when there is room again, compressed: %d %.300s", res.status, res.body)
		}
	}
}

// TestUploadsTakeNoMoreThanTheirMessages sends a program that is larger than
// all requests together may be.
func TestUploadsTakeNoMoreThanTheirMessages(t *testing.T) {
	r := serve(t, func(_ *snakepit.Config, opts *server.Options) { opts.MaxRequest, opts.MaxBytesInWork = 1<<20, 2<<20 })
	r.post(t, create, `{"id":"s"}`)
	eachProtocol(t, r, func(t *testing.T, _ snakepitv1connect.ExecutionServiceClient, sessions snakepitv1connect.SessionServiceClient) {
		if err := upload(t, sessions, "p", make([]byte, 600<<10), 8); err != nil {
			t.Error(err)
		}
	})
}
