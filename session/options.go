package session

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Options of a Store. A zero field means its default.
type Options struct {
	// DefaultTTL is the idle time to live of sessions created without one;
	// default one hour.
	DefaultTTL time.Duration
	// MaxSessions is the largest number of live sessions; default 10000,
	// negative for no limit.
	MaxSessions int
	// SweepInterval is the time between sweeps; default one minute, negative
	// for no sweeper. Expired sessions are not found either way; the sweeper
	// frees what they hold.
	SweepInterval time.Duration
	// WarnThreshold is the share of MaxSessions from which on the sweeper
	// warns in the log; default 0.8.
	WarnThreshold float64
	// MaxVars is the largest sum of the bytes of keys and values of one
	// session's variables; default 16 MiB. The driver's limit of a record holds
	// besides.
	MaxVars int
	// CallRetention is how long the ids of calls are kept, and with them the
	// answers that a repetition gets; default 24 hours. They go with their
	// session.
	CallRetention time.Duration
	// MaxCallBytes bounds what ids and answers take in one session, and in each
	// of the 16 records that keep those of calls without a session; default
	// 4 MiB, at least 4 KiB. Answers make room first, then the oldest ids.
	MaxCallBytes int
	// MaxPrograms is the largest number of programs of one session, default
	// 1000, and MaxProgramBytes that of their bytes, default 1 GiB.
	MaxPrograms     int
	MaxProgramBytes int64
	// MaxBytes is the largest sum of the bytes of all sessions' variables and
	// programs; default 16 GiB, 1 GiB for a driver that is not durable, and
	// negative for no limit.
	MaxBytes int64
	// OperationTimeout bounds an operation whose context has no deadline;
	// default 5 seconds. Programs are bounded per chunk, lists per page.
	OperationTimeout time.Duration
	// Logger receives what no caller is told; nil is silent.
	Logger *slog.Logger
	// Observer is told about operations and the life of sessions.
	Observer Observer
}

// Defaults of Options.
const (
	DefaultTTL              = time.Hour
	DefaultMaxSessions      = 10_000
	DefaultSweepInterval    = time.Minute
	DefaultWarnThreshold    = 0.8
	DefaultOperationTimeout = 5 * time.Second
	DefaultCallRetention    = 24 * time.Hour
	DefaultMaxCallBytes     = 4 << 20

	DefaultMaxVars          = 16 << 20
	DefaultMaxPrograms      = 1000
	DefaultMaxProgramBytes  = 1 << 30
	DefaultMaxBytes         = 16 << 30
	DefaultMaxBytesInMemory = 1 << 30
)

const minCallBytes = 4 << 10

// MaxTTL is the longest time to live of a session.
const MaxTTL = 10 * 365 * 24 * time.Hour

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.DefaultTTL = cmp.Or(opts.DefaultTTL, DefaultTTL)
	opts.MaxSessions = cmp.Or(opts.MaxSessions, DefaultMaxSessions)
	opts.SweepInterval = cmp.Or(opts.SweepInterval, DefaultSweepInterval)
	opts.WarnThreshold = cmp.Or(opts.WarnThreshold, DefaultWarnThreshold)
	opts.OperationTimeout = cmp.Or(opts.OperationTimeout, DefaultOperationTimeout)
	opts.CallRetention = cmp.Or(opts.CallRetention, DefaultCallRetention)
	opts.MaxCallBytes = cmp.Or(opts.MaxCallBytes, DefaultMaxCallBytes)
	opts.MaxVars = cmp.Or(opts.MaxVars, DefaultMaxVars)
	opts.MaxPrograms = cmp.Or(opts.MaxPrograms, DefaultMaxPrograms)
	opts.MaxProgramBytes = cmp.Or(opts.MaxProgramBytes, DefaultMaxProgramBytes)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case opts.DefaultTTL < 0 || opts.DefaultTTL > MaxTTL:
		return opts, &InvalidError{"default TTL", "must be between 0 and 10 years"}
	case opts.WarnThreshold < 0 || opts.WarnThreshold > 1:
		return opts, &InvalidError{"warn threshold", "must be between 0 and 1"}
	case opts.MaxVars < 0 || opts.MaxPrograms < 0 || opts.MaxProgramBytes < 0:
		return opts, &InvalidError{"limit of variables or programs", "must not be negative"}
	case opts.CallRetention < 0 || opts.CallRetention > MaxTTL:
		return opts, &InvalidError{"retention of call ids", "must be between 0, which is 24 hours, and 10 years"}
	case opts.MaxCallBytes < minCallBytes:
		return opts, &InvalidError{"limit of call ids", fmt.Sprintf("is %d bytes; at least %d are needed", opts.MaxCallBytes, minCallBytes)}
	case opts.OperationTimeout < 0:
		return opts, &InvalidError{"operation timeout", "must not be negative"}
	}
	return opts, nil
}

// CreateOptions describe a new session. They are checked, but have no effect
// if the session exists.
type CreateOptions struct {
	// TTL is the idle time to live; nil is the store's default. With 0 the
	// session expires at once, unless it is read within the same millisecond.
	TTL *time.Duration
	// AbsoluteDeadline, if not zero, ends the session even if it is in use.
	AbsoluteDeadline time.Time
	Labels           map[string]string
	Metadata         map[string]string
	// Vars are the first variables: JSON texts by key.
	Vars map[string]json.RawMessage
	// Owner claims the session in the same write; its Epoch is ignored.
	Owner *Owner
}

// ReadOption says how fresh an answer must be.
type ReadOption func(readOptions) readOptions

// readOptions is passed by value so that reading without options allocates
// nothing.
type readOptions struct {
	driver.Read
	err error
}

func readOptionsOf(opts []ReadOption) (driver.Read, error) {
	var o readOptions
	for _, opt := range opts {
		o = opt(o)
	}
	return o.Read, o.err
}

// WithLevel asks for a read level other than read-your-writes. A driver that
// cannot give it answers ErrUnsupported.
func WithLevel(level driver.ReadLevel) ReadOption {
	return func(o readOptions) readOptions {
		o.Level = level
		return o
	}
}

// WithPosition asks for an answer that includes what the token of
// Session.Position stands for. An empty token asks for nothing.
func WithPosition(token string) ReadOption {
	return func(o readOptions) readOptions {
		if token == "" {
			return o
		}
		rev, err := strconv.ParseUint(token, positionBase, 64)
		if err != nil || rev == 0 {
			o.err = &InvalidError{"position", "is not one that a session gave"}
			return o
		}
		o.After = driver.Revision(rev)
		return o
	}
}

// positionBase is the base in which Session.Position writes a revision.
const positionBase = 36

// WriteOption changes how a write is made.
type WriteOption func(writeOptions) writeOptions

type writeOptions struct {
	revision string
	op       OpID
}

func writeOptionsOf(opts []WriteOption) writeOptions {
	var o writeOptions
	for _, opt := range opts {
		o = opt(o)
	}
	return o
}

// IfRevision makes a write conditional on Session.Revision: it fails with
// ErrConflict if the content has changed. An empty revision is no condition.
func IfRevision(revision string) WriteOption {
	return func(o writeOptions) writeOptions {
		o.revision = revision
		return o
	}
}

// WithOperation names the write, so that it can be repeated safely: if the
// session remembers a write of that id, nothing is written and the current
// session returned with ErrAlreadyCommitted. A session remembers its last 16
// writes. Delete ignores it.
func WithOperation(op OpID) WriteOption {
	return func(o writeOptions) writeOptions {
		o.op = op
		return o
	}
}
