// Package config is the daemon's configuration: one tree of structs, its defaults, and how a value gets into it.
//
// A value comes from the defaults, then the YAML file, then the environment, then the flags; the later one wins. Each
// source is checked on its own before it is merged, so an unknown key or a wrong type is reported with the source that
// holds it (for a file, the line). The names in all sources are derived from this one tree: the setting
// store.disk.cache_bytes is SNAKEPIT_STORE_DISK_CACHE_BYTES in the environment. The texts of config reference and
// docs/configuration.md are generated from it as well.
//
// The package reads a file and the environment it is given, nothing else; it starts nothing. Only app and cmd import it,
// and it imports nothing of ours: app turns these settings into the options of the parts. A Config is a plain value;
// sharing one between goroutines is safe as long as nobody writes to it.
//
// Read config.go for what can be set, schema.go for how names are derived, load.go for the precedence.
package config

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// Config is everything that can be set about one node.
type Config struct {
	Listen       string   `koanf:"listen" doc:"Address of the control API, health and metrics: host:port."`
	AllowRemote  bool     `koanf:"allow_remote" doc:"Allow listen to be an address that other machines reach. There is no authentication yet: whoever reaches the port can run every tool."`
	AllowedHosts []string `koanf:"allowed_hosts" doc:"Names by which clients may call this server, besides localhost, its addresses, the name in listen and the host name: snakepit.example.com, *.example.com for all below, * for any. A request with another name in its Host header is refused, for a web page can give itself a name that resolves to this server."`
	CORSOrigins  []string `koanf:"cors_origins" doc:"Origins whose web pages may use this server from a browser, as https://app.example.com; * for all. Pages of other origins are refused."`
	Node         string   `koanf:"node" doc:"Name of this node in logs and session ownership. Empty: the host name."`
	Data         string   `koanf:"data" doc:"Directory that holds the sessions. Empty: sessions live in memory and end with the process."`
	RunDir       string   `koanf:"run_dir" doc:"Directory for the registry of worker processes and the unpacked Python SDK; only this user may be able to write to it. Empty: snakepit in XDG_RUNTIME_DIR for the registry and in the user's cache directory for the SDK, or else the first of these two, snakepit-<uid> in the directory for temporary files and in /dev/shm that serves."`
	Store        Store    `koanf:"store" doc:"Where sessions are kept."`
	Sessions     Sessions `koanf:"sessions" doc:"Life and limits of sessions."`
	Pools        []Pool   `koanf:"pools" doc:"Worker pools. The first one takes the calls that name no pool. A list in the file replaces the default list; what an entry leaves out has the values shown here."`
	Limits       Limits   `koanf:"limits" doc:"Limits of the control API."`
	Shutdown     Shutdown `koanf:"shutdown" doc:"What happens on SIGTERM and SIGINT."`
	Log          Log      `koanf:"log" doc:"The log, written to standard error."`

	origins map[string]string // key to where its value came from; keys missing here are defaults
}

// Store selects and tunes the storage driver.
type Store struct {
	Driver string `koanf:"driver" enum:",memory,disk" doc:"Storage driver. Empty: disk if data is set, else memory."`
	Disk   Disk   `koanf:"disk" doc:"The disk driver."`
}

// Disk tunes the disk driver.
type Disk struct {
	Relaxed    bool `koanf:"relaxed" doc:"Acknowledge a write before it is on the disk. Faster; a crash of the machine or the process can lose the last writes."`
	CacheBytes Size `koanf:"cache_bytes" doc:"Memory for records kept decoded."`
}

