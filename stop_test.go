package snakepit_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// untidy starts a call of a tool that runs until it is cancelled and then
// tidies up for that long, and returns when it runs.
func untidy(t *testing.T, e *snakepit.Engine, id, tool string, seconds float64) (path string, ended <-chan error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "it")
	end := make(chan error, 1)
	args := snakepit.Args{"path": path, "seconds": seconds}
	ctx := context.WithoutCancel(t.Context())
	go func() {
		var err error
		switch {
		case tool == "stidy":
			_, err = e.StreamFunc(ctx, id, tool, args, func(*snakepit.Chunk) error { return nil })
		case id != "":
			_, err = e.ExecuteInSession(ctx, id, tool, args)
		default:
			_, err = e.Execute(ctx, tool, args)
		}
		end <- err
	}()
	await(t, "the tool runs", func() bool { return exists(path + ".running") })
	return path, end
}

// wantStopped checks what the caller of a call is told that Close or Drain ended.
func wantStopped(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, snakepit.ErrStopped) || errors.Is(err, snakepit.ErrStateNotCommitted) {
		t.Errorf("the caller was told: %v", err)
	}
}

// TestCloseLetsToolsTidyUp: their finally blocks run to the end, though they
// take longer than workers have to leave, and their callers learn why.
func TestCloseLetsToolsTidyUp(t *testing.T) {
	e := openEngine(t, func(c *snakepit.Config) {
		c.Pools[0].Workers = 4
		c.Pools[0].CancelGrace, c.Pools[0].StopGrace = time.Minute, 200*time.Millisecond
	})
	var paths []string
	var ends []<-chan error
	for _, c := range []struct{ session, tool string }{{"", "tidy"}, {"s", "tidy"}, {"", "atidy"}, {"", "stidy"}} {
		path, ended := untidy(t, e, c.session, c.tool, 1)
		paths, ends = append(paths, path), append(ends, ended)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	for i, path := range paths {
		wantStopped(t, <-ends[i])
		if !exists(path + ".tidied") {
			t.Errorf("tool %d was not let tidy up", i)
		}
	}
}

// TestCloseTellsThoseWhoWait for a turn or a worker.
func TestCloseTellsThoseWhoWait(t *testing.T) {
	e := openEngine(t, func(c *snakepit.Config) { c.Pools[0].Workers = 1 })
	_, running := untidy(t, e, "s", "tidy", 0)
	waiting := make(chan error, 2)
	for _, id := range []string{"s", "other"} {
		go func() {
			_, err := e.ExecuteInSession(context.WithoutCancel(t.Context()), id, "look", nil)
			waiting <- err
		}()
	}
	await(t, "both wait", func() bool { return e.Pools()[0].Queued == 2 })
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	for _, ended := range []<-chan error{running, waiting, waiting} {
		wantStopped(t, <-ended)
	}
}

func TestADrainThatTimesOutCancels(t *testing.T) {
	e := openEngine(t, nil)
	path, ended := untidy(t, e, "s", "tidy", 0.2)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := e.Drain(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 calls still ran and were cancelled") {
		t.Errorf("drain: %v", err)
	}
	wantStopped(t, <-ended)
	await(t, "the tool tidies up", func() bool { return exists(path + ".tidied") })
	if _, err := e.Sessions().Get(t.Context(), "s"); err != nil {
		t.Errorf("the store is closed already: %v", err)
	}
	if s, err := e.Sessions().Peek(t.Context(), "s"); err == nil && s.StateVersion() > 1 {
		t.Errorf("the cancelled call was committed: %s", s.Vars())
	}
	if _, err := e.Execute(t.Context(), "pid", nil); !errors.Is(err, worker.ErrDraining) {
		t.Errorf("a call after the drain: %v", err)
	}
}

// TestCloseKillsWhatDoesNotEnd: after CancelGrace, which is a setting.
func TestCloseKillsWhatDoesNotEnd(t *testing.T) {
	e := openEngine(t, func(c *snakepit.Config) {
		c.Pools[0].Workers = 1
		c.Pools[0].CancelGrace, c.Pools[0].StopGrace = 100*time.Millisecond, time.Hour
	})
	pid := decode[int](t, must(e.Execute(t.Context(), "pid", nil)))
	path, ended := untidy(t, e, "", "tidy", 3600)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	wantStopped(t, <-ended)
	if exists(path + ".tidied") {
		t.Error("it tidied up in no time")
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the worker is there yet: %v", err)
	}
}

// TestStopsContextBoundsItAll: whatever step it has come to.
func TestStopsContextBoundsItAll(t *testing.T) {
	testenv.Python(t)
	e, err := snakepit.Open(t.Context(), snakepit.Config{RunDir: t.TempDir(), Pools: []snakepit.PoolConfig{{
		Tools: "testdata/tools.py", Workers: 1, CancelGrace: time.Hour, StopGrace: time.Hour,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	pid := decode[int](t, must(e.Execute(t.Context(), "pid", nil)))
	_, ended := untidy(t, e, "", "tidy", 3600)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = e.Stop(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	wantStopped(t, <-ended)
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the worker is there yet: %v", err)
	}
	if again := e.Close(); !errors.Is(again, context.DeadlineExceeded) || again.Error() != err.Error() {
		t.Errorf("the second close returned %v, the first %v", again, err)
	}
}

// TestCloseFromAHostTool: the call that the host tool serves is cancelled like
// any other, and Close does not wait for itself.
func TestCloseFromAHostTool(t *testing.T) {
	for name, stop := range map[string]func(context.Context, *snakepit.Engine) error{
		"close": func(_ context.Context, e *snakepit.Engine) error { return e.Close() },
		"drain": func(ctx context.Context, e *snakepit.Engine) error { return e.Drain(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			var e *snakepit.Engine
			returned := make(chan error, 1)
			e = openEngine(t, func(c *snakepit.Config) {
				c.Pools[0].CancelGrace = time.Minute
				c.HostTools = map[string]snakepit.HostTool{"stop": func(ctx context.Context, _ json.RawMessage) (any, error) {
					returned <- stop(ctx, e)
					return nil, nil
				}}
			})
			_, err := e.Execute(t.Context(), "ask", snakepit.Args{"name": "stop"}, snakepit.WithTimeout(2*time.Second))
			if err == nil {
				t.Error("the call went well")
			}
			err = <-returned
			if name == "close" && err != nil || name == "drain" && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				t.Errorf("%s returned %v", name, err)
			}
		})
	}
}

// TestAHostToolThatDoesNotEndIsLeft: nobody can end a function that does not
// look at its context, but Close does not wait for it.
func TestAHostToolThatDoesNotEndIsLeft(t *testing.T) {
	release, called := make(chan struct{}), make(chan struct{})
	e := openEngine(t, func(c *snakepit.Config) {
		c.HostTools = map[string]snakepit.HostTool{"hang": func(context.Context, json.RawMessage) (any, error) {
			close(called)
			<-release
			return nil, nil
		}}
	})
	defer close(release)
	ended := make(chan error, 1)
	go func() {
		_, err := e.Execute(context.WithoutCancel(t.Context()), "ask", snakepit.Args{"name": "hang"})
		ended <- err
	}()
	<-called
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	wantStopped(t, <-ended)
}

func TestCallsAfterClose(t *testing.T) {
	e := openFake(t, nil)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "s"} {
		_, err := e.StreamFunc(t.Context(), id, "echo", nil, func(*snakepit.Chunk) error { return nil })
		if !errors.Is(err, snakepit.ErrClosed) || errors.Is(err, session.ErrClosed) {
			t.Errorf("a call after the close: %v", err)
		}
	}
	if err := e.Drain(t.Context()); err != nil {
		t.Errorf("a drain after the close: %v", err)
	}
	if _, err := e.Execute(t.Context(), "echo", nil); !errors.Is(err, snakepit.ErrClosed) {
		t.Errorf("a call after close and drain: %v", err)
	}
}

// openFake opens an engine whose workers live in this process.
func openFake(t testing.TB, change func(*snakepit.Config)) *snakepit.Engine {
	t.Helper()
	c := fakeConfig()
	if change != nil {
		change(&c)
	}
	e, err := snakepit.Open(context.WithoutCancel(t.Context()), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func fakeConfig() snakepit.Config {
	return snakepit.Config{Pools: []snakepit.PoolConfig{{Transport: &workertest.Fake{}, Workers: 1, PingInterval: -1}}}
}

// TestACommitUnderWayIsNotCancelled: its caller is told that it was made, and
// the store is open until then.
func TestACommitUnderWayIsNotCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &watchedStore{Store: memstore.New(), committing: make(chan struct{}), commit: make(chan struct{})}
		e := openFake(t, func(c *snakepit.Config) { c.Store = store })
		ended, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := e.ExecuteInSession(t.Context(), "s", "remember", snakepit.Args{"key": "a", "value": 1})
			ended <- err
		}()
		<-store.committing
		go func() { closed <- e.Close() }()
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case err := <-ended:
			t.Errorf("the call did not wait for its commit: %v", err)
		case err := <-closed:
			t.Errorf("the store was closed in the midst of a commit: %v", err)
		default:
		}
		close(store.commit)
		if err := <-ended; err != nil {
			t.Errorf("a committed call: %v", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if store.closed != 1 {
			t.Errorf("the store was closed %d times", store.closed)
		}
	})
}

// watchedStore counts how often it is closed, and lets changes of variables
// wait, if it has channels for it.
type watchedStore struct {
	driver.Store
	committing, commit chan struct{}
	once               sync.Once

	mu     sync.Mutex
	closed int
}

func (s *watchedStore) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	if s.commit != nil && b.Body != nil && b.If == driver.IfRevision {
		s.once.Do(func() { close(s.committing) })
		select {
		case <-s.commit:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return s.Store.Apply(ctx, id, b)
}

func (s *watchedStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return s.Store.Close()
}

// TestAFailedOpenLeavesNothing: the store is closed, once, and every worker and
// goroutine has ended (TestMain looks for goroutines).
func TestAFailedOpenLeavesNothing(t *testing.T) {
	no := errors.New("not today")
	refusing := &workertest.Fake{OnStart: func(context.Context, worker.Spec) error { return no }}
	second := func(p snakepit.PoolConfig) func(*snakepit.Config) {
		return func(c *snakepit.Config) { p.Name = "second"; c.Pools = append(c.Pools, p) }
	}
	for name, change := range map[string]func(*snakepit.Config){
		"no pools":             func(c *snakepit.Config) { c.Pools = nil },
		"no tools":             func(c *snakepit.Config) { c.Pools[0].Transport = nil },
		"two of one name":      func(c *snakepit.Config) { c.Pools = append(c.Pools, c.Pools[0]) },
		"a number of workers":  func(c *snakepit.Config) { c.Pools[0].Workers = -1 },
		"an option of a pool":  func(c *snakepit.Config) { c.Pools[0].StartTimeout = -1 },
		"one of the second":    second(snakepit.PoolConfig{Transport: refusing, Workers: 1, StopGrace: -1}),
		"an option of a store": func(c *snakepit.Config) { c.Sessions.DefaultTTL = -1 },
		"missing tools":        second(snakepit.PoolConfig{Tools: filepath.Join(t.TempDir(), "none.py")}),
		"missing interpreter":  second(snakepit.PoolConfig{Tools: "testdata/tools.py", Interpreter: filepath.Join(t.TempDir(), "python")}),
		"run directory": func(c *snakepit.Config) {
			second(snakepit.PoolConfig{Tools: "testdata/tools.py"})(c)
			c.RunDir = "testdata/tools.py"
		},
		"a pool that does not start":     func(c *snakepit.Config) { c.Pools[0].Transport = refusing },
		"a second one that does not":     second(snakepit.PoolConfig{Transport: refusing, Workers: 1}),
		"telemetry that does not attach": func(c *snakepit.Config) { c.Telemetry.Opened = func(*snakepit.Engine) error { return no } },
	} {
		t.Run(name, func(t *testing.T) {
			store := &watchedStore{Store: memstore.New()}
			c := fakeConfig()
			fake := c.Pools[0].Transport.(*workertest.Fake)
			c.Store, c.RunDir = store, t.TempDir()
			change(&c)
			e, err := snakepit.Open(t.Context(), c)
			if err == nil {
				t.Fatal("opened", e.Close())
			}
			if store.closed != 1 {
				t.Errorf("the store was closed %d times after: %v", store.closed, err)
			}
			if w := fake.Worker("default-1"); w != nil {
				select {
				case <-w.Done():
				default:
					t.Error("a worker runs on")
				}
			}
		})
	}
}

// TestOpenEndsWithItsContext: also while a worker starts, and whatever has
// started before is stopped.
func TestOpenEndsWithItsContext(t *testing.T) {
	reason := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	store := &watchedStore{Store: memstore.New()}
	c := fakeConfig()
	c.Store = store
	c.Pools = append(c.Pools, snakepit.PoolConfig{Name: "slow", Workers: 2, PingInterval: -1, Transport: &workertest.Fake{
		OnStart: func(ctx context.Context, _ worker.Spec) error {
			cancel(reason)
			<-ctx.Done()
			return context.Cause(ctx)
		},
	}})
	_, err := snakepit.Open(ctx, c)
	if !errors.Is(err, reason) || store.closed != 1 {
		t.Errorf("the store was closed %d times after: %v", store.closed, err)
	}
}
