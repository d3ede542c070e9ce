package worker

import (
	"context"
	"errors"
	"fmt"
)

// attempts is how often Execute tries a call at most.
const attempts = 3

// Execute runs a call on any worker. If the worker ends before it has
// answered, the call runs again on another one, provided that cannot do harm:
// it or its tool is declared idempotent, or it never reached the worker; and
// no chunk of its stream has been delivered. Otherwise, and after the third
// worker, the caller gets the *CrashError.
//
// Errors: those of Acquire and of Lease.Call. If there is no worker for
// another attempt, the error matches both reasons.
func (p *Pool) Execute(ctx context.Context, call *Call) (*Result, error) {
	// From here to the end, so that Drain does not miss a call between two
	// attempts.
	adm, err := p.Admit()
	if err != nil {
		return nil, err
	}
	defer adm.Leave()

	var delivered *bool // nil for a call that is no stream
	if onChunk := call.OnChunk; onChunk != nil {
		delivered = new(bool)
		watched := *call
		watched.OnChunk = func(c Chunk) error {
			*delivered = true
			return onChunk(c)
		}
		call = &watched
	}
	var last *CrashError
	for n := 1; ; n++ {
		lease, err := adm.Acquire(ctx, Want{})
		if err != nil {
			if last != nil {
				return nil, fmt.Errorf("%w; no other worker: %w", last, err)
			}
			return nil, err
		}
		res, err := lease.call(ctx, call)
		if err == nil {
			return res, nil
		}
		crash, crashed := errors.AsType[*CrashError](err)
		if !crashed || n == attempts || delivered != nil && *delivered || !p.repeatable(call, crash) {
			return nil, err
		}
		last = crash
	}
}

// repeatable reports whether a call that a worker died over may run again.
func (p *Pool) repeatable(call *Call, crash *CrashError) bool {
	if call.Idempotent || !crash.MaybeExecuted {
		return true
	}
	tool, ok := p.Tool(call.Tool)
	return ok && tool.Idempotent
}

// call is Call and Release.
func (l *Lease) call(ctx context.Context, call *Call) (*Result, error) {
	defer l.Release()
	return l.Call(ctx, call)
}
