package workertest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// crashed fails the test unless err says that the worker ended.
func crashed(t testing.TB, conn worker.Conn, err error, maybe bool) worker.Exit {
	t.Helper()
	var crash *worker.CrashError
	if !errors.As(err, &crash) {
		t.Fatalf("error is %v, want a *CrashError", err)
	}
	if crash.Worker != "suite-1" || crash.MaybeExecuted != maybe || crash.Exit.Reason == "" || crash.Exit.Time.IsZero() {
		t.Errorf("crash error is %+v, want worker suite-1 and maybe executed %v", crash, maybe)
	}
	if !closed(conn.Done()) {
		t.Error("a call says that the worker has ended, and Done is not closed")
	}
	if exit := conn.Exit(); exit != crash.Exit {
		t.Errorf("the worker ended as %+v, the call says %+v", exit, crash.Exit)
	}
	return crash.Exit
}

func (s suite) crash(t *testing.T) {
	conn := s.start(t)
	_, err := conn.Call(bounded(t), &worker.Call{Tool: "crash", Args: object(t, "code", 41)})
	exit := crashed(t, conn, err, true)
	if exit.Code != 41 || exit.Signal != "" || exit.Expected {
		t.Errorf("exit is %+v", exit)
	}
	_, err = conn.Call(bounded(t), &worker.Call{Tool: "add", Args: object(t, "a", 1, "b", 2)})
	crashed(t, conn, err, false)
	if err := conn.Ping(bounded(t)); err == nil {
		t.Error("a dead worker gives a sign of life")
	}
	conn.Forget("s1")
	conn.Kill()
	if err := conn.Stop(bounded(t)); err != nil {
		t.Errorf("stop of a dead worker: %v", err)
	}
}

// crashIdle: Done tells of an end that no call has seen.
func (s suite) crashIdle(t *testing.T) {
	conn := s.start(t)
	if closed(conn.Done()) {
		t.Fatal("done before the end")
	}
	conn.Kill()
	await(t, "the end of the worker", conn.Done())
	if exit := conn.Exit(); exit.Reason == "" || exit.Expected || exit.Code == 0 {
		t.Errorf("exit is %+v", exit)
	}
}

func (s suite) kill(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	started := h.signal("started", nil)
	call := begin(bounded(t), conn, &worker.Call{Tool: "sleep", Host: h, Args: object(t, "seconds", 3600, "notify", "started")})
	await(t, "the tool", started)
	conn.Kill()
	conn.Kill()
	_, err := call.wait(t)
	if exit := crashed(t, conn, err, true); exit.Signal == "" || exit.Code != 128+9 || exit.Expected {
		t.Errorf("exit is %+v", exit)
	}
}

func (s suite) stop(t *testing.T) {
	conn := s.start(t)
	works(t, conn)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := conn.Stop(bounded(t)); err != nil {
				t.Errorf("stop: %v", err)
			}
			if !closed(conn.Done()) {
				t.Error("stopped, and the worker is not gone")
			}
		})
	}
	all.Wait()
	if exit := conn.Exit(); exit.Code != 0 || exit.Signal != "" || !exit.Expected || exit.Reason == "" {
		t.Errorf("exit is %+v", exit)
	}
}

func (s suite) stopWaits(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	gate := make(chan struct{})
	started := h.signal("started", gate)
	call := begin(bounded(t), conn, &worker.Call{Tool: "sleep", Host: h, Args: object(t, "seconds", 0.05, "notify", "started")})
	await(t, "the tool", started)
	stopped := make(chan struct{})
	ctx := bounded(t)
	go func() {
		defer close(stopped)
		if err := conn.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	}()
	close(gate)
	res, err := call.wait(t)
	if err != nil || string(res.Value) != `"slept"` {
		t.Errorf("a call that ran when the worker was stopped: %+v, %v", res, err)
	}
	await(t, "the stop", stopped)
}

