package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/app"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/config"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

const (
	// recovery is the requirement: usable again after any single failure.
	recovery = 30 * time.Second

	serverEnv = "SNAKEPIT_CHAOS_SERVER"

	clients  = 6
	sessions = 8
)

// TestMain runs the server instead of the tests when the test has started its
// own binary for that.
func TestMain(m *testing.M) {
	if dir := os.Getenv(serverEnv); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve(dir string) error {
	cfg := config.Default()
	cfg.Listen = os.Getenv("SNAKEPIT_CHAOS_LISTEN")
	cfg.Data = filepath.Join(dir, "data")
	cfg.RunDir = filepath.Join(dir, "run")
	pool := config.DefaultPool()
	pool.Python, pool.Workers, pool.Interpreter = "tools.py", 2, os.Getenv("SNAKEPIT_CHAOS_PYTHON")
	cfg.Pools = []config.Pool{pool}
	a, err := app.New(cfg, app.Options{Stderr: os.Stderr})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return a.Run(ctx)
}

// TestChaosKills writes to a few sessions from several clients while workers and the
// server are killed, and compares what the sessions hold in the end with what
// the clients were told.
func TestChaosKills(t *testing.T) {
	length, random := testenv.Chaos(t, 6*time.Second)
	c := open(t)
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var writers sync.WaitGroup
	for n := range clients {
		random := rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
		writers.Go(func() { c.write(ctx, n, random) })
	}
	workerKills, serverKills := 0, 0
	for kill := true; kill; {
		select {
		case <-time.After(time.Duration(100+random.IntN(400)) * time.Millisecond): // the pace of the faults
		case <-ctx.Done():
			kill = false
			continue
		}
		if random.IntN(4) > 0 {
			workerKills += c.killWorker(ctx, random)
			continue
		}
		serverKills++
		c.stop(syscall.SIGKILL)
		c.start()
	}
	writers.Wait()

	faults := 0
	for n := range sessions {
		id := sessionID(n)
		for _, fault := range c.history.check(id, c.log(id)) {
			faults++
			t.Error(fault)
		}
	}
	counts := c.history.count()
	t.Logf("killed %d workers and %d servers; %d writes acknowledged, %d refused, %d unknown; slowest recovery %v; %d faults",
		workerKills, serverKills, counts[acknowledged], counts[refused], counts[unknown], c.slowest, faults)
	if counts[acknowledged] == 0 || workerKills == 0 || serverKills == 0 {
		t.Error("nothing was acknowledged, or nothing killed: this run shows nothing")
	}
}

// chaos is one run.
type chaos struct {
	t       *testing.T
	dir     string
	listen  string
	python  string
	client  *client.Client
	history *history

	mu      sync.Mutex // guards the fields below
	server  *exec.Cmd
	ended   chan struct{}
	slowest time.Duration
}

func open(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{
		t: t, dir: t.TempDir(), python: testenv.Python(t), history: newHistory(),
		listen: fmt.Sprintf("127.0.0.1:%d", testenv.Port(t)),
	}
	var err error
	if c.client, err = client.New("http://"+c.listen, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	c.start()
	t.Cleanup(func() { c.stop(syscall.SIGTERM) })
	return c
}

// start starts the server and waits until it answers, which must not take
// longer than a recovery may.
func (c *chaos) start() {
	began := time.Now()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+c.dir, "SNAKEPIT_CHAOS_LISTEN="+c.listen, "SNAKEPIT_CHAOS_PYTHON="+c.python)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // most of them are killed
	}()
	testenv.Eventually(c.t, recovery, "the server is ready", func() bool {
		select {
		case <-ended:
			c.t.Fatalf("the server ended by itself:\n%s", log.String())
		default:
		}
		_, ready, err := c.client.Health(c.t.Context(), "/readyz")
		return err == nil && ready
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.ended = cmd, ended
	c.slowest = max(c.slowest, time.Since(began))
}

func (c *chaos) stop(signal os.Signal) {
	c.mu.Lock()
	server, ended := c.server, c.ended
	c.mu.Unlock()
	if err := server.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Error(err)
	}
	<-ended
}

// killWorker kills a worker and returns 1, or 0 if there is none at the moment.
func (c *chaos) killWorker(ctx context.Context, random *rand.Rand) int {
	workers, err := c.client.Workers(ctx, "")
	if err != nil || len(workers) == 0 {
		return 0
	}
	pid := workers[random.IntN(len(workers))].PID
	if pid <= 0 || syscall.Kill(pid, syscall.SIGKILL) != nil {
		return 0
	}
	return 1
}

func sessionID(n int) string { return fmt.Sprintf("session-%d", n) }

// write sends one write after another until ctx ends.
func (c *chaos) write(ctx context.Context, n int, random *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		id := sessionID(random.IntN(sessions))
		value := fmt.Sprintf("c%d-%d", n, i)
		told := c.history.sent(id, n, value)
		// The call is not tied to the end of the run: an answer is worth more.
		res, err := c.client.Execute(c.t.Context(), client.Call{
			Tool: "append", Args: map[string]string{"value": value}, Session: id, Timeout: recovery,
		})
		switch {
		case err == nil && res != nil:
			told(acknowledged)
		case refusal(err):
			told(refused)
		}
	}
}

// refusal reports whether an error promises that nothing was done.
func refusal(err error) bool {
	if crash, ok := errors.AsType[*worker.CrashError](err); ok {
		// It may have run; but a call whose worker died committed nothing.
		return crash != nil
	}
	if notCommitted, ok := errors.AsType[*execution.StateNotCommittedError](err); ok {
		return !errors.Is(notCommitted.Err, session.ErrUnknown)
	}
	return errors.Is(err, worker.ErrDraining) || errors.Is(err, worker.ErrSaturated) || errors.Is(err, worker.ErrQueueTimeout) ||
		errors.Is(err, syscall.ECONNREFUSED)
}

// log reads what a session holds.
func (c *chaos) log(id string) (values []string) {
	s, err := c.client.Peek(c.t.Context(), id, nil)
	if errors.Is(err, session.ErrNotFound) {
		return nil
	}
	if err != nil {
		c.t.Fatal(err)
	}
	var vars struct{ Log []string }
	if err := json.Unmarshal(s.Vars, &vars); err != nil {
		c.t.Fatal(err)
	}
	return vars.Log
}