// Sessions are the options of the session store.
type Sessions struct {
	DefaultTTL       time.Duration `koanf:"default_ttl" doc:"Idle time after which a session expires, for sessions created without one of their own."`
	MaxSessions      int           `koanf:"max_sessions" doc:"Creating more sessions than this is refused. -1: no limit."`
	SweepInterval    time.Duration `koanf:"sweep_interval" doc:"How often expired sessions are removed. They read as not found at once, whatever this is."`
	WarnThreshold    float64       `koanf:"warn_threshold" doc:"Share of max_sessions from which the log warns."`
	MaxVarsBytes     Size          `koanf:"max_vars_bytes" doc:"Largest total of one session's variables."`
	MaxPrograms      int           `koanf:"max_programs" doc:"Largest number of programs of one session."`
	MaxProgramBytes  Size          `koanf:"max_program_bytes" doc:"Largest total of one session's programs."`
	MaxBytes         Size          `koanf:"max_bytes" doc:"Largest total of all sessions' variables and programs. 0: 16GiB on disk, 1GiB in memory."`
	CallRetention    time.Duration `koanf:"call_retention" doc:"How long ids of calls are kept, with the answers that repetitions get. They go with their session."`
	MaxCallBytes     Size          `koanf:"max_call_bytes" doc:"Room for ids and answers of calls in one session, and in each of 16 records for calls without one; at least 4 KiB. Answers make room first, then the oldest ids."`
	OperationTimeout time.Duration `koanf:"operation_timeout" doc:"Limit of one storage operation whose caller set no deadline."`
}

// Pool is one pool of workers that run the same tools.
type Pool struct {
	Name          string            `koanf:"name" doc:"Name of the pool; required, and unique."`
	Workers       int               `koanf:"workers" doc:"Number of worker processes. 0: one for each CPU."`
	Python        string            `koanf:"python" doc:"The tools: path of a Python file, or name of a module; required."`
	Interpreter   string            `koanf:"interpreter" doc:"Python interpreter: a path, or a name looked up on PATH. Empty: that of SNAKEPIT_PYTHON or of the active virtual environment, else the first on PATH that is new enough."`
	PythonPath    []string          `koanf:"python_path" doc:"Directories put before Python's module search path."`
	Dir           string            `koanf:"dir" doc:"Working directory of the workers. Empty: that of this process."`
	Env           map[string]string `koanf:"env" doc:"Variables added to the workers' environment."`
	QueueLimit    int               `koanf:"queue_limit" doc:"Calls that may wait, for the turn of their session or for a worker; one more is refused as saturated."`
	QueueTimeout  time.Duration     `koanf:"queue_timeout" doc:"Longest wait of a call until a worker has it, for the turn of its session and for the worker together."`
	CallTimeout   time.Duration     `koanf:"call_timeout" doc:"Limit of a call, waiting included, unless the caller sets its own."`
	StreamTimeout time.Duration     `koanf:"stream_timeout" doc:"Limit of a streaming call, waiting included, unless the caller sets its own."`
	MaxTimeout    time.Duration     `koanf:"max_timeout" doc:"Longest limit that a caller may set; a longer one is refused. 0: the longest of one hour, call_timeout and stream_timeout."`
	StartTimeout  time.Duration     `koanf:"start_timeout" doc:"Longest time from starting a worker process to its being ready."`
	PingInterval  time.Duration     `koanf:"ping_interval" doc:"How often an idle worker is asked for a sign of life, and how long it may take for one; after three missed in a row it is replaced. So is a worker, idle or busy, that a signal (SIGSTOP) has stopped for three intervals. While a call runs its timeout and cancel_grace are the bound. 0: never."`
	CancelGrace   time.Duration     `koanf:"cancel_grace" doc:"Time a worker has to end a canceled call before it is killed."`
	StopGrace     time.Duration     `koanf:"stop_grace" doc:"Time a worker has to leave after SIGTERM before SIGKILL."`
	Affinity      string            `koanf:"affinity" enum:"hint,strict_queue,strict_fail_fast" doc:"What a call does if the worker that served its session is busy: take any other (hint), wait for it (strict_queue), or fail (strict_fail_fast)."`
}

// Limits protect the control API.
type Limits struct {
	RequestBytes Size          `koanf:"request_bytes" doc:"Largest request message. Programs are uploaded in pieces and may be larger."`
	BytesInWork  Size          `koanf:"bytes_in_work" doc:"Bytes of requests that may be in work at once, from their first byte to their answer; at least twice request_bytes. One more waits for two seconds and is refused then. An eighth is kept for requests of up to 1 MiB. The server's memory for them is about three times this."`
	BodyTimeout  time.Duration `koanf:"body_timeout" doc:"Longest pause in the body of a request. Once this time is over, the body must also have come with 16 KiB a second on average. A stream whose client reads nothing for this time, or up to half of it longer, is cancelled."`
	Connections  int           `koanf:"connections" doc:"Connections at once. One more takes the place of an idle one, or is refused. 0: half of the files the process may have open, at most 10000."`
}

