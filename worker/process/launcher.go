package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"github.com/snakepit-go/snakepit/worker"
)

// RunIDEnv is the environment variable by which a worker and everything it
// starts is recognised later.
const RunIDEnv = "SNAKEPIT_RUN_ID"

// childSocket is the descriptor of the socket in the child: the first of
// exec.Cmd.ExtraFiles.
const childSocket = 3

// Options configure a Launcher.
type Options struct {
	// RunDir is where running workers are recorded, so that the next launcher can
	// clean up behind a host that was killed. It is created if missing, and nobody
	// but this user may be able to write to it. Any number of hosts may share one.
	RunDir string
	// Logger says what was cleaned up; nil is silent.
	Logger *slog.Logger
}

// Launcher starts processes. It implements worker.Launcher.
type Launcher struct {
	log      *slog.Logger
	registry *registry
	// forks runs functions on the one thread that forks. Linux sends the
	// parent-death signal when the thread that forked ends, not the process.
	forks chan func()

	mu      sync.Mutex
	closed  bool
	running map[*process]struct{}
	// busy counts launches and processes whose clean-up is not finished.
	busy sync.WaitGroup
}

var _ worker.Launcher = (*Launcher)(nil)

var errClosed = errors.New("the launcher is closed")

// New opens a launcher over a run directory. First it kills the workers that
// hosts which no longer live left behind there.
func New(opts Options) (*Launcher, error) {
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	registry, err := openRegistry(opts.RunDir, log)
	if err != nil {
		return nil, err
	}
	l := &Launcher{
		log:      log,
		registry: registry,
		forks:    make(chan func()),
		running:  make(map[*process]struct{}),
	}
	go l.forkLoop()
	return l, nil
}

func (l *Launcher) forkLoop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for f := range l.forks {
		f()
	}
}

// Launch starts a process. The context matters only until it has started.
//
// Each Write to cmd.Stdout and cmd.Stderr is one line with its end, or a piece
// of a very long one. A slow writer delays the process that prints, and never
// the notice of its end.
func (l *Launcher) Launch(ctx context.Context, cmd worker.Command) (worker.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !l.enter() {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, errClosed)
	}
	p, err := l.start(cmd)
	if err != nil {
		l.busy.Done()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}

	l.mu.Lock()
	closed := l.closed
	l.running[p] = struct{}{}
	l.mu.Unlock()
	if closed {
		p.Kill()
	}
	go func() {
		defer l.busy.Done()
		p.wait()
		l.mu.Lock()
		delete(l.running, p)
		l.mu.Unlock()
		l.cleanUpAfter(p)
	}()
	return p, nil
}

// enter counts a launch, unless the launcher is closed.
func (l *Launcher) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.busy.Add(1)
	return true
}

func (l *Launcher) start(cmd worker.Command) (_ *process, err error) {
	run := newRunID()
	l.registry.reserve(run)
	defer func() {
		if err != nil {
			l.registry.release(run)
		}
	}()

	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()

	c := exec.Command(cmd.Path, cmd.Args...)
	c.Dir = cmd.Dir
	c.ExtraFiles = []*os.File{theirs}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(c.SysProcAttr)
	c.Env = append(os.Environ(), cmd.Env...)
	c.Env = append(c.Env, RunIDEnv+"="+run)
	if cmd.SocketEnv != "" {
		c.Env = append(c.Env, cmd.SocketEnv+"="+strconv.Itoa(childSocket))
	}

	p := &process{run: run, cmd: c, conn: ours, done: make(chan struct{})}
	defer func() {
		if err != nil {
			ours.Close()
			p.closeOutputs()
		}
	}()
	if c.Stdout, err = p.output(cmd.Stdout); err != nil {
		return nil, err
	}
	if c.Stderr, err = p.output(cmd.Stderr); err != nil {
		return nil, err
	}

	started := make(chan error, 1)
	l.forks <- func() { started <- c.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = c.Process.Pid
	if err := l.registry.started(run, p.pid); err != nil {
		// The reservation names the run id, which finds the process as well.
		l.log.Warn("the pid of a worker is not recorded", "pid", p.pid, "error", err)
	}
	p.startOutputs()
	return p, nil
}

// cleanUpAfter kills what a process left behind that has ended: children that
// went into a group of their own.
func (l *Launcher) cleanUpAfter(p *process) {
	killed, err := killAll([]record{{run: p.run}})
	if len(killed) > 0 {
		l.log.Info("killed processes left behind by a worker", "pid", p.pid, "killed", killed)
	}
	if err != nil {
		l.log.Warn("a worker left processes behind", "pid", p.pid, "error", err)
		return // the record stays, for the next launcher to try again
	}
	l.registry.release(p.run)
}

// Close kills every process of the launcher, waits for their end, and removes
// its records. Close is idempotent.
func (l *Launcher) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	for p := range l.running {
		p.Kill()
	}
	l.mu.Unlock()
	l.busy.Wait()
	if !first {
		return nil
	}
	close(l.forks)
	return l.registry.close()
}

func newRunID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// socketPair returns a connected pair: a connection for us and a file for the
// child, both closed on exec.
func socketPair() (net.Conn, *os.File, error) {
	// Not every system can create the pair closed on exec at once.
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "worker socket")
	theirs := os.NewFile(uintptr(fds[1]), "worker socket (child's end)")
	conn, err := net.FileConn(ours) // duplicates the descriptor
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