func (s suite) stopKills(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	started := h.signal("started", nil)
	call := begin(bounded(t), conn, &worker.Call{Tool: "slow_cancel", Host: h, Args: object(t, "seconds", 3600, "notify", "started")})
	await(t, "the tool", started)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = conn.Stop(ctx)
	if !closed(conn.Done()) {
		t.Error("stopped, and the worker is not gone")
	}
	_, err := call.wait(t)
	if exit := crashed(t, conn, err, true); !exit.Expected {
		t.Errorf("exit is %+v", exit)
	}
}

// generations: several workers of one transport have nothing in common.
func (s suite) generations(t *testing.T) {
	transport := s.Transport(t)
	start := func(generation uint64) worker.Conn {
		conn, err := transport.Start(bounded(t), worker.Spec{
			Pool: "suite", ID: "suite-1", Generation: generation, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			conn.Kill()
			await(t, "the end of the worker", conn.Done())
		})
		return conn
	}
	one, two := start(1), start(2)
	wantNotes(t, one, fullState(1, `{"notes":["a"]}`), `["a"]`)
	wantMissing(t, two, heldState(1))
	_, err := one.Call(bounded(t), &worker.Call{Tool: "crash", Args: object(t, "code", 1)})
	crashed(t, one, err, true)
	works(t, two)
}

func (s suite) startPool(t *testing.T, size int) *worker.Pool {
	t.Helper()
	p, err := worker.NewPool(worker.PoolOptions{Name: "suite", Size: size, Transport: s.Transport(t), QueueTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(bounded(t)); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := p.Start(bounded(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (s suite) pool(t *testing.T) {
	p := s.startPool(t, 2)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(bounded(t))
			defer cancel()
			if i%10 == 0 { // some callers leave
				call := &worker.Call{Tool: "count", Args: object(t, "n", 1_000_000), OnChunk: func(worker.Chunk) error {
					cancel()
					return nil
				}}
				if _, err := p.Execute(ctx, call); !errors.Is(err, context.Canceled) {
					t.Errorf("canceled call: %v", err)
				}
				return
			}
			res, err := p.Execute(ctx, &worker.Call{Tool: "echo", Args: object(t, "value", i)})
			if err != nil || !sameJSON(t, res.Value, nil, object(t, "value", i)[9:len(object(t, "value", i))-1], nil) {
				t.Errorf("echo(%d): %+v, %v", i, res, err)
			}
		})
	}
	all.Wait()
	if err := p.Drain(bounded(t)); err != nil {
		t.Error(err)
	}
	if stats := p.Stats(); stats.Restarts != 0 || stats.Busy != 0 || stats.Calls != 100 {
		t.Errorf("stats: %+v", stats)
	}
}

func (s suite) poolCrashes(t *testing.T) {
	p := s.startPool(t, 2)
	for i := range 5 {
		_, err := p.Execute(bounded(t), &worker.Call{Tool: "crash", Args: object(t, "code", 3)})
		var crash *worker.CrashError
		if !errors.As(err, &crash) || crash.Exit.Code != 3 || !crash.MaybeExecuted {
			t.Fatalf("crash %d: %v", i, err)
		}
		if _, err := p.Execute(bounded(t), &worker.Call{Tool: "add", Args: object(t, "a", i, "b", 1)}); err != nil {
			t.Fatalf("call after crash %d: %v", i, err)
		}
	}
}

// suspended: a worker that a signal has stopped is seen to stand still, where the
// system shows it.
func (s suite) suspended(t *testing.T) {
	if !s.Signals {
		return // its workers have no process of their own
	}
	conn := s.start(t)
	if conn.Suspended() {
		t.Error("a running worker is suspended")
	}
	if err := syscall.Kill(conn.Info().PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.until(t, "a stopped worker is suspended", conn.Suspended)
	if err := syscall.Kill(conn.Info().PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.until(t, "a continued worker is not suspended", func() bool { return !conn.Suspended() })
	works(t, conn)
}

// until polls for what has no event of its own.
func (s suite) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
