package process_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/process"
)

// roleEnv makes the test binary play a process of a test. Roles print
// "name value" lines; the test reads them.
const roleEnv = "SNAKEPIT_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		play(role)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func play(role string) {
	name, arg, _ := strings.Cut(role, ":")
	switch name {
	case "echo": // returns what comes over the socket
		socket := inherited()
		io.Copy(socket, socket)
	case "print":
		fmt.Println("one")
		fmt.Fprintln(os.Stderr, "two")
		fmt.Println(strings.Repeat("x", 100_000))
		fmt.Print("no end")
	case "exit":
		code, _ := strconv.Atoi(arg)
		os.Exit(code)
	case "signal":
		sig, _ := strconv.Atoi(arg)
		syscall.Kill(os.Getpid(), syscall.Signal(sig))
		select {}
	case "env":
		fmt.Println("run", os.Getenv(process.RunIDEnv))
		fmt.Println("extra", os.Getenv("EXTRA"))
		fmt.Println("group", syscall.Getpgrp()-os.Getpid())
	case "idle":
		hang()
	case "stubborn": // ignores SIGTERM, has a child in its group and one outside
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("member", spawn(nil))
		fmt.Println("escaped", spawn(&syscall.SysProcAttr{Setsid: true}))
		fmt.Println("self", os.Getpid())
		hang()
	case "leaver": // ends at once, its children do not
		fmt.Println("member", spawn(nil))
		fmt.Println("escaped", spawn(&syscall.SysProcAttr{Setsid: true}))
	case "daemon": // a child leaves on purpose and keeps the output open
		os.Unsetenv(process.RunIDEnv)
		fmt.Println("daemon", spawn(&syscall.SysProcAttr{Setsid: true}))
	case "host": // arg is the run directory; workers' lines go to stdout
		host(arg)
	default:
		panic("unknown role " + role)
	}
}

// hang keeps a process, and not its socket's end, waiting.
func hang() {
	for {
		time.Sleep(time.Hour)
	}
}

func inherited() net.Conn {
	fd, err := strconv.Atoi(os.Getenv("TEST_SOCKET"))
	if err != nil {
		panic(err)
	}
	conn, err := net.FileConn(os.NewFile(uintptr(fd), "socket"))
	if err != nil {
		panic(err)
	}
	return conn
}

func spawn(attr *syscall.SysProcAttr) int {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=idle")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	return cmd.Process.Pid
}

// host launches two stubborn workers and waits for its own end.
func host(runDir string) {
	l, err := process.New(process.Options{RunDir: runDir})
	if err != nil {
		panic(err)
	}
	for range 2 {
		if _, err := l.Launch(context.Background(), command("stubborn", os.Stdout)); err != nil {
			panic(err)
		}
	}
	hang()
}

func command(role string, out io.Writer) worker.Command {
	return worker.Command{
		Path: os.Args[0],
		// A race-detecting binary takes a second to exit, unless told otherwise.
		Env:       []string{roleEnv + "=" + role, "EXTRA=more", "GORACE=atexit_sleep_ms=0"},
		SocketEnv: "TEST_SOCKET",
		Stdout:    out,
		Stderr:    out,
	}
}

// lines collects what a process prints.
type lines struct {
	mu    sync.Mutex
	all   []string
	added chan struct{}
}

func newLines() *lines { return &lines{added: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.all = append(l.all, string(p))
	l.mu.Unlock()
	select {
	case l.added <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (l *lines) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.all...)
}

// values waits until as many lines "name value" have come.
func (l *lines) values(t *testing.T, name string, count int) []int {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		var found []int
		for _, line := range l.list() {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
				n, err := strconv.Atoi(v)
				if err != nil {
					t.Fatalf("line %q: %v", line, err)
				}
				found = append(found, n)
			}
		}
		if len(found) >= count {
			return found
		}
		select {
		case <-l.added:
		case <-timeout:
			t.Fatalf("%d values of %s wanted, lines so far: %q", count, name, l.list())
		}
	}
}

func newLauncher(t *testing.T, runDir string) *process.Launcher {
	t.Helper()
	l, err := process.New(process.Options{RunDir: runDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func launch(t *testing.T, l *process.Launcher, cmd worker.Command) worker.Process {
	t.Helper()
	p, err := l.Launch(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Conn().Close() })
	return p
}

func await(t *testing.T, p worker.Process) worker.Exit {
	t.Helper()
	select {
	case <-p.Done():
		return p.Exit()
	case <-time.After(20 * time.Second):
		t.Fatalf("process %d does not end", p.PID())
		panic("unreachable")
	}
}

// startHost starts a host in a process of its own and returns it with what it
// prints.
func startHost(t *testing.T, runDir string) (*exec.Cmd, *lines) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=host:"+runDir)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	out := newLines()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(r); s.Scan(); {
			out.Write(s.Bytes())
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		r.Close()
		<-read
	})
	return cmd, out
}

func hostDirs(t *testing.T, runDir string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(runDir, "hosts", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}
