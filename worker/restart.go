package worker

import "context"

// Restart replaces the worker at a place by a new one and returns when that is
// ready. The old one takes no more calls, ends those it has, and then ends
// itself, for which it has StopGrace; callers that wait for it alone get
// ErrWorkerGone. A place whose worker pauses before its next start starts at
// once.
//
// When ctx ends first, the worker is replaced all the same, and the cause
// returned. Other errors: ErrWorkerNotFound, a *StartError if the new worker
// cannot be started (the place goes on trying), ErrDraining, ErrClosed.
func (p *Pool) Restart(ctx context.Context, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refusal(); err != nil {
		return err
	}
	pl := p.byID[id]
	if pl == nil {
		return p.errorf("%w: %q; its workers are %s-1 to %s-%d", ErrWorkerNotFound, id, p.opts.Name, p.opts.Name, len(p.places))
	}
	old := pl.generation
	pl.renew = max(pl.renew, old+1)
	select {
	case pl.wake <- struct{}{}:
	default: // it has been woken and will see this too
	}
	for {
		switch {
		case pl.generation > old && pl.state.TakesCalls():
			return nil
		case pl.generation > old && pl.startErr != nil:
			return pl.startErr
		case p.phase == phaseClosed:
			return p.refusal()
		}
		tried := pl.tried
		p.mu.Unlock()
		select {
		case <-tried:
		case <-p.ended:
		case <-ctx.Done():
			p.mu.Lock()
			return p.errorf("restart worker %s: %w", id, context.Cause(ctx))
		}
		p.mu.Lock()
	}
}

// RestartAll restarts the workers one after another, so that the others take
// calls meanwhile. It stops at the first that cannot be started: workers that
// run stay as they are. Places without one come first, so that tools that do
// not load cost one worker, however often this is tried.
func (p *Pool) RestartAll(ctx context.Context) error {
	for _, pl := range p.downFirst() {
		if err := p.Restart(ctx, pl.id); err != nil {
			return err
		}
	}
	return nil
}

// downFirst returns the places, those whose worker takes no calls first.
func (p *Pool) downFirst() []*place {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*place, 0, len(p.places))
	for _, up := range []bool{false, true} {
		for _, pl := range p.places {
			if pl.state.TakesCalls() == up {
				list = append(list, pl)
			}
		}
	}
	return list
}

// attempted notes how a start went and tells those who wait for it; p.mu is
// held.
func (pl *place) attempted(err error) {
	pl.startErr = err
	close(pl.tried)
	pl.tried = make(chan struct{})
}

// outdated reports whether a worker is to be replaced.
func (pl *place) outdated(w *instance) bool {
	pl.pool.mu.Lock()
	defer pl.pool.mu.Unlock()
	return w.ref.Generation < pl.renew
}

// awaited reports whether somebody waits for the next start.
func (pl *place) awaited() bool {
	pl.pool.mu.Lock()
	defer pl.pool.mu.Unlock()
	return pl.generation < pl.renew
}

// replace ends a worker in favour of its successor, once its calls have ended.
// It reports false if the pool is stopped meanwhile, which is in more of a hurry.
func (pl *place) replace(ctx context.Context, w *instance) bool {
	p := pl.pool
	p.mu.Lock()
	w.verdict = CauseRequested
	idle := pl.vacate(w)
	p.mu.Unlock()
	select {
	case <-idle:
	case <-w.conn.Done():
	case <-ctx.Done():
		return false
	}
	grace, cancel := context.WithTimeout(ctx, p.opts.StopGrace)
	defer cancel()
	pl.end(grace, w)
	return true
}
