package testenv_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failure is a testing.TB that records Fatalf and ends the goroutine, as the real one does.
type failure struct {
	testing.TB
	message string
}

func (f *failure) Helper() {}

func (f *failure) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failing runs f and returns what it failed with.
func failing(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	rec := &failure{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(rec)
	}()
	<-done
	return rec.message
}

// program puts an executable shell script into a directory of its own and returns the directory.
func program(t *testing.T, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMissingProgramFailsWithTheCommand(t *testing.T) {
	message := failing(t, func(tb testing.TB) { testenv.Command(tb, "no-such-program", "some-package") })
	if !strings.Contains(message, "no-such-program") || !strings.Contains(message, "apt-get install some-package") {
		t.Errorf("message %q", message)
	}
	if path := testenv.Command(t, "sh", "dash"); !filepath.IsAbs(path) {
		t.Errorf("sh is %q", path)
	}
}

func TestPython(t *testing.T) {
	python := testenv.Python(t)
	if out, err := exec.CommandContext(t.Context(), python, "-c", "print(6*7)").Output(); err != nil || string(out) != "42\n" {
		t.Errorf("%s -c print(6*7): %q, %v", python, out, err)
	}
	for script, want := range map[string]string{
		`echo "3 8 /opt/python3.8"`: "Python 3.8; the SDK needs 3.9 or newer",
		`echo "2 7 /opt/python2.7"`: "Python 2.7; the SDK needs 3.9 or newer",
		`echo "three"`:              "not a version",
		`echo "3 x /opt/python"`:    "not a version",
		`exit 3`:                    "exit status 3",
	} {
		t.Setenv("PATH", program(t, "python3", script))
		if message := failing(t, func(tb testing.TB) { testenv.Python(tb) }); !strings.Contains(message, want) {
			t.Errorf("with python3 = %q: message %q, want %q", script, message, want)
		}
	}
	t.Setenv("PATH", program(t, "python3", `echo "3 100 /opt/my python"`))
	if got := testenv.Python(t); got != "/opt/my python" {
		t.Errorf("python = %q", got)
	}
}

func TestRoot(t *testing.T) {
	if _, err := os.Stat(filepath.Join(testenv.Root(t), "internal", "testenv", "testenv.go")); err != nil {
		t.Error(err)
	}
}

func TestPortIsFree(t *testing.T) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", testenv.Port(t)))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestAlive(t *testing.T) {
	if !testenv.Alive(os.Getpid()) {
		t.Error("this process does not run")
	}
	cmd := exec.CommandContext(t.Context(), testenv.Command(t, "cat", "coreutils")) // ends with its input
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if !testenv.Alive(pid) {
		t.Error("a running process does not run")
	}
	message := failing(t, func(tb testing.TB) { testenv.WaitGone(tb, pid, 20*time.Millisecond) })
	if !strings.Contains(message, fmt.Sprint(pid)) {
		t.Errorf("waiting for a running process to end: message %q", message)
	}
	input.Close()
	testenv.WaitGone(t, pid, 10*time.Second) // not waited for yet: a zombie counts as ended
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if testenv.Alive(pid) {
		t.Error("an ended process runs")
	}
}

func TestEventually(t *testing.T) {
	looks := 0
	testenv.Eventually(t, time.Minute, "three looks", func() bool { looks++; return looks == 3 })
	if looks != 3 {
		t.Errorf("looked %d times", looks)
	}
}
