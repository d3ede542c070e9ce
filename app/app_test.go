package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/app"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/config"
	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// settings are those of a daemon with the tools of the engine's tests, on any free port.
func settings(t *testing.T) config.Config {
	t.Helper()
	c := config.Default()
	c.Listen = "127.0.0.1:0"
	c.RunDir = t.TempDir()
	c.Node = "node"
	c.Pools[0].Python = "../testdata/tools.py"
	c.Pools[0].Interpreter = testenv.Python(t)
	c.Pools[0].Workers = 1
	return c
}

func newApp(t *testing.T, c config.Config, opts app.Options) *app.App {
	t.Helper()
	a, err := app.New(c, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start starts a daemon that the end of the test stops, if nobody has before.
func start(t *testing.T, c config.Config, opts app.Options) *app.App {
	t.Helper()
	a := newApp(t, c, opts)
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, a) })
	return a
}

func stop(t *testing.T, a *app.App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, a *app.App) *client.Client {
	t.Helper()
	c, err := client.New(a.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// get returns the status and the body of a page; 0 if there is no server.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestStartServeStop(t *testing.T) {
	a := start(t, settings(t), app.Options{})
	if host, port, err := net.SplitHostPort(a.Address()); err != nil || host != "127.0.0.1" || port == "0" || a.URL() != "http://"+a.Address() {
		t.Errorf("address %s, URL %s", a.Address(), a.URL())
	}
	res, err := connect(t, a).Execute(t.Context(), client.Call{Tool: "remember", Args: map[string]any{"text": "milk"}, Session: "s"})
	if err != nil || !strings.Contains(string(res.Value), `"count":1`) {
		t.Errorf("call: %v, %v", res, err)
	}
	for page, want := range map[string]string{
		"/livez": `"ok":true`, "/readyz": `"ready":true`, "/health": `"pools"`, "/health/sessions": `"sessions":1`,
		"/metrics": `snakepit_session_operations_total{driver="memory",op="commit",result="ok"} 1`,
	} {
		if status, body := get(t, a.URL()+page); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s answers %d without %s:\n%s", page, status, want, body)
		}
	}
	if _, body := get(t, a.URL()+"/readyz"); strings.Contains(body, `"sessions"`) {
		t.Errorf("readiness counts the sessions: %s", body)
	}

	stop(t, a)
	if status, _ := get(t, a.URL()+"/livez"); status != 0 {
		t.Errorf("after Stop, /livez answers %d", status)
	}
	stop(t, a) // once more does nothing
	if err := a.Start(t.Context()); err == nil {
		t.Error("a daemon that was stopped could be started again")
	}
}

func TestStopBeforeStart(t *testing.T) {
	stop(t, newApp(t, settings(t), app.Options{}))
}

