package snakepit_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/internal/testenv"
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

// pidOf returns the worker's process, waiting for one that is being replaced.
func pidOf(t *testing.T, e *snakepit.Engine) int {
	t.Helper()
	return decode[int](t, must(e.Execute(t.Context(), "pid", nil)))
}

// end ends the one worker of an engine by its own hand.
func end(t *testing.T, e *snakepit.Engine) {
	t.Helper()
	if _, err := e.Execute(t.Context(), "die", nil); !errors.Is(err, worker.ErrWorkerCrashed) {
		t.Fatalf("die: %v", err)
	}
}

// Whatever is deleted from the run directory, or put there, the next worker
// starts, and runs nothing but what this program carries.
func TestTheRunDirectoryHeals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	e := openEngine(t, func(c *snakepit.Config) { c.Pools[0].Workers, c.RunDir = 1, dir })
	libraries := func() []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, "sdk-*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("unpacked: %q, %v", found, err)
		}
		return found
	}
	mark := filepath.Join(t.TempDir(), "mark")
	for name, damage := range map[string]func() error{
		"everything is deleted":  func() error { return os.RemoveAll(dir) },
		"the library is deleted": func() error { return os.RemoveAll(libraries()[0]) },
		"a file is deleted":      func() error { return os.Remove(filepath.Join(libraries()[0], "snakepit", "calls.py")) },
		"a file is changed": func() error {
			return os.WriteFile(filepath.Join(libraries()[0], "snakepit", "calls.py"), []byte("1/0"), 0o600)
		},
		"a file is added that Python runs by itself": func() error {
			return os.WriteFile(filepath.Join(libraries()[0], "sitecustomize.py"), []byte("open("+strconv.Quote(mark)+", 'w')"), 0o600)
		},
	} {
		before := pidOf(t, e)
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		end(t, e)
		if after := pidOf(t, e); after == before {
			t.Errorf("%s: worker %d was not replaced", name, before)
		}
		libraries()
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a file that was put into the run directory was run")
	}
}

// A run directory that somebody else could write to is refused by name, before
// anything in it is run.
func TestARunDirectoryOfOthersIsRefused(t *testing.T) {
	testenv.Python(t)
	dir := t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	_, err := snakepit.Open(t.Context(), snakepit.Config{
		Pools: []snakepit.PoolConfig{{Tools: "testdata/tools.py", Workers: 1}}, RunDir: dir,
	})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "run_dir") {
		t.Errorf("got %v", err)
	}
}

// As in a container whose file system is read-only: no home, no directory for
// temporary files, nothing configured.
func TestWorkersStartOnAReadOnlyFileSystem(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip("this system has no /dev/shm")
	}
	t.TempDir() // the tests' own is made while there is room for it
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TMPDIR"} {
		t.Setenv(name, "/proc/nowhere")
	}
	e := openEngine(t, func(c *snakepit.Config) { c.Pools[0].Workers, c.RunDir = 1, "" })
	before := pidOf(t, e)
	end(t, e)
	if after := pidOf(t, e); after == before {
		t.Errorf("worker %d was not replaced", before)
	}
}
