package app

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/config"
	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/internal/logqueue"
	"github.com/snakepit-go/snakepit/session"
)

// The functions of this file turn settings into the options of the parts, field by field.

// logQueueBytes is how much of the log may wait for a reader that is slow or stuck.
const logQueueBytes = 1 << 20

// newLogger returns a logger that never waits for the reader of w, and the queue that stands between them.
func newLogger(c config.Log, w io.Writer) (*slog.Logger, *logqueue.Queue, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, nil, err
	}
	handlerFor := func(w io.Writer) slog.Handler {
		options := &slog.HandlerOptions{Level: level}
		if c.Format == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	queue := logqueue.New(w, logQueueBytes, func(dropped uint64) []byte {
		var text bytes.Buffer
		slog.New(handlerFor(&text)).Error("log records dropped: the reader of the log was stuck or gone", "records", dropped)
		return text.Bytes()
	})
	return slog.New(correlation.NewHandler(handlerFor(queue))), queue, nil
}

// The connections that clients may have by default.
const (
	maxConnections = 10_000
	// fewestSpareFiles is how many descriptors the session store, the workers and the log must keep at least.
	fewestSpareFiles = 64
)

// connectionLimit is how many connections clients may have. Each is a descriptor, of which the session store and the
// workers need some as well: a store that cannot open a file refuses writes.
func connectionLimit(c config.Limits) (int, error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	if c.Connections == 0 {
		return int(min(files.Cur/2, maxConnections)), nil
	}
	if uint64(c.Connections)+fewestSpareFiles > files.Cur {
		return 0, fmt.Errorf("limits.connections: %d connections would leave less than %d of the %d files that the process may have open to the session store and the workers; raise that limit (ulimit -n, LimitNOFILE) or take fewer connections",
			c.Connections, fewestSpareFiles, files.Cur)
	}
	return c.Connections, nil
}

// hosts are the names that clients may call this server by: those set, the one it listens on, and the machine's.
func hosts(c config.Config) []string {
	names := slices.Clone(c.AllowedHosts)
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		names = append(names, host)
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	return names
}

func sessionOptions(c config.Sessions) session.Options {
	return session.Options{
		DefaultTTL:       c.DefaultTTL,
		MaxSessions:      c.MaxSessions,
		SweepInterval:    c.SweepInterval,
		WarnThreshold:    c.WarnThreshold,
		MaxVars:          int(c.MaxVarsBytes),
		CallRetention:    c.CallRetention,
		MaxCallBytes:     int(c.MaxCallBytes),
		MaxPrograms:      c.MaxPrograms,
		MaxProgramBytes:  int64(c.MaxProgramBytes),
		MaxBytes:         int64(c.MaxBytes),
		OperationTimeout: c.OperationTimeout,
	}
}

func poolConfig(c config.Pool) snakepit.PoolConfig {
	return snakepit.PoolConfig{
		Name:          c.Name,
		Workers:       c.WorkerCount(),
		Tools:         c.Python,
		Interpreter:   c.Interpreter,
		PythonPath:    c.PythonPath,
		Dir:           c.Dir,
		Env:           c.Environ(),
		QueueLimit:    c.QueueLimit,
		QueueTimeout:  c.QueueTimeout,
		CallTimeout:   c.CallTimeout,
		StreamTimeout: c.StreamTimeout,
		MaxTimeout:    c.MaxTimeout,
		StartTimeout:  c.StartTimeout,
		PingInterval:  orNever(c.PingInterval),
		CancelGrace:   c.CancelGrace,
		StopGrace:     c.StopGrace,
		Affinity:      affinities[c.Affinity],
	}
}

var affinities = map[string]snakepit.Affinity{
	config.AffinityHint:           snakepit.AffinityHint,
	config.AffinityStrictQueue:    snakepit.AffinityStrictQueue,
	config.AffinityStrictFailFast: snakepit.AffinityFailFast,
}

// orNever is an interval in the engine's terms, where zero is the default.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
