package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/process"
)

func TestSocketReachesTheProcess(t *testing.T) {
	l := newLauncher(t, t.TempDir())
	p := launch(t, l, command("echo", nil))
	if _, err := p.Conn().Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(p.Conn(), got); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
	// The end of the socket is the process's sign to end.
	p.Conn().Close()
	if exit := await(t, p); exit.Code != 0 || exit.Expected {
		t.Errorf("exit %+v", exit)
	}
}

func TestOutputIsCompleteAndLineWiseAtTheEnd(t *testing.T) {
	l := newLauncher(t, t.TempDir())
	stdout, stderr := newLines(), newLines()
	cmd := command("print", stdout)
	cmd.Stderr = stderr
	await(t, launch(t, l, cmd))

	got := stdout.list()
	if got[0] != "one\n" || got[len(got)-1] != "no end\n" {
		t.Errorf("first %q, last %q", got[0], got[len(got)-1])
	}
	if long := strings.Join(got[1:len(got)-1], ""); long != strings.Repeat("x", 100_000)+"\n" {
		t.Errorf("a long line came as %d bytes", len(long))
	}
	if got := stderr.list(); len(got) != 1 || got[0] != "two\n" {
		t.Errorf("stderr %q", got)
	}
}

func TestEnvironmentAndGroup(t *testing.T) {
	l := newLauncher(t, t.TempDir())
	out := newLines()
	await(t, launch(t, l, command("env", out)))
	got := strings.Join(out.list(), "")
	if !strings.Contains(got, "extra more\n") {
		t.Errorf("the command's environment is missing in %q", got)
	}
	if !strings.Contains(got, "group 0\n") {
		t.Errorf("the process does not lead its group: %q", got)
	}
	if strings.Contains(got, "run \n") {
		t.Errorf("no run id in %q", got)
	}
}

func TestExitSaysHowTheProcessEnded(t *testing.T) {
	l := newLauncher(t, t.TempDir())
	for role, want := range map[string]worker.Exit{
		"exit:0":    {Code: 0, Reason: "exited with status 0"},
		"exit:3":    {Code: 3, Reason: "exited with status 3"},
		"signal:9":  {Code: 137, Signal: "SIGKILL", Reason: "killed by signal 9 (SIGKILL)"},
		"signal:15": {Code: 143, Signal: "SIGTERM", Reason: "killed by signal 15 (SIGTERM)"},
	} {
		got := await(t, launch(t, l, command(role, nil)))
		if time.Since(got.Time) > time.Minute {
			t.Errorf("%s: time %v", role, got.Time)
		}
		got.Time = time.Time{}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", role, got, want)
		}
	}
}

func TestStop(t *testing.T) {
	l := newLauncher(t, t.TempDir())
	t.Run("a willing process ends by SIGTERM", func(t *testing.T) {
		p := launch(t, l, command("echo", nil))
		if exit := p.Stop(time.Minute); exit.Signal != "SIGTERM" || !exit.Expected {
			t.Errorf("exit %+v", exit)
		}
		if again := p.Stop(time.Minute); again != p.Exit() {
			t.Errorf("a second Stop returns %+v", again)
		}
	})
	t.Run("a stubborn one is killed", func(t *testing.T) {
		out := newLines()
		p := launch(t, l, command("stubborn", out))
		out.values(t, "self", 1)
		if exit := p.Stop(10 * time.Millisecond); exit.Signal != "SIGKILL" || !exit.Expected {
			t.Errorf("exit %+v", exit)
		}
	})
}

func TestASlowWriterDoesNotDelayTheEnd(t *testing.T) {
	l := newLauncher(t, t.TempDir())
	release := make(chan struct{})
	defer close(release)
	p := launch(t, l, command("print", writerFunc(func(b []byte) (int, error) {
		<-release
		return len(b), nil
	})))
	// The process blocks on its full pipe; what is asked for is the notice.
	p.Kill()
	if exit := await(t, p); exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v", exit)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestLaunchFails(t *testing.T) {
	dir := t.TempDir()
	l := newLauncher(t, dir)
	_, err := l.Launch(t.Context(), worker.Command{Path: "/does/not/exist", Stdout: io.Discard})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("missing program: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Launch(ctx, command("exit:0", nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	for _, host := range hostDirs(t, dir) {
		if records, _ := filepath.Glob(filepath.Join(host, "*")); len(records) != 1 {
			t.Errorf("records stay: %q", records)
		}
	}
}

func TestClose(t *testing.T) {
	dir := t.TempDir()
	l, err := process.New(process.Options{RunDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, l, command("idle", nil))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("a process lives after Close")
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if dirs := hostDirs(t, dir); len(dirs) != 0 {
		t.Errorf("records stay after Close: %q", dirs)
	}
	if _, err := l.Launch(t.Context(), command("idle", nil)); err == nil {
		t.Error("a closed launcher starts a process")
	}
}

func TestRunDirectoryMustBeOurs(t *testing.T) {
	if _, err := process.New(process.Options{}); err == nil {
		t.Error("no run directory is accepted")
	}
	dir := t.TempDir()
	hosts := filepath.Join(dir, "hosts")
	if err := os.Mkdir(hosts, 0o700); err != nil {
		t.Fatal(err)
	}
	// Others can get there only if they can get into what lies above it.
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, hosts: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := process.New(process.Options{RunDir: dir}); err == nil || !strings.Contains(err.Error(), hosts) {
		t.Errorf("a directory that others can write to: %v", err)
	}
}

// What is deleted under a running launcher is made again, with its records.
func TestTheRegistryHeals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	l := newLauncher(t, dir)
	before := launch(t, l, command("echo", nil))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	after := launch(t, l, command("echo", nil))
	hosts := hostDirs(t, dir)
	if len(hosts) != 1 {
		t.Fatalf("hosts: %q", hosts)
	}
	recorded := map[int]bool{}
	records, err := filepath.Glob(filepath.Join(hosts[0], "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range records {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var w struct{ PID int }
		if json.Unmarshal(content, &w) == nil {
			recorded[w.PID] = true
		}
	}
	if !recorded[before.PID()] || !recorded[after.PID()] {
		t.Errorf("recorded %v, want %d and %d", recorded, before.PID(), after.PID())
	}
}

// A worker starts also when it cannot be recorded any more.
func TestAWorkerStartsWithoutItsRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	l := newLauncher(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, l, command("echo", nil))
	p.Conn().Close()
	if exit := await(t, p); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
}

func TestManyProcessesAtOnce(t *testing.T) {
	l := newLauncher(t, t.TempDir())
	var started []worker.Process
	for range 10 {
		started = append(started, launch(t, l, command("echo", nil)))
	}
	for i, p := range started {
		if i%2 == 0 {
			go p.Kill()
		} else {
			go syscall.Kill(p.PID(), syscall.SIGTERM)
		}
	}
	for _, p := range started {
		await(t, p)
	}
}
