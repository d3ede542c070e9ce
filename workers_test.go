package snakepit_test

import (
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/worker"
)

// A thread that a tool leaves running goes on writing programs while the call
// is answered and committed: what was committed can be read, and the worker
// holds the same table of programs.
func TestWhatAnOutlivingThreadWritesIsWholeOrRefused(t *testing.T) {
	e := openEngine(t, func(c *snakepit.Config) { c.Pools[0].Workers = 1 })
	const rounds = 150
	for i := range rounds {
		inSession(t, e, "s", "outlive", snakepit.Args{"n": i})
		seen := decode[map[string]int64](t, inSession(t, e, "s", "program_sizes", nil))
		programs, err := e.Sessions().Programs(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) != len(programs) {
			t.Fatalf("round %d: the worker holds the programs %v, the store %v", i, seen, programs)
		}
		for _, p := range programs {
			if seen[p.Name] != p.Size {
				t.Fatalf("round %d: %s has %d bytes, the worker thinks %d", i, p.Name, p.Size, seen[p.Name])
			}
			r, err := e.Sessions().OpenProgram(t.Context(), "s", p.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	told := decode[[]string](t, inSession(t, e, "s", "outlived", nil))
	slices.Sort(told)
	told = slices.Compact(told)
	if len(told) == 0 {
		t.Error("no thread was told that its call had ended")
	}
	for _, text := range told {
		if !strings.Contains(text, "ended") {
			t.Errorf("a thread that outlived its call was told %q", text)
		}
	}
}

// A tool that holds the interpreter's lock answers no pings. It is not killed
// for that, however many it leaves out.
func TestAToolThatHoldsTheInterpretersLockIsNotKilled(t *testing.T) {
	e := openEngine(t, func(c *snakepit.Config) {
		c.Pools[0].Workers, c.Pools[0].PingInterval = 1, time.Second
	})
	before := decode[int](t, must(e.Execute(t.Context(), "pid", nil)))
	if _, err := e.Execute(t.Context(), "hold_lock", snakepit.Args{"seconds": 6}); err != nil {
		t.Fatal(err)
	}
	if after := decode[int](t, must(e.Execute(t.Context(), "pid", nil))); after != before {
		t.Errorf("worker %d was replaced by %d", before, after)
	}
}

// A worker that a signal has stopped in the midst of a call is replaced, and
// its caller told why.
func TestAStoppedWorkerIsReplacedAndItsCallerToldWhy(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system does not show whether a process is stopped")
	}
	e := openEngine(t, func(c *snakepit.Config) {
		c.Pools[0].Workers, c.Pools[0].PingInterval = 1, 100*time.Millisecond
	})
	pid := decode[int](t, must(e.Execute(t.Context(), "pid", nil)))
	_, err := e.Execute(t.Context(), "stop_itself", nil)
	crash, ok := errors.AsType[*worker.CrashError](err)
	if !ok || crash.Cause != worker.CauseSuspended || !strings.Contains(err.Error(), "SIGSTOP") {
		t.Errorf("got %v, want a crash because of SIGSTOP", err)
	}
	if after := decode[int](t, must(e.Execute(t.Context(), "pid", nil))); after == pid {
		t.Error("the stopped worker is still there")
	}
}
