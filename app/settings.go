package app

import (
	"io"
	"log/slog"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/config"
	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/session"
)

// The functions of this file turn settings into the options of the parts, field by field.

func newLogger(c config.Log, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if c.Format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	return slog.New(correlation.NewHandler(handler)), nil
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
