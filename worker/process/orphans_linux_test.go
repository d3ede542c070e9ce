package process_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snakepit-go/snakepit/worker/process"
)

// awaitGone waits for the end of a process that need not be a child.
func awaitGone(t *testing.T, pid int, what string) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.Fatalf("%s %d: %v", what, pid, err)
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(20 * time.Second)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatalf("%s %d lives", what, pid)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if n == 1 {
			return
		}
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

func lives(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n == 0
}

func TestChildrenEndWithTheProcess(t *testing.T) {
	l := newLauncher(t, t.TempDir())
	out := newLines()
	await(t, launch(t, l, command("leaver", out)))
	awaitGone(t, out.values(t, "member", 1)[0], "child in the group")
	awaitGone(t, out.values(t, "escaped", 1)[0], "child outside the group")
}

func TestAChildThatKeepsTheOutputOpenDelaysNothing(t *testing.T) {
	l, err := process.New(process.Options{RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	out := newLines()
	exit := await(t, launch(t, l, command("daemon", out)))
	daemon := out.values(t, "daemon", 1)[0]
	defer syscall.Kill(daemon, syscall.SIGKILL)
	if exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !lives(daemon) {
		t.Error("a process that left on purpose was killed")
	}
}

func TestKilledHostLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	stranger := newStranger(t)
	living, livingOut := startHost(t, dir)
	livingWorkers := livingOut.values(t, "self", 2)

	host, out := startHost(t, dir)
	workers := out.values(t, "self", 2)
	members := out.values(t, "member", 2)
	escaped := out.values(t, "escaped", 2)

	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	host.Wait()
	// The kernel sees to the workers, and nobody yet to their children.
	for _, pid := range workers {
		awaitGone(t, pid, "worker")
	}
	for _, pid := range append(members, escaped...) {
		if !lives(pid) {
			t.Fatalf("child %d is gone, the test tests nothing", pid)
		}
	}

	var logged bytes.Buffer
	l, err := process.New(process.Options{RunDir: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, pid := range append(members, escaped...) {
		awaitGone(t, pid, "child")
	}
	if !bytes.Contains(logged.Bytes(), []byte("killed worker processes of a host that is gone")) {
		t.Errorf("log: %s", logged.Bytes())
	}
	if !lives(stranger) {
		t.Error("a stranger was killed")
	}
	for _, pid := range append(livingWorkers, living.Process.Pid) {
		if !lives(pid) {
			t.Errorf("process %d of a living host was killed", pid)
		}
	}
	if dirs := hostDirs(t, dir); len(dirs) != 2 {
		t.Errorf("records: %q, want those of the two living hosts", dirs)
	}

	living.Process.Kill()
	living.Wait()
	newLauncher(t, dir)
	for _, name := range []string{"member", "escaped"} {
		for _, pid := range livingOut.values(t, name, 2) {
			awaitGone(t, pid, name)
		}
	}
}

// A host may be killed between the fork and the record of the pid: the
// reservation alone must do.
func TestReservationFindsTheWorker(t *testing.T) {
	dir := t.TempDir()
	host, out := startHost(t, dir)
	escaped := out.values(t, "escaped", 2)
	members := out.values(t, "member", 2)
	out.values(t, "self", 2)
	host.Process.Kill()
	host.Wait()
	for _, h := range hostDirs(t, dir) {
		files, err := os.ReadDir(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Name() != "host" {
				if err := os.Truncate(filepath.Join(h, f.Name()), 0); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	newLauncher(t, dir)
	for _, pid := range append(members, escaped...) {
		awaitGone(t, pid, "child")
	}
}

// newStranger starts a process in a group of its own that is none of ours.
func newStranger(t *testing.T) int {
	t.Helper()
	pid, err := syscall.ForkExec(os.Args[0], os.Args[:1], &syscall.ProcAttr{
		Env: append(os.Environ(), roleEnv+"=idle"),
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(pid, syscall.SIGKILL)
		var status syscall.WaitStatus
		syscall.Wait4(pid, &status, 0, nil)
	})
	return pid
}

func TestRecordsOfReusedNumbersMatchNobody(t *testing.T) {
	dir := t.TempDir()
	stranger := newStranger(t)
	// A dead host whose worker had the stranger's number, and another start
	// time; and one from another boot with the very same.
	start := process.StartOf(stranger)
	process.FakeHost(t, dir, process.PIDDomain(), "run-1", stranger, start+1)
	process.FakeHost(t, dir, "another boot", "run-2", stranger, start)
	newLauncher(t, dir)
	if !lives(stranger) {
		t.Error("a stranger with a reused number was killed")
	}
	if dirs := hostDirs(t, dir); len(dirs) != 1 {
		t.Errorf("records of dead hosts stay: %q", dirs)
	}
	// One that is not a file of ours is not believed.
	process.FakeHost(t, dir, process.PIDDomain(), "planted", stranger, start)
	planted, err := filepath.Glob(filepath.Join(dir, "hosts", "*", "planted"))
	if err != nil || len(planted) != 1 {
		t.Fatalf("records: %q, %v", planted, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "record")
	if err := errors.Join(os.Rename(planted[0], elsewhere), os.Symlink(elsewhere, planted[0])); err != nil {
		t.Fatal(err)
	}
	newLauncher(t, dir)
	if !lives(stranger) {
		t.Error("a process was killed on the word of a planted record")
	}
	// The same record is the proof where it is comparable.
	process.FakeHost(t, dir, process.PIDDomain(), "run-3", stranger, start)
	newLauncher(t, dir)
	if lives(stranger) {
		t.Error("a recorded worker lives")
	}
}
