package session

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/snakepit-go/snakepit/session/driver"
)

// quota admits new sessions.
//
// As long as the stored sessions and the creations under way are fewer than
// allowed, creations run side by side. At the limit one runs alone: with no
// other under way the count is exact, and expired sessions are swept first. So
// within one process there is never one too many, and none refused while there
// is room, except that sweeps, and the listings that count for a driver that
// cannot, are up to a second old. Several processes on one store may exceed it
// by what they create at the same time.
type quota struct {
	st      *Store
	counter driver.Counter // nil if the driver cannot count
	// gate is taken once by a creation, and completely by one at the limit.
	gate  *semaphore.Weighted
	under atomic.Int64
	// listing guards listed.
	listing chan struct{}
	listed  listedCount
	keepers keepers
}

// listedCount is the number of records as a listing has found it, for drivers
// that cannot count.
type listedCount struct {
	n  int
	at time.Time
	// created is what the store had created before the listing, removed what
	// it had removed after it: what happened meanwhile, and the listing may or
	// may not have seen, is counted rather than missed.
	created, removed uint64
}

const (
	everyPlace = 1 << 30
	// freshCount is how long a count by listing is used.
	freshCount = time.Second
)

func (q *quota) init(st *Store) {
	q.st = st
	q.counter, _ = driver.As[driver.Counter](st.drv)
	q.gate = semaphore.NewWeighted(everyPlace)
	q.listing = make(chan struct{}, 1)
}

// admission is the permission to create one session.
type admission struct {
	q      *quota
	places int64
}

func (a admission) end() {
	if a.places == 1 {
		a.q.under.Add(-1)
	}
	if a.places > 0 {
		a.q.gate.Release(a.places)
	}
}

func (q *quota) admit(ctx context.Context) (admission, error) {
	limit := q.st.opts.MaxSessions
	if limit < 0 {
		return admission{}, nil
	}
	if err := q.gate.Acquire(ctx, 1); err != nil {
		return admission{}, err
	}
	side := admission{q, 1}
	// Creations under way are looked at before the count: one that ends in
	// between is counted twice, never missed.
	under := q.under.Add(1)
	n, err := q.stored(ctx)
	if err == nil && n+int(under) <= limit {
		return side, nil
	}
	side.end()
	if err != nil {
		return admission{}, err
	}

	if err := q.gate.Acquire(ctx, everyPlace); err != nil {
		return admission{}, err
	}
	alone := admission{q, everyPlace}
	n, err = q.storedSessions(ctx)
	if err == nil && n >= limit {
		if err = q.st.sweepIfDue(ctx); err == nil {
			n, err = q.storedSessions(ctx)
		}
	}
	if err == nil && n >= limit {
		err = fmt.Errorf("%w: there are %d, and %d are allowed; delete some, or raise the limit", ErrQuotaExceeded, n, limit)
	}
	if err != nil {
		alone.end()
		return admission{}, err
	}
	return alone, nil
}

// storedSessions is stored without the keepers of calls.
func (q *quota) storedSessions(ctx context.Context) (int, error) {
	n, err := q.stored(ctx)
	if err != nil || q.counter == nil {
		return n, err // a listing has left them out
	}
	keepers, err := q.keepers.count(ctx, q.st)
	return n - keepers, err
}

// stored is the number of records, expired ones included. A driver that counts
// has counted the keepers of calls, too.
func (q *quota) stored(ctx context.Context) (int, error) {
	if q.counter != nil {
		return q.counter.Count(ctx)
	}
	select {
	case q.listing <- struct{}{}:
		defer func() { <-q.listing }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	now := time.Now()
	if q.listed.at.IsZero() || now.Sub(q.listed.at) >= freshCount {
		listed := listedCount{at: now, created: q.created()}
		_, err := q.st.scan(ctx, "", lastKeeper, func(*driver.Record) error {
			listed.n++
			return nil
		})
		if err != nil {
			return 0, err
		}
		listed.removed = q.removed()
		q.listed = listed
	}
	return q.listed.n + int(q.created()-q.listed.created) - int(q.removed()-q.listed.removed), nil
}

func (q *quota) created() uint64 { return q.st.stats.created.Load() }

func (q *quota) removed() uint64 { return q.st.stats.deleted.Load() + q.st.stats.expired.Load() }