// Shutdown is how the daemon ends.
type Shutdown struct {
	DrainTimeout time.Duration `koanf:"drain_timeout" doc:"Time running calls have to finish. New calls are refused meanwhile."`
}

// Log is the operator's log.
type Log struct {
	Level      string `koanf:"level" enum:"debug,info,warn,error" doc:"Lowest level written."`
	Format     string `koanf:"format" enum:"text,json" doc:"Form of a line."`
	Tracebacks bool   `koanf:"tracebacks" doc:"Add Python's traceback to the record of a call whose tool raised. The record names the line of the source in any case; the caller gets the traceback in any case."`
}

// Drivers and affinity modes as they are written in a configuration.
const (
	DriverMemory = "memory"
	DriverDisk   = "disk"

	AffinityHint           = "hint"
	AffinityStrictQueue    = "strict_queue"
	AffinityStrictFailFast = "strict_fail_fast"
)

// Default returns the configuration of a node nobody has configured: one pool that lacks only its tools.
func Default() Config {
	return Config{
		Listen: "127.0.0.1:7460",
		Store:  Store{Disk: Disk{CacheBytes: 256 * MiB}},
		Sessions: Sessions{
			DefaultTTL:       time.Hour,
			MaxSessions:      10_000,
			MaxVarsBytes:     16 * MiB,
			MaxPrograms:      1000,
			MaxProgramBytes:  GiB,
			SweepInterval:    time.Minute,
			WarnThreshold:    0.8,
			CallRetention:    24 * time.Hour,
			MaxCallBytes:     4 * MiB,
			OperationTimeout: 5 * time.Second,
		},
		Pools:    []Pool{DefaultPool()},
		Limits:   Limits{RequestBytes: 64 * MiB, BytesInWork: 256 * MiB, BodyTimeout: 30 * time.Second},
		Shutdown: Shutdown{DrainTimeout: 30 * time.Second},
		Log:      Log{Level: "info", Format: "text"},
	}
}

// DefaultPool returns the values that an entry of pools has unless it says otherwise.
func DefaultPool() Pool {
	return Pool{
		Name:          "default",
		QueueLimit:    1000,
		QueueTimeout:  10 * time.Second,
		CallTimeout:   300 * time.Second,
		StreamTimeout: 900 * time.Second,
		StartTimeout:  30 * time.Second,
		PingInterval:  10 * time.Second,
		CancelGrace:   5 * time.Second,
		StopGrace:     6 * time.Second,
		Affinity:      AffinityHint,
	}
}

// StoreDriver is the driver to open: the one named, or the one that Data implies.
func (c Config) StoreDriver() string {
	switch {
	case c.Store.Driver != "":
		return c.Store.Driver
	case c.Data != "":
		return DriverDisk
	default:
		return DriverMemory
	}
}

// NodeName is the name of this node: the one set, or the host's.
func (c Config) NodeName() string {
	if c.Node != "" {
		return c.Node
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		return host
	}
	return "localhost"
}

// WorkerCount is the number of workers to start: the one set, or one for each CPU.
func (p Pool) WorkerCount() int {
	if p.Workers > 0 {
		return p.Workers
	}
	return runtime.GOMAXPROCS(0) // as limited by the container
}

// Environ is Env in the form of os.Environ, sorted.
func (p Pool) Environ() []string {
	var list []string
	for name, value := range p.Env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// Origin says where the value of a key came from, in words: "default", "tools.yaml:7", "environment SNAKEPIT_DATA",
// "flag --data". Keys are written as in Print, pools[0].python for the tools of the first pool.
func (c Config) Origin(key string) string {
	if from, ok := c.origins[key]; ok {
		return from
	}
	return "default"
}

func poolKey(i int) string { return "pools[" + strconv.Itoa(i) + "]" }
