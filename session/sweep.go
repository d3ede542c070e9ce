package session

import (
	"context"
	"errors"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// SweepResult says what a sweep has done.
type SweepResult struct {
	// Live is the number of live sessions it has seen.
	Live int
	// Expired is the number of expired sessions it has removed.
	Expired int
	// Items is the number of items it has removed that no record named.
	Items int
	// Corrupt is the number of damaged sessions, and of parts of the storage
	// that cannot be read; it leaves them alone.
	Corrupt int
}

// sweeper lets one sweep run at a time.
type sweeper struct {
	running chan struct{}
	// last is when the last sweep ended, and took how long it took, complete or
	// not; guarded by running.
	last time.Time
	took time.Duration
}

func (w *sweeper) init() { w.running = make(chan struct{}, 1) }

// Sweep removes expired sessions, ids of calls that are older than they are
// kept, and items that no record names: program chunks that were uploaded more
// than an hour ago, and what earlier sessions left of their calls. The store's
// own sweeper does the same at its interval; other stores and processes may
// sweep at the same time.
func (st *Store) Sweep(ctx context.Context) (SweepResult, error) {
	var result SweepResult
	err := st.do(ctx, OpSweep, "", func(ctx context.Context) (err error) {
		if err := st.sweeper.enter(ctx); err != nil {
			return err
		}
		defer st.sweeper.leave()
		result, err = st.sweep(ctx)
		return err
	})
	return result, err
}

func (w *sweeper) enter(ctx context.Context) error {
	select {
	case w.running <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *sweeper) leave() { <-w.running }

// runSweeper is the goroutine that New starts.
func (st *Store) runSweeper(ctx context.Context) {
	defer close(st.stopped)
	ticker := time.NewTicker(st.opts.SweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		result, err := st.Sweep(ctx)
		if err != nil {
			if ctx.Err() == nil {
				st.log.WarnContext(ctx, "sweep ended early", "error", err)
			}
			continue
		}
		limit := float64(st.opts.MaxSessions)
		if limit > 0 && float64(result.Live) >= limit*st.opts.WarnThreshold {
			st.log.WarnContext(ctx, "sessions are close to their quota",
				"sessions", result.Live, "max_sessions", st.opts.MaxSessions)
		}
	}
}

// sweepIfDue sweeps expired sessions for a creation at the quota: at most once
// a second, and less often if sweeps take long.
func (st *Store) sweepIfDue(ctx context.Context) error {
	if err := st.sweeper.enter(ctx); err != nil {
		return err
	}
	defer st.sweeper.leave()
	if time.Since(st.sweeper.last) < max(time.Second, 10*st.sweeper.took) {
		return nil
	}
	var result SweepResult
	return st.sweepSessions(ctx, &result)
}

func (st *Store) sweep(ctx context.Context) (result SweepResult, err error) {
	if err := st.sweepSessions(ctx, &result); err != nil {
		return result, err
	}
	return result, st.sweepItems(ctx, &result)
}

func (st *Store) sweepSessions(ctx context.Context, result *SweepResult) error {
	start := time.Now()
	defer func() { st.sweeper.last, st.sweeper.took = time.Now(), time.Since(start) }()
	gaps, err := st.scan(ctx, "", "", func(rec *driver.Record) error {
		s, err := headOf(rec)
		now := time.Now().UnixMilli()
		switch {
		case err != nil:
			result.Corrupt++
			st.damage.log(ctx, st.log, rec.ID, "session cannot be read", "session", rec.ID, "error", err)
			return nil
		case !s.expired(now):
			if !isKeeper(rec.ID) {
				result.Live++
			}
			if st.oldCalls(s, now) {
				return st.sweepCalls(ctx, rec.ID)
			}
			return nil
		}
		one, timer := bound(ctx, st.opts.OperationTimeout)
		defer timer.stop()
		removed, err := st.expire(one, s)
		if removed {
			result.Expired++
		}
		return err
	})
	if err != nil {
		return err
	}
	result.Corrupt += gaps
	st.stats.damaged.Store(int64(result.Corrupt))
	st.stats.sweeps.Add(1)
	return nil
}

// sweepCalls removes what a live session keeps of old calls. If others change
// the session meanwhile, the next sweep does it.
func (st *Store) sweepCalls(ctx context.Context, id string) error {
	one, timer := bound(ctx, st.opts.OperationTimeout)
	defer timer.stop()
	err := st.forgetOldCalls(one, id)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict), errors.Is(err, ErrUnknown), errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported):
		return nil
	}
	return err
}

