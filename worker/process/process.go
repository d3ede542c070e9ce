package process

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snakepit-go/snakepit/worker"
)

// outputWait bounds how long the notice of a process's end waits for slow
// writers of its output, so that usually its last words come before it.
const outputWait = 100 * time.Millisecond

// process is a started process. It implements worker.Process.
type process struct {
	run  string
	pid  int
	cmd  *exec.Cmd
	conn net.Conn

	outputs []*output

	// mu guards the two below, and signals against the moment from which on
	// the process's number may belong to another.
	mu      sync.Mutex
	reaped  bool
	stopped bool

	done chan struct{}
	exit worker.Exit // valid once done is closed
}

var _ worker.Process = (*process)(nil)

func (p *process) PID() int { return p.pid }

// Conn is our end of the socket; the caller of Launch closes it.
func (p *process) Conn() net.Conn { return p.conn }

func (p *process) Done() <-chan struct{} { return p.done }

func (p *process) Exit() worker.Exit {
	select {
	case <-p.done:
		return p.exit
	default:
		return worker.Exit{}
	}
}

func (p *process) Stop(grace time.Duration) worker.Exit {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.signal(syscall.SIGTERM)

	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
		<-p.done
	}
	return p.exit
}

func (p *process) Kill() { p.signal(syscall.SIGKILL) }

func (p *process) Suspended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return false
	}
	seen, _ := lookUp(p.pid)
	return seen.stopped
}

// signal reaches the group of the process as long as its number is certain to
// be ours.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		// It fails only if nobody is left to be signalled.
		_ = syscall.Kill(-p.pid, sig)
	}
}

// wait returns when the process has ended and its group was killed.
func (p *process) wait() {
	// Where the system can wait without reaping, the dead leader keeps its
	// number until then: the time to kill the rest of its group.
	held := awaitEnd(p.pid)
	if !held {
		p.reap()
	}
	p.mu.Lock()
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	p.reaped = true
	stopped := p.stopped
	p.mu.Unlock()
	if held {
		p.reap()
	}
	p.exit.Expected = stopped
	p.finishOutputs()
	close(p.done)
}

func (p *process) reap() {
	err := p.cmd.Wait()
	if p.cmd.ProcessState == nil {
		// Something else in this program waits for children it does not own.
		p.exit = worker.Exit{Code: -1, Reason: "ended, its status is not known: " + err.Error(), Time: time.Now()}
		return
	}
	p.exit = exitOf(p.cmd.ProcessState.Sys().(syscall.WaitStatus))
}

func exitOf(status syscall.WaitStatus) worker.Exit {
	exit := worker.Exit{Time: time.Now()}
	if !status.Signaled() {
		exit.Code = status.ExitStatus()
		exit.Reason = fmt.Sprintf("exited with status %d", exit.Code)
		return exit
	}
	sig := status.Signal()
	exit.Code = 128 + int(sig)
	exit.Signal = unix.SignalName(sig)
	exit.Reason = fmt.Sprintf("killed by signal %d", int(sig))
	if exit.Signal != "" {
		exit.Reason += " (" + exit.Signal + ")"
	}
	if status.CoreDump() {
		exit.Reason += ", core dumped"
	}
	return exit
}

// output prepares a pipe from the process to w and returns its writing end.
func (p *process) output(w io.Writer) (io.Writer, error) {
	if w == nil {
		return nil, nil // exec.Cmd uses the null device
	}
	r, child, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.outputs = append(p.outputs, &output{pipe: r, child: child, to: w, done: make(chan struct{})})
	return child, nil
}

func (p *process) startOutputs() {
	for _, o := range p.outputs {
		o.child.Close()
		go o.run()
	}
}

// closeOutputs is for a process that was not started.
func (p *process) closeOutputs() {
	for _, o := range p.outputs {
		o.child.Close()
		o.pipe.Close()
	}
}

// finishOutputs waits, within outputWait, until what the process printed has
// reached the writers.
func (p *process) finishOutputs() {
	for _, o := range p.outputs {
		o.finish()
	}
	timer := time.NewTimer(outputWait)
	defer timer.Stop()
	for _, o := range p.outputs {
		select {
		case <-o.done:
		case <-timer.C:
			return
		}
	}
}
