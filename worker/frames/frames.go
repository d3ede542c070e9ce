package frames

import (
	"context"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// Environment variables a worker is started with.
const (
	SocketEnv = "SNAKEPIT_FD"
	WorkerEnv = "SNAKEPIT_WORKER"
)

// Version is the newest version of the protocol this package speaks.
const Version = maxVersion

// Versions of the protocol this package speaks.
const (
	minVersion = 1
	maxVersion = 1
)

const (
	defaultWindow = 64
	// minFrame is the least limit for frames: messages without values need
	// that much.
	minFrame = 64 << 10
)

// Options configure the transport. Launcher and Command are required.
type Options struct {
	Launcher worker.Launcher
	// Command says how a worker is started, anew for each start, or why none
	// can be. The transport sets SocketEnv, Stdout and Stderr, and adds to Env.
	Command func(worker.Spec) (worker.Command, error)
	// MaxFrame limits the bytes of one message in either direction: 128 MiB
	// if it is 0.
	MaxFrame int
	// Window is how many chunks of a stream may be on their way: 64 if it is
	// 0.
	Window int
}

// New returns the transport. It starts nothing and reads no environment.
func New(opts Options) worker.Transport {
	if opts.MaxFrame == 0 {
		opts.MaxFrame = DefaultMaxFrame
	}
	opts.MaxFrame = max(opts.MaxFrame, minFrame)
	if opts.Window <= 0 {
		opts.Window = defaultWindow
	}
	return &transport{opts}
}

type transport struct{ opts Options }

// Start implements worker.Transport.
func (t *transport) Start(ctx context.Context, spec worker.Spec) (worker.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if spec.Logger == nil {
		spec.Logger = slog.New(slog.DiscardHandler)
	}
	cmd, err := t.opts.Command(spec)
	if err != nil {
		return nil, &worker.StartError{Worker: spec.ID, Reason: err.Error(), Err: err}
	}
	cmd.SocketEnv = SocketEnv
	cmd.Env = append(slices.Clip(cmd.Env), WorkerEnv+"="+spec.ID)
	stderr := &printed{log: spec.Logger, level: slog.LevelWarn, stream: "stderr"}
	cmd.Stdout = &printed{log: spec.Logger, level: slog.LevelInfo, stream: "stdout"}
	cmd.Stderr = stderr

	proc, err := t.opts.Launcher.Launch(ctx, cmd)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &worker.StartError{Worker: spec.ID, Reason: err.Error(), Err: err}
	}
	c := newConn(t.opts, spec, proc)
	if err := c.greet(ctx); err != nil {
		return nil, c.startError(ctx, err, stderr)
	}
	c.idle.Reset(0)
	go c.supervise()
	return c, nil
}

// newConn makes a connection whose worker has not said hello.
func newConn(opts Options, spec worker.Spec, proc worker.Process) *conn {
	c := &conn{
		opts:     opts,
		spec:     spec,
		proc:     proc,
		socket:   proc.Conn(),
		frames:   newFrameReader(proc.Conn(), DefaultMaxFrame),
		writing:  make(chan struct{}, 1),
		requests: make(map[int64]*request),
		reading:  make(chan struct{}, 1),
		readDone: make(chan struct{}),
		done:     make(chan struct{}),
	}
	c.idle = time.AfterFunc(time.Hour, c.readIdle)
	c.idle.Stop() // until there is a worker to read from
	if s, ok := c.socket.(syscall.Conn); ok {
		// Without it writing is merely slower.
		c.raw, _ = s.SyscallConn()
	}
	return c
}
