package worker

import (
	"context"
	"io"
	"net"
	"time"
)

// Launcher starts operating system processes for a transport that speaks over
// an inherited socket. Package process is the real one.
type Launcher interface {
	// Launch starts a process in a group of its own, with one end of a
	// connected stream socket as the file descriptor the command expects.
	// The process ends, with its group, no later than this one does.
	Launch(ctx context.Context, cmd Command) (Process, error)
}

// Command is a process to be started.
type Command struct {
	// Path and Args as for an exec: Args excludes the program's own name.
	Path string
	Args []string
	// Env is added to the environment of this process.
	Env []string
	Dir string
	// SocketEnv is the environment variable that tells the process the number
	// of the inherited file descriptor.
	SocketEnv string
	// Stdout and Stderr receive what the process and its children write.
	Stdout, Stderr io.Writer
}

// Process is a started process.
type Process interface {
	PID() int
	// Conn is our end of the socket. Closing it is a process's sign to end.
	Conn() net.Conn
	// Stop sends SIGTERM to the group, and SIGKILL after grace. It returns
	// when the process has ended.
	Stop(grace time.Duration) Exit
	// Kill sends SIGKILL to the group and does not wait.
	Kill()
	// Suspended reports whether the process was stopped by a signal and not
	// continued; false if the system does not tell.
	Suspended() bool
	// Done is closed when the process has ended; children of it that kept its
	// output open do not delay this.
	Done() <-chan struct{}
	// Exit is valid once Done is closed.
	Exit() Exit
}
