package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// run keeps a worker running at the place until ctx ends.
func (pl *place) run(ctx context.Context) {
	failures := 0
	for first := true; ; first = false {
		w, err := pl.start(ctx)
		if first {
			pl.pool.attempts <- err
		}
		reason := CauseStartFailed
		if err == nil {
			pl.watch(ctx, w)
			reason = pl.bury(ctx, w)
			if time.Since(w.started) >= pl.pool.opts.Backoff.Reset {
				failures = 0
			}
		}
		failures++
		if reason == CauseRequested {
			failures = 0
		}
		if !pl.pause(ctx, reason, failures) {
			return
		}
	}
}

// rest makes a place without a worker wait for the next start, or for ever;
// p.mu is held.
func (pl *place) rest(ctx context.Context) {
	if ctx.Err() != nil {
		pl.move(StateStopped)
	} else {
		pl.move(StateBackoff)
	}
}

// start starts the next generation and opens it for calls.
func (pl *place) start(ctx context.Context) (*instance, error) {
	p := pl.pool
	p.mu.Lock()
	pl.move(StateStarting)
	pl.generation++
	ref := Ref{ID: pl.id, Generation: pl.generation}
	p.mu.Unlock()

	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, p.opts.StartTimeout)
	defer cancel()
	conn, err := p.opts.Transport.Start(limited, Spec{
		Pool: p.opts.Name, ID: pl.id, Generation: ref.Generation, Logger: pl.logger(), OnEvent: pl.event,
	})
	if err != nil {
		if ctx.Err() != nil {
			err = p.errorf("%w", ErrClosed)
		} else {
			err = pl.startError(limited, err)
			if p.started() {
				// Until then it is Start that reports it.
				pl.logger().Error("start worker", "generation", ref.Generation, "error", err)
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		pl.rest(ctx)
		pl.attempted(err)
		if pl.state == StateBackoff {
			pl.lastExit = err.Error()
		}
		return nil, err
	}

	w := &instance{place: pl, ref: ref, conn: conn, info: conn.Info(), started: time.Now()}
	w.capacity = max(w.info.Capacity, 1)
	w.free.value = w
	p.offer(w)
	pl.logger().Info("worker ready", "generation", ref.Generation, "pid", w.info.PID, "runtime", w.info.Runtime)
	if f := p.opts.Observer.WorkerStarted; f != nil {
		f(p.opts.Name, pl.id, time.Since(began))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pl.move(StateReady)
	pl.worker = w
	p.serve(w)
	pl.attempted(nil)
	p.readyOnce.Do(func() { close(p.ready) })
	return w, nil
}

// startError makes every failure of a start one that names the worker.
func (pl *place) startError(limited context.Context, err error) error {
	if _, ok := errors.AsType[*StartError](err); ok {
		return err
	}
	reason := err.Error()
	if limited.Err() != nil {
		reason = fmt.Sprintf("not ready after %v", pl.pool.opts.StartTimeout)
	}
	return &StartError{Worker: pl.id, Reason: reason, Err: err}
}

// watch returns when the worker is gone, which it sees to itself when ctx ends
// or the worker gives no sign of life.
func (pl *place) watch(ctx context.Context, w *instance) {
	var tick <-chan time.Time
	if every := pl.pool.opts.PingInterval; every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	var alive pulse
	for {
		select {
		case <-w.conn.Done():
			return
		case <-ctx.Done():
			pl.shutdown(w)
			return
		case <-pl.wake:
			if pl.outdated(w) && pl.replace(ctx, w) {
				return
			}
		case <-tick:
			if cause := alive.feel(ctx, pl, w); cause != "" && ctx.Err() == nil {
				pl.pool.kill(w, cause)
				tick = nil
			}
		}
	}
}

// pulse counts the signs of life that a worker did not give, in a row.
//
// Only an idle worker owes one: a tool that holds its interpreter's lock, in C
// code or a long regular expression, answers nothing and is in order. While
// calls run, their deadlines and the cancel grace are the bound. What is known
// of a busy worker is whether its process stands still.
type pulse struct{ missed, suspended int }

// feel looks for a sign of life. It returns why the worker is to be ended, if
// it is.
func (h *pulse) feel(ctx context.Context, pl *place, w *instance) Cause {
	if w.conn.Suspended() {
		h.suspended++
	} else {
		h.suspended = 0
	}
	if h.suspended == pingMisses {
		return CauseSuspended
	}
	calls, busy := pl.pool.activity(w)
	if busy {
		h.missed = 0
		return ""
	}
	err := pl.ping(ctx, w)
	if now, busy := pl.pool.activity(w); err == nil || busy || now != calls {
		h.missed = 0
		return ""
	}
	if h.missed++; h.missed == pingMisses {
		if h.suspended > 0 {
			return CauseSuspended
		}
		return CauseNoPong
	}
	return ""
}

// activity returns how many calls a worker has had, and whether it has one.
func (p *Pool) activity(w *instance) (calls uint64, busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.calls.Load(), w.load > 0
}

// verdict is why a worker ended or is about to.
func (p *Pool) verdict(w *instance) Cause {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.verdict == "" { // its place has taken leave of it already
		return CauseExited
	}
	return w.verdict
}

func (pl *place) ping(ctx context.Context, w *instance) error {
	ctx, cancel := context.WithTimeout(ctx, pl.pool.opts.PingTimeout)
	defer cancel()
	return w.conn.Ping(ctx)
}

// shutdown ends a worker because the pool is being stopped: it finishes its
// calls, ends, and is killed when the time for that is up.
func (pl *place) shutdown(w *instance) {
	p := pl.pool
	p.mu.Lock()
	if w.verdict == "" {
		w.verdict = CauseStopped
	}
	idle := pl.vacate(w)
	p.mu.Unlock()
	select {
	case <-idle:
	case <-w.conn.Done():
	case <-p.graceful.Done():
	}
	pl.end(p.graceful, w)
}

// vacate gives a worker no more calls; the channel is closed when it has none.
// p.mu is held.
func (pl *place) vacate(w *instance) <-chan struct{} {
	pl.pool.withdraw(w)
	switch pl.state {
	case StateDraining: // already
		return w.idle
	case StateBusy:
		pl.move(StateDraining)
		w.idle = make(chan struct{})
		return w.idle
	case StateReady:
		pl.move(StateStopping)
	default: // killed already
	}
	none := make(chan struct{})
	close(none)
	return none
}

// end ends a worker that is vacated, and waits for that; when ctx ends, it is
// killed.
func (pl *place) end(ctx context.Context, w *instance) {
	p := pl.pool
	p.mu.Lock()
	if pl.state == StateDraining {
		pl.move(StateStopping)
	}
	p.mu.Unlock()
	if err := w.conn.Stop(ctx); err != nil {
		pl.logger().Warn("stop worker", "generation", w.ref.Generation, "error", err)
	}
	<-w.conn.Done()
}

// bury takes leave of a worker that is gone and returns why it is.
func (pl *place) bury(ctx context.Context, w *instance) (reason Cause) {
	p := pl.pool
	exit := w.conn.Exit()
	p.mu.Lock()
	p.withdraw(w)
	pl.worker = nil
	pl.lastExit = exit.Reason
	reason = w.verdict
	pl.rest(ctx)
	p.mu.Unlock()

	if reason == "" {
		reason = CauseExited
	}
	level := slog.LevelWarn
	if ctx.Err() != nil || reason == CauseRequested {
		level = slog.LevelInfo
	}
	pl.logger().Log(ctx, level, "worker ended", "generation", w.ref.Generation, "exit", exit.Reason, "cause", string(reason), "why", reason.String())
	if f := p.opts.Observer.WorkerExited; f != nil {
		f(p.opts.Name, pl.id, exit)
	}
	for _, f := range p.onExit {
		f(w.ref)
	}
	return reason
}

// pause waits before the next start, unless that was asked for. It reports
// false when the pool stops.
func (pl *place) pause(ctx context.Context, reason Cause, failures int) bool {
	p := pl.pool
	if ctx.Err() == nil {
		p.mu.Lock()
		p.restarts++
		p.mu.Unlock()
		if f := p.opts.Observer.Restart; f != nil {
			f(p.opts.Name, string(reason))
		}
	}
	if failures == 0 && ctx.Err() == nil {
		return true
	}
	t := time.NewTimer(p.opts.Backoff.pause(failures))
	defer t.Stop()
	for waiting := true; waiting; {
		select {
		case <-t.C:
			return true
		case <-pl.wake:
			if pl.awaited() {
				return true
			}
		case <-ctx.Done():
			waiting = false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl.state == StateBackoff {
		pl.move(StateStopped)
	}
	return false
}

// kill ends a worker that runs, for the given reason, and does not wait.
func (p *Pool) kill(w *instance, reason Cause) {
	p.mu.Lock()
	if w.current() && w.place.state.CanBecome(StateStopping) {
		w.place.move(StateStopping)
		w.verdict = reason
		p.withdraw(w)
	}
	p.mu.Unlock()
	w.conn.Kill()
}

func (pl *place) logger() *slog.Logger {
	return pl.pool.opts.Logger.With("pool", pl.pool.opts.Name, "worker", pl.id)
}