// expire removes an expired session of a listing, unless it has changed since.
func (st *Store) expire(ctx context.Context, s *Session) (bool, error) {
	if isKeeper(s.ID()) {
		return false, st.quota.keepers.change(func() error {
			st.quota.keepers.known = false
			_, err := st.drop(ctx, s)
			return err
		})
	}
	removed, err := st.drop(ctx, s)
	if removed {
		st.stats.expired.Add(1)
		st.opts.Observer.expired(s.ID(), s.Incarnation())
	}
	return removed, err
}

// drop removes the record of a listing with its items, unless it has changed
// since.
func (st *Store) drop(ctx context.Context, s *Session) (bool, error) {
	if s.Size().Programs > 0 {
		whole, err := st.load(ctx, s.ID(), driver.Read{})
		switch {
		case errors.Is(err, ErrNotFound):
			return false, nil
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported):
			// Its items are removed with those that no record names.
		case err != nil:
			return false, err
		case whole.rec.Revision != s.rec.Revision:
			return false, nil
		default:
			s = whole
		}
	}
	t, err := st.targetOf(ctx, s)
	if err != nil {
		return false, err
	}
	err = t.remove(ctx, st)
	switch {
	case errors.Is(err, ErrConflict), errors.Is(err, ErrUnknown):
		// Somebody else has changed or removed it; or the next sweep will see.
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// sweepItems removes chunks of programs that no record names, and what earlier
// sessions of an id have left of their calls.
//
// Only uploads older than orphanAge are looked at: a younger one may still be
// committed, while a commit refuses an upload older than commitAge. Each removal
// is conditioned on the very state of the record that does not name the chunks.
func (st *Store) sweepItems(ctx context.Context, result *SweepResult) error {
	var after driver.ItemRef
	for {
		page, timer := bound(ctx, st.opts.OperationTimeout)
		items, err := st.items(page, after)
		timer.stop()
		if err != nil || len(items) == 0 {
			return err
		}
		after = items[len(items)-1].ItemRef
		old := time.Now().Add(-orphanAge)
		for len(items) > 0 {
			id := items[0].ID
			n := 0
			var keys []string
			for n < len(items) && items[n].ID == id {
				if u, ok := uploadOf(items[n].Key); ok && u.started().Before(old) {
					keys = append(keys, items[n].Key)
				} else if _, ok := callItemOf(items[n].Key); ok {
					keys = append(keys, items[n].Key)
				}
				n++
			}
			items = items[n:]
			if len(keys) == 0 {
				continue
			}
			one, timer := bound(ctx, st.opts.OperationTimeout)
			removed, err := st.dropOrphans(one, id, keys)
			timer.stop()
			result.Items += removed
			if err != nil {
				return err
			}
		}
	}
}

func (st *Store) items(ctx context.Context, after driver.ItemRef) ([]driver.ItemInfo, error) {
	for again := outages; ; {
		items, err := st.drv.Items(ctx, after, maxPage)
		_, err = st.gapsOf(ctx, err)
		if err == nil || !errors.Is(err, ErrUnavailable) || !again.wait(ctx) {
			return items, err
		}
	}
}

// dropOrphans removes those of the items that the session's record does not
// name.
func (st *Store) dropOrphans(ctx context.Context, id string, keys []string) (int, error) {
	condition := driver.Batch{If: driver.IfAbsent}
	s, err := st.newest(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported):
		return 0, nil // what it names cannot be told
	case err != nil:
		return 0, err
	default:
		condition = driver.Batch{If: driver.IfRevision, Revision: s.rec.Revision}
		named := make(map[upload]bool)
		for _, p := range s.Programs() {
			named[p.upload] = true
		}
		orphans := keys[:0]
		for _, key := range keys {
			inc, ofCall := callItemOf(key)
			u, _ := uploadOf(key)
			if ofCall && inc != s.Incarnation() || !ofCall && !named[u] {
				orphans = append(orphans, key)
			}
		}
		keys = orphans
	}
	removed := 0
	for len(keys) > 0 {
		batch := condition
		batch.Drop, batch.Op = st.firstItems(keys, 0), NewOperation()
		_, err := st.apply(ctx, id, &batch)
		switch {
		case errors.Is(err, ErrConflict), errors.Is(err, driver.ErrExists), errors.Is(err, ErrUnknown):
			return removed, nil // the next sweep looks again
		case err != nil:
			return removed, err
		}
		removed += len(batch.Drop)
		keys = keys[len(batch.Drop):]
	}
	return removed, nil
}