func TestNewRefusesBadSettings(t *testing.T) {
	c := config.Default() // lacks tools
	c.Listen = "0.0.0.0:0"
	_, err := app.New(c, app.Options{})
	for _, want := range []string{"pools[0].python", "listen", "reached from other machines"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
}

// TestFailedStartLeavesNothing makes each step of Start fail and then starts with the same address and directory, which
// could not be had if the failed one had kept them.
func TestFailedStartLeavesNothing(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.py")
	if err := os.WriteFile(broken, []byte("def nested():\n    import nosuchmodule\nnested()\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := start(t, settings(t), app.Options{})
	for name, tt := range map[string]struct {
		change func(*config.Config)
		opts   app.Options
		check  func(error) bool
	}{
		"address in use": {
			change: func(c *config.Config) { c.Listen = taken.Address() },
			check:  func(err error) bool { return strings.Contains(err.Error(), "address already in use") },
		},
		"directory without a parent": {
			change: func(c *config.Config) { c.Data = filepath.Join(c.Data, "no", "parent") },
			check:  func(err error) bool { return errors.Is(err, session.ErrInvalid) },
		},
		"tools that do not load": {
			change: func(c *config.Config) { c.Pools[0].Python = broken },
			check: func(err error) bool {
				fault, ok := errors.AsType[*worker.StartError](err)
				return ok && strings.Contains(fault.Traceback, "in nested") && strings.Contains(err.Error(), "nosuchmodule")
			},
		},
		"second pool does not load": {
			change: func(c *config.Config) {
				p := config.DefaultPool()
				p.Name, p.Python, p.Interpreter = "second", broken, c.Pools[0].Interpreter
				c.Pools = append(c.Pools, p)
			},
			check: func(err error) bool { return strings.Contains(err.Error(), "second") },
		},
		"metrics that are there already": {
			opts: app.Options{Registerer: refusing{}},
			check: func(err error) bool {
				return strings.Contains(err.Error(), "register metrics") && errors.Is(err, errRefused)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			c.Data = filepath.Join(t.TempDir(), "data")
			c.Listen = (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: testenv.Port(t)}).String()
			good := c
			good.Pools = append([]config.Pool(nil), c.Pools...)
			if tt.change != nil {
				tt.change(&c)
			}
			if err := newApp(t, c, tt.opts).Start(t.Context()); err == nil || !tt.check(err) {
				t.Errorf("the error is %v", err)
			}
			stop(t, start(t, good, app.Options{}))
		})
	}
}

var errRefused = errors.New("refused")

// refusing is a registry that takes everything but what comes last.
type refusing struct{ prometheus.Registerer }

func (refusing) Register(c prometheus.Collector) error {
	names := make(chan *prometheus.Desc, 100)
	c.Describe(names)
	close(names)
	for name := range names {
		if strings.Contains(name.String(), "snakepit_pool_queue_length") {
			return errRefused
		}
	}
	return nil
}

func TestStartIsCancelled(t *testing.T) {
	c := settings(t)
	c.Data = filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newApp(t, c, app.Options{}).Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	start(t, c, app.Options{})
}

func TestDirectoryHasOneUser(t *testing.T) {
	c := settings(t)
	c.Data = filepath.Join(t.TempDir(), "data")
	first := start(t, c, app.Options{})
	err := newApp(t, c, app.Options{}).Start(t.Context())
	if !errors.Is(err, session.ErrLocked) || !strings.Contains(err.Error(), c.Data) || !strings.Contains(err.Error(), "use another directory") {
		t.Errorf("the second is told: %v", err)
	}
	if _, _, err := connect(t, first).Create(t.Context(), "s", nil); err != nil {
		t.Errorf("the first suffers: %v", err)
	}
}

func TestSessionsOutliveTheDaemon(t *testing.T) {
	c := settings(t)
	c.Data = filepath.Join(t.TempDir(), "data")
	remember := func(want string) {
		t.Helper()
		a := start(t, c, app.Options{})
		defer stop(t, a)
		res, err := connect(t, a).Execute(t.Context(), client.Call{Tool: "remember", Args: map[string]any{"text": "x"}, Session: "s"})
		if err != nil || !strings.Contains(string(res.Value), want) {
			t.Errorf("call: %v, %v; want %s", res, err, want)
		}
	}
	remember(`"count":1`)
	remember(`"count":2`)
}

// blocked starts a call in the session "s" that waits for the file it returns the name of, and waits until it runs. The
// call's end comes out of the channel.
func blocked(t *testing.T, c *client.Client) (file string, ended <-chan error) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "go")
	end := make(chan error, 1)
	go func() {
		_, err := c.Execute(context.WithoutCancel(t.Context()), client.Call{Tool: "wait_for", Args: map[string]any{"path": file}, Session: "s"})
		end <- err
	}()
	testenv.Eventually(t, patience, "the call should run", func() bool {
		_, err := os.Stat(file + ".running")
		return err == nil
	})
	return file, end
}

