package app

import (
	"time"

	"bytes"
	"io"
	"log/slog"

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

func sessionOptions(c config.Sessions) session.Options {
	return session.Options{
		DefaultTTL:       c.DefaultTTL,
		MaxSessions:      c.MaxSessions,
		SweepInterval:    c.SweepInterval,
		WarnThreshold:    c.WarnThreshold,
		MaxVars:          int(c.MaxVarsBytes),
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
