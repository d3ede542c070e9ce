package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/internal/testenv"
)

// daemonTools are what the daemons of these tests serve.
const daemonTools = `
from snakepit import tool

@tool
def echo(value=None):
    return value

@tool
def shout(lines: int):
    for n in range(lines):
        print("x" * 1000)
    return lines

@tool
def remember(text: str, session):
    session.vars["text"] = text
`

// daemon is a server in a process of its own.
type daemon struct {
	cmd   *exec.Cmd
	url   string
	ended chan error // takes what Wait returns
}

// startDaemon runs snakepit serve with the given standard error, and waits until it says that it is ready. A line of shell
// runs it, in which "$@" stands for it.
func startDaemon(t *testing.T, shell string, stderr *os.File, args ...string) *daemon {
	t.Helper()
	dir := t.TempDir()
	tools := filepath.Join(dir, "tools.py")
	if err := os.WriteFile(tools, []byte(daemonTools), 0o600); err != nil {
		t.Fatal(err)
	}
	command := append([]string{"-c", shell, "sh", "snakepit", "serve", "--python", tools, "--interpreter", testenv.Python(t),
		"--listen", "127.0.0.1:0", "--run-dir", filepath.Join(dir, "run"), "--workers", "1"}, args...)
	d := &daemon{cmd: exec.Command("sh", command...), ended: make(chan error, 1)}
	d.cmd.Stderr = stderr
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		lines <- line
		_, _ = io.Copy(io.Discard, r)
		d.ended <- d.cmd.Wait()
	}()
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	select {
	case line := <-lines:
		match := regexp.MustCompile(`ready at (http://\S+?);`).FindStringSubmatch(line)
		if match == nil {
			t.Fatalf("instead of being ready it says %q", line)
		}
		d.url = match[1]
	case <-time.After(patience):
		t.Fatal("not ready in time")
	}
	return d
}

func (d *daemon) call(t *testing.T, tool string, args map[string]any) {
	t.Helper()
	c, err := client.New(d.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.Execute(ctx, client.Call{Tool: tool, Args: args, Session: "s", Timeout: patience}); err != nil {
		t.Errorf("call of %s: %v", tool, err)
	}
}

// stop sends a signal, and returns the exit code.
func (d *daemon) stop(t *testing.T, signal syscall.Signal) int {
	t.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	return d.wait(t)
}

func (d *daemon) wait(t *testing.T) int {
	t.Helper()
	select {
	case err := <-d.ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("the signal did not end it")
		return -1
	}
}

// stuckPipe is a pipe that is full, so that who writes into it waits for ever.
func stuckPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	for size := 4096; size > 0; size /= 2 {
		for err = nil; err == nil; {
			if err := w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(make([]byte, size))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	return r, w
}

// TestStuckLogReader runs a server whose log nobody reads: it becomes ready, calls succeed, also of a tool that prints
// more than any buffer holds, and it stops in time. Once the reader goes on it is told what it missed.
func TestStuckLogReader(t *testing.T) {
	r, w := stuckPipe(t)
	d := startDaemon(t, `exec "$@"`, w)
	d.call(t, "echo", nil)
	d.call(t, "shout", map[string]any{"lines": 5000})
	d.call(t, "echo", nil)

	log := make(chan string)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	go func() {
		text, _ := io.ReadAll(r)
		log <- string(text)
	}()
	// What it missed is told when the reader has caught up, or at the end.
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	text := <-log
	for _, want := range []string{"msg=ready", "log records dropped", "msg=stopped"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if n := strings.Count(text, "xxxxxxxxxx\""); n >= 5000 {
		t.Errorf("the log holds %d lines: nothing was stuck", n)
	}
}

func TestStopWithAStuckLogReader(t *testing.T) {
	_, w := stuckPipe(t)
	d := startDaemon(t, `exec "$@"`, w)
	d.call(t, "echo", nil)
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// A failing start has an error to report as well.
	cmd := exec.Command("snakepit", "serve", "--python", "nosuch.py")
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Error("a start that fails waits for the reader of its error")
	}
}

// TestClosedLogReader is 2>&1 | head: the reader of both outputs leaves after the line that says where to connect.
func TestClosedLogReader(t *testing.T) {
	dir := t.TempDir()
	pid, code, gone := filepath.Join(dir, "pid"), filepath.Join(dir, "code"), filepath.Join(dir, "gone")
	t.Setenv("PID", pid)
	t.Setenv("CODE", code)
	t.Setenv("GONE", gone)
	d := startDaemon(t, `{ "$@" & echo $! >"$PID"; wait $!; echo $? >"$CODE"; } 2>&1 | { grep -m1 "^ready at"; exec <&-; touch "$GONE"; }`, nil)
	testenv.Eventually(t, patience, "the reader should leave", func() bool {
		_, err := os.Stat(gone)
		return err == nil
	})
	for range 3 {
		d.call(t, "shout", map[string]any{"lines": 10})
	}
	d.call(t, "echo", nil)
	if err := syscall.Kill(readNumber(t, pid), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.wait(t)
	if code := readNumber(t, code); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestFloodOfHalfSentRequests has a server of few files flooded by clients that begin requests and never end them. Its
// store and its workers are not harmed, and it serves again when their time is over.
func TestFloodOfHalfSentRequests(t *testing.T) {
	dir := t.TempDir()
	settings := filepath.Join(dir, "snakepit.yaml")
	if err := os.WriteFile(settings, []byte("limits: {body_timeout: 2s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, `ulimit -n 200; exec "$@"`, nil, "--config", settings, "--data", filepath.Join(dir, "data"))
	d.call(t, "remember", map[string]any{"text": "before"})
	for range 400 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		// An error means that it was refused.
		_, _ = io.WriteString(conn, "POST /snakepit.v1.ExecutionService/Execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err == nil && len(files) > 160 { // half of them, and what it has open itself
		t.Errorf("%d files are open", len(files))
	}
	testenv.Eventually(t, patience, "the server should serve again", func() bool {
		res, err := http.Get(d.url + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	d.call(t, "remember", map[string]any{"text": "after"})
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestConnectionsThatLeaveNoFiles(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "snakepit.yaml")
	if err := os.WriteFile(settings, []byte("limits: {connections: 180}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `ulimit -n 200; exec snakepit serve --python x.py --listen 127.0.0.1:0 --config "$1"`, "sh", settings).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "limits.connections: 180") || !strings.Contains(string(out), "of the 200 files") {
		t.Errorf("%v: %s", err, out)
	}
}

func readNumber(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