func TestDrainLetsRunningCallsEnd(t *testing.T) {
	c := settings(t)
	c.Pools[0].Workers = 2
	a := start(t, c, app.Options{})
	remote := connect(t, a)
	file, ended := blocked(t, remote)

	stopped := make(chan error, 1)
	go func() { stopped <- a.Stop(context.WithoutCancel(t.Context())) }()
	testenv.Eventually(t, patience, "readiness should end", func() bool {
		status, body := get(t, a.URL()+"/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "shutting down")
	})
	if status, _ := get(t, a.URL()+"/livez"); status != http.StatusOK {
		t.Errorf("while it drains, /livez answers %d", status)
	}
	testenv.Eventually(t, patience, "new calls should be refused", func() bool {
		_, err := remote.Execute(t.Context(), client.Call{Tool: "echo"})
		return errors.Is(err, worker.ErrDraining)
	})
	select {
	case err := <-stopped:
		t.Fatalf("stopped while a call runs: %v", err)
	case err := <-ended:
		t.Fatalf("the running call ended: %v", err)
	default:
	}

	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the running call: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestStopsAfterTheDrainTimeout(t *testing.T) {
	c := settings(t)
	c.Shutdown.DrainTimeout = 50 * time.Millisecond
	a := start(t, c, app.Options{})
	_, ended := blocked(t, connect(t, a))
	err := a.Stop(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 calls still ran") {
		t.Errorf("stop: %v", err)
	}
	if err := <-ended; !errors.Is(err, worker.ErrStopped) {
		t.Errorf("the call that ran too long: %v", err)
	}
}

func TestStopInAHurry(t *testing.T) {
	a := start(t, settings(t), app.Options{})
	_, ended := blocked(t, connect(t, a))
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- a.Stop(ctx) }()
	testenv.Eventually(t, patience, "readiness should end", func() bool {
		status, _ := get(t, a.URL()+"/readyz")
		return status == http.StatusServiceUnavailable
	})
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v", err)
	}
	if err := <-ended; !errors.Is(err, worker.ErrStopped) {
		t.Errorf("the call that was cut off: %v", err)
	}
	if err := a.Engine().Close(); err != nil && !errors.Is(err, context.Canceled) { // waits for what was left behind
		t.Error(err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	var log lockedBuffer
	a := newApp(t, settings(t), app.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	testenv.Eventually(t, patience, "it should be ready", func() bool { return strings.Contains(log.String(), "msg=ready") })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "msg=stopped") {
		t.Errorf("the log does not tell of the end:\n%s", &log)
	}
}

func TestRunReturnsWhyItCannotStart(t *testing.T) {
	c := settings(t)
	c.Pools[0].Python = "nosuch.py"
	if err := newApp(t, c, app.Options{}).Run(t.Context()); !errors.Is(err, session.ErrInvalid) || !strings.Contains(err.Error(), "nosuch.py") {
		t.Errorf("the error is %v", err)
	}
}

func TestLogIsAsConfigured(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var log lockedBuffer
		c := settings(t)
		c.Log = config.Log{Level: "info", Format: format}
		a := start(t, c, app.Options{Stderr: &log})
		if _, err := connect(t, a).Execute(t.Context(), client.Call{Tool: "speak", Args: map[string]any{"text": "aloud"}, Session: "s"}); err != nil {
			t.Fatal(err)
		}
		stop(t, a)
		spoken := 0
		for line := range strings.Lines(log.String()) {
			if got := json.Valid([]byte(line)); got != (format == "json") {
				t.Errorf("a line of the %s log: %s", format, line)
			}
			if strings.Contains(line, "DEBUG") {
				t.Errorf("below the level: %s", line)
			}
			if strings.Contains(line, "logged aloud") || strings.Contains(line, "printed aloud") {
				spoken++
			}
		}
		if spoken != 2 {
			t.Errorf("the %s log has %d lines of what the tool printed and logged, want 2:\n%s", format, spoken, &log)
		}
	}
}

func TestProgramsOfOthers(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := start(t, settings(t), app.Options{
		Registerer: registry,
		HostTools: map[string]snakepit.HostTool{
			"double": func(_ context.Context, args json.RawMessage) (any, error) {
				var in struct{ N int }
				err := json.Unmarshal(args, &in)
				return 2 * in.N, err
			},
		},
	})
	res, err := connect(t, a).Execute(t.Context(), client.Call{Tool: "ask", Args: map[string]any{"name": "double", "n": 21}})
	if err != nil || string(res.Value) != "42" {
		t.Errorf("the tool of this program answered %v, %v", res, err)
	}
	if status, _ := get(t, a.URL()+"/metrics"); status != http.StatusNotFound {
		t.Errorf("/metrics answers %d, though the metrics are this program's", status)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		found = found || f.GetName() == "snakepit_pool_calls_total"
	}
	if !found {
		t.Error("this program's registry has no metrics of calls")
	}
}

// lockedBuffer is a buffer that several goroutines may write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
