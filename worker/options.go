package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"time"
)

// PoolOptions says what a pool is made of. Only Transport is required; the
// zero value of any other field means its default.
type PoolOptions struct {
	// Name is part of worker IDs and log records; "default" if empty.
	Name string
	// Size is the number of workers; the number of usable CPUs by default.
	Size int
	// Transport starts the workers.
	Transport Transport

	// QueueLimit is how many callers may wait, for a turn or for a worker;
	// 1000 by default, negative for none at all: a caller gets a worker at
	// once or ErrSaturated.
	QueueLimit int
	// QueueTimeout is how long a caller waits until a worker has its call, for
	// a turn and for a worker together; 10 s by default, negative for as long
	// as its context allows.
	QueueTimeout time.Duration

	// StartTimeout bounds one start of a worker; 30 s by default.
	StartTimeout time.Duration
	// CancelGrace is how long a worker may take to answer a cancelled call
	// before it is killed; 5 s by default.
	CancelGrace time.Duration
	// StopGrace is how long Stop lets workers finish their calls and end;
	// 6 s by default.
	StopGrace time.Duration
	// Backoff paces the restarts of workers.
	Backoff Backoff

	// PingInterval is the pause between signs of life asked from an idle
	// worker, and PingTimeout how long it may take for one. A worker that
	// misses three in a row is killed; so is one, idle or busy, whose process is
	// seen stopped by a signal three times in a row. 10 s each by default; a
	// negative interval turns it off.
	PingInterval, PingTimeout time.Duration

	// Logger is silent if nil.
	Logger   *slog.Logger
	Observer Observer
}

// Backoff paces restarts: the first pause is Min, and each further one twice
// the last up to Max, until a worker has run for Reset. A pause is shortened
// at random by up to half, so that workers felled together do not rise
// together. The defaults are 100 ms, 10 s and 30 s.
type Backoff struct {
	Min, Max, Reset time.Duration
}

// pause is how long to wait before the next start after n failures in a row.
func (b Backoff) pause(n int) time.Duration {
	d := b.Min
	for ; n > 1 && d < b.Max; n-- {
		d *= 2
	}
	d = min(d, b.Max)
	return d - rand.N(d/2+1)
}

// Observer is told what happens in a pool, for metrics. Every field may be
// nil. The functions are called outside all locks and must not block.
type Observer struct {
	// CallDone: a call has returned to its caller.
	CallDone func(CallDone)
	// Event: a tool has reported an event.
	Event func(pool string, e Event)
	// WorkerStarted: a worker is ready, after that long.
	WorkerStarted func(pool, worker string, took time.Duration)
	// WorkerExited: a worker that had been ready has ended.
	WorkerExited func(pool, worker string, exit Exit)
	// Restart: a worker will be started again. Reason is "start_failed", "exited",
	// "unanswered_cancel", "no_pong", "suspended", "panic", or "requested" by
	// Pool.Restart.
	Restart func(pool, reason string)
	// Saturated: a caller was refused because the queue is full.
	Saturated func(pool string)
}

// CallDone is a call that has returned to its caller.
type CallDone struct {
	Pool string
	// Tool is "" if the pool offers none of that name, so that callers cannot
	// make names up.
	Tool string
	// Result is "ok", "tool_error", "refused" (unknown tool, or state not
	// held: nothing ran), "canceled", "deadline", "crashed" or "error".
	Result string
	// Queued is the time spent waiting, for a turn and for the worker, Ran that
	// from the call's start to its return.
	Queued, Ran time.Duration
}

// pingMisses is the number of signs of life missed in a row that ends a worker.
const pingMisses = 3

// withDefaults fills in what was left out.
func (o PoolOptions) withDefaults() (PoolOptions, error) {
	if o.Transport == nil {
		return o, errors.New("worker pool: a transport is required")
	}
	if o.Size < 0 {
		return o, fmt.Errorf("worker pool: size is %d: give the number of workers, or 0 for one per CPU", o.Size)
	}
	if o.Name == "" {
		o.Name = "default"
	}
	if o.Size == 0 {
		o.Size = runtime.GOMAXPROCS(0)
	}
	if o.QueueLimit == 0 {
		o.QueueLimit = 1000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		standard time.Duration
		signed   bool // a negative value has a meaning
	}{
		{"queue timeout", &o.QueueTimeout, 10 * time.Second, true},
		{"start timeout", &o.StartTimeout, 30 * time.Second, false},
		{"cancel grace", &o.CancelGrace, 5 * time.Second, false},
		{"stop grace", &o.StopGrace, 6 * time.Second, false},
		{"backoff min", &o.Backoff.Min, 100 * time.Millisecond, false},
		{"backoff max", &o.Backoff.Max, 10 * time.Second, false},
		{"backoff reset", &o.Backoff.Reset, 30 * time.Second, false},
		{"ping interval", &o.PingInterval, 10 * time.Second, true},
		{"ping timeout", &o.PingTimeout, 10 * time.Second, false},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
		if *d.value < 0 && !d.signed {
			return o, fmt.Errorf("worker pool %s: %s is negative (%v)", o.Name, d.name, *d.value)
		}
	}
	o.Backoff.Max = max(o.Backoff.Max, o.Backoff.Min)
	return o, nil
}
