package snakepit

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/worker"
)

// Config of an Engine. Only Pools must be set; zero values mean the defaults.
type Config struct {
	// Pools are the pools of workers; the first is the default one.
	Pools []PoolConfig
	// Store keeps the sessions; nil keeps them in memory. The engine closes it.
	Store driver.Store
	// Sessions are the options of the session store.
	Sessions session.Options
	// HostTools are functions of this program that tools may call.
	HostTools map[string]HostTool
	// Node names this process in session records; default the host's name.
	Node string
	// RunDir holds the unpacked Python library and the record of running
	// workers, by which the next engine cleans up after one that was killed.
	// Any number of engines may share it; nobody but this user may be able to
	// write to it. If it is empty, the record is in XDG_RUNTIME_DIR and the
	// library in the user's cache directory, or else in the first of these two,
	// the directory for temporary files and /dev/shm that serves.
	RunDir string
	// Logger receives the engine's records and what workers print and log; nil is
	// silent. One record for each failed call says which tool it was.
	Logger *slog.Logger
	// LogTracebacks adds Python's traceback to the record of a failed call,
	// which has the place in the source in any case.
	LogTracebacks bool
	// Telemetry observes the engine; telemetry.Attach fills it in.
	Telemetry Telemetry
}

// Telemetry observes an engine; the store has Sessions.Observer.
type Telemetry struct {
	// Workers is told of calls and workers.
	Workers worker.Observer
	// Opened is called once the engine is open, for what is read rather than
	// told. If it fails, so does Open.
	Opened func(*Engine) error
}

// PoolConfig is a pool of workers that offer the same tools.
type PoolConfig struct {
	// Name is "default" if empty.
	Name string
	// Workers is the number of processes; default one for each usable CPU.
	Workers int
	// Tools is the path of a Python file, or the name of a module.
	Tools string
	// Interpreter is the Python to use. Default: $SNAKEPIT_PYTHON, the active
	// virtual environment, or the first usable one on the PATH.
	Interpreter string
	// PythonPath is put before Python's own module search path.
	PythonPath []string
	// Dir is the workers' working directory; default this process's.
	Dir string
	// Env is added to the workers' environment, as "KEY=value".
	Env []string

	// QueueLimit bounds the calls that wait, for the turn of their session or
	// for a worker; default 1000, negative for none.
	QueueLimit int
	// QueueTimeout bounds their wait until a worker has them, both together;
	// default 10 s, negative for no bound.
	QueueTimeout time.Duration
	// CallTimeout bounds a call, queueing included; default 300 s.
	CallTimeout time.Duration
	// StreamTimeout bounds a stream, queueing included; default 900 s.
	StreamTimeout time.Duration
	// MaxTimeout is the longest that a call may ask for with WithTimeout; one
	// that asks for more is refused. Default: the longest of one hour,
	// CallTimeout and StreamTimeout; negative for no bound.
	MaxTimeout time.Duration
	// StartTimeout bounds the start of a worker; default 30 s.
	StartTimeout time.Duration
	// PingInterval is how often an idle worker is asked for a sign of life, and
	// how long it may take for one; default 10 s, negative for never. One that
	// misses three in a row is replaced, and so is one, idle or busy, that was
	// stopped by a signal (SIGSTOP) for three intervals. A worker that runs a
	// call is bounded by the call's timeout and CancelGrace alone.
	PingInterval time.Duration
	// CancelGrace is how long a cancelled call may go on before its worker is
	// killed; default 5 s.
	CancelGrace time.Duration
	// StopGrace is how long a worker may take to stop before it is killed;
	// default 6 s.
	StopGrace time.Duration
	// Affinity says how much a session clings to its worker.
	Affinity Affinity

	// Transport replaces Python workers by others. Tools, Interpreter,
	// PythonPath, Dir and Env are then not used.
	Transport worker.Transport
}

// HostTool is a function of this program that tools may call by its name.
type HostTool = execution.HostTool

// Affinity says how much a session clings to the worker that holds its state.
type Affinity = execution.Affinity

// The affinities; AffinityHint is the default.
const (
	AffinityHint        = execution.Hint
	AffinityStrictQueue = execution.StrictQueue
	AffinityFailFast    = execution.StrictFailFast
)

// withDefaults returns the configuration with every default filled in, or says
// what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if len(c.Pools) == 0 {
		return c, fmt.Errorf("%w: no pool configured: set Config.Pools with at least the Tools of one", session.ErrInvalid)
	}
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("name this node: %w; set Config.Node", err)
		}
		c.Node = host
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	seen := make(map[string]bool)
	pools := make([]PoolConfig, len(c.Pools))
	for i, p := range c.Pools {
		p = p.withDefaults()
		if seen[p.Name] {
			return c, fmt.Errorf("%w: two pools are named %q: give each its own name", session.ErrInvalid, p.Name)
		}
		seen[p.Name] = true
		if p.Transport == nil && p.Tools == "" {
			return c, fmt.Errorf("%w: pool %q has no Tools: set the path of a Python file or the name of a module", session.ErrInvalid, p.Name)
		}
		if p.Workers < 0 {
			return c, fmt.Errorf("%w: pool %q has %d workers: give their number, or 0 for one for each CPU", session.ErrInvalid, p.Name, p.Workers)
		}
		pools[i] = p
	}
	c.Pools = pools
	return c, nil
}

// withDefaults fills in what the engine itself uses; the pool knows the rest.
func (p PoolConfig) withDefaults() PoolConfig {
	p.Name = cmp.Or(p.Name, "default")
	p.CallTimeout = cmp.Or(p.CallTimeout, 300*time.Second)
	p.StreamTimeout = cmp.Or(p.StreamTimeout, 900*time.Second)
	p.MaxTimeout = cmp.Or(p.MaxTimeout, max(time.Hour, p.CallTimeout, p.StreamTimeout))
	return p
}

// timeout returns the bound of a call that asks for one of its own, or for the
// pool's if asked is zero.
func (p PoolConfig) timeout(asked time.Duration, streams bool) (time.Duration, error) {
	switch {
	case asked < 0:
		return 0, fmt.Errorf("%w: a timeout of %v: give a positive one, or none for that of pool %q", session.ErrInvalid, asked, p.Name)
	case p.MaxTimeout > 0 && asked > p.MaxTimeout:
		return 0, fmt.Errorf("%w: a timeout of %v: calls in pool %q may have %v at most (max_timeout)", session.ErrInvalid, asked, p.Name, p.MaxTimeout)
	case asked > 0:
		return asked, nil
	case streams:
		return p.StreamTimeout, nil
	}
	return p.CallTimeout, nil
}
