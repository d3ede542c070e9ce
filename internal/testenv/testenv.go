// Package testenv gives tests what they need from the machine, or fails them with the command that installs it.
//
// It never skips: a test that is silently not run is worse than one that fails. Everything takes a testing.TB and ends
// the test on failure, so callers need no error handling. Only tests and test helpers import it.
package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Command returns the path of a program, or fails the test with the way to install it: a Debian package that holds it.
func Command(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test runs the real %s, which is not installed: run make deps, or: apt-get install %s", name, debianPackage)
	}
	return path
}

// MinPython is the lowest version of Python that the SDK supports.
var MinPython = [2]int{3, 9}

// Python returns the path of a Python interpreter that is new enough, or fails the test.
func Python(t testing.TB) string {
	t.Helper()
	path := Command(t, "python3", "python3")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The interpreter names itself, so that a version manager's slow shim is passed over from here on.
	out, err := exec.CommandContext(ctx, path, "-c", `import sys; print("%d %d" % sys.version_info[:2], sys.executable)`).Output()
	if err != nil {
		t.Fatalf("ask %s for its version: %v", path, err)
	}
	python, version, err := parsePython(out)
	if err != nil {
		t.Fatalf("ask %s for its version: %v", path, err)
	}
	if version[0] < MinPython[0] || version[0] == MinPython[0] && version[1] < MinPython[1] {
		t.Fatalf("%s is Python %d.%d; the SDK needs %d.%d or newer: put one first on PATH", python, version[0], version[1], MinPython[0], MinPython[1])
	}
	return python
}

func parsePython(out []byte) (path string, version [2]int, err error) {
	fields := strings.SplitN(strings.TrimSpace(string(out)), " ", 3)
	if len(fields) != 3 {
		return "", version, fmt.Errorf("answer %q is not a version and a path", out)
	}
	for i := range version {
		if version[i], err = strconv.Atoi(fields[i]); err != nil {
			return "", version, fmt.Errorf("answer %q is not a version and a path", out)
		}
	}
	return fields[2], version, nil
}

// Root is the directory of the module, found from the working directory of the test upwards.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}

// Port returns a TCP port on 127.0.0.1 that was free a moment ago. Another program can take it before its use: prefer
// to listen on port 0 where the port can be asked for afterwards.
func Port(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Alive reports whether a process runs. One that has ended and only waits for its parent to notice (a zombie) does not.
func Alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) || !procMounted() // gone between the two looks, or no /proc to look at
	}
	// The state follows the command name, which is in parentheses and can hold anything.
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	return !bytes.HasPrefix(bytes.TrimSpace(rest), []byte("Z"))
}

func procMounted() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}

// Eventually waits until what it watches is true, and fails the test if that takes longer than within. It is for
// conditions outside the process that announce nothing, such as the end of a grandchild; inside, use channels.
func Eventually(t testing.TB, within time.Duration, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !is() {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("waited %v in vain: %s", within, what)
		}
	}
}

// WaitGone waits until a process has ended.
func WaitGone(t testing.TB, pid int, within time.Duration) {
	t.Helper()
	Eventually(t, within, fmt.Sprintf("process %d should have ended", pid), func() bool { return !Alive(pid) })
}
