package server_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a server over an engine whose workers live in this process.
type running struct {
	*server.Server
	url    string
	engine *snakepit.Engine
	log    *logBuffer
	ended  chan error
}

// logBuffer collects log records as text.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// requests are the lines about requests so far.
func (b *logBuffer) requests() (lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		if strings.Contains(line, "msg=request") {
			lines = append(lines, line)
		}
	}
	return lines
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func serve(t testing.TB, change func(*snakepit.Config, *server.Options)) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, change)
}

func serveOn(t testing.TB, l net.Listener, change func(*snakepit.Config, *server.Options)) *running {
	t.Helper()
	r := &running{log: new(logBuffer), ended: make(chan error, 1)}
	cfg := snakepit.Config{
		Pools:  []snakepit.PoolConfig{{Workers: 2, Transport: new(workertest.Fake)}},
		RunDir: t.TempDir(),
	}
	opts := server.Options{Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&cfg, &opts)
	}
	var err error
	if r.engine, err = snakepit.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	opts.Engine = r.engine
	r.Server = server.New(opts)
	r.url = "http://" + l.Addr().String()
	go func() { r.ended <- r.Serve(l) }()
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		if err := r.engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// httpClient speaks HTTP/1.1 or h2c.
func httpClient(t testing.TB, http2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// protocol is a way to speak to the server.
type protocol struct {
	name    string
	http2   bool
	options []connect.ClientOption
}

var protocols = []protocol{
	{"connect, HTTP/1.1", false, nil},
	{"connect, h2c", true, nil},
	{"connect with JSON, HTTP/1.1", false, []connect.ClientOption{connect.WithCodec(server.JSONCodec)}},
	{"connect with JSON, h2c", true, []connect.ClientOption{connect.WithCodec(server.JSONCodec), connect.WithSendGzip()}},
	{"gRPC, h2c", true, []connect.ClientOption{connect.WithGRPC()}},
	{"gRPC with JSON, h2c", true, []connect.ClientOption{connect.WithGRPC(), connect.WithCodec(server.JSONCodec)}},
	{"gRPC-Web, HTTP/1.1", false, []connect.ClientOption{connect.WithGRPCWeb()}},
	{"gRPC-Web, h2c", true, []connect.ClientOption{connect.WithGRPCWeb(), connect.WithSendGzip()}},
}

func eachProtocol(t *testing.T, r *running, f func(t *testing.T, calls snakepitv1connect.ExecutionServiceClient, sessions snakepitv1connect.SessionServiceClient)) {
	t.Helper()
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			c := httpClient(t, p.http2)
			f(t, snakepitv1connect.NewExecutionServiceClient(c, r.url, p.options...), snakepitv1connect.NewSessionServiceClient(c, r.url, p.options...))
		})
	}
}

// answer is what came back for a plain HTTP request.
type answer struct {
	status int
	header http.Header
	body   string
}

// post sends JSON as curl does.
func (r *running) post(t testing.TB, procedure, body string, header ...string) answer {
	t.Helper()
	return r.send(t, http.MethodPost, procedure, body, append([]string{"Content-Type", "application/json"}, header...)...)
}

func (r *running) send(t testing.TB, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	res, err := httpClient(t, false).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

// brokenListener accepts nothing.
type brokenListener struct{}

func (brokenListener) Accept() (net.Conn, error) { return nil, errOutOfFiles }
func (brokenListener) Close() error              { return nil }
func (brokenListener) Addr() net.Addr            { return &net.TCPAddr{} }
