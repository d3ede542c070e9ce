package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Delete removes a session with its programs, and says whether there was one.
// It is idempotent: deleting what is not there is no error. It also removes a
// session whose stored bytes are damaged. With IfRevision it removes only that
// revision.
//
// Errors: ErrConflict for another revision, ErrUnavailable, ErrUnknown.
func (st *Store) Delete(ctx context.Context, id string, opts ...WriteOption) (deleted bool, err error) {
	err = st.do(ctx, OpDelete, id, func(ctx context.Context) (err error) {
		deleted, err = st.remove(ctx, id, writeOptionsOf(opts).revision)
		return err
	})
	return deleted, err
}

func (st *Store) remove(ctx context.Context, id, revision string) (bool, error) {
	again, doubt := conflicts, doubts
	// doubtful is the session of an attempt whose outcome is unknown, and that
	// may still be made.
	var doubtful *target
	fail := func(err error) (bool, error) {
		if doubtful != nil {
			err = mayComeLate(err)
		}
		return false, err
	}
	for {
		t, err := st.target(ctx, id)
		gone := errors.Is(err, ErrNotFound)
		switch {
		case doubtful != nil && err != nil && !gone:
			return false, stillUnknown(err)
		case doubtful != nil && (gone || t.incarnation != doubtful.incarnation):
			st.removed(doubtful)
			return true, nil
		case gone:
			return false, nil
		case err != nil:
			return false, err
		case revision != "" && t.revision != revision:
			return false, fmt.Errorf("%w: the session is at revision %s, not %s; read it again", ErrConflict, t.revision, revision)
		case doubtful != nil && t.driver != doubtful.driver:
			doubtful = nil
		}
		err = t.remove(ctx, st)
		retry := &again
		switch {
		case err == nil:
			st.removed(&t)
			return true, nil
		case errors.Is(err, ErrUnknown):
			doubtful, retry = &t, &doubt
		case errors.Is(err, ErrConflict):
			err = fmt.Errorf("%w: other writers came first %d times", ErrConflict, again.n+1)
		default:
			return fail(err)
		}
		if !retry.wait(ctx) {
			return fail(fmt.Errorf("%w: %w", err, ctx.Err()))
		}
	}
}

// target is a stored session that is to be removed. Of a damaged one only the
// driver's revision is known, and not even that if the driver cannot read it.
type target struct {
	id          string
	driver      driver.Revision
	incarnation string
	revision    string
	items       []string
	// bytes is its size, negative if that cannot be told.
	bytes int64
}

// targetOf is a session with its items.
func (st *Store) targetOf(ctx context.Context, s *Session) (target, error) {
	calls, err := st.callItemKeys(ctx, s)
	return target{s.ID(), s.rec.Revision, s.Incarnation(), s.Revision(), append(calls, itemsOf(s.Programs())...), s.Size().bytes()}, err
}

// target reads what Delete removes.
func (st *Store) target(ctx context.Context, id string) (target, error) {
	rec, err := st.drv.Get(ctx, id, driver.Read{})
	if err != nil {
		rec, err = st.loadAgain(ctx, id, driver.Read{}, err)
		if errors.Is(err, ErrCorrupt) {
			return target{id: id}, nil // its bytes leave the usage with the next count
		}
		if err != nil {
			return target{}, err
		}
	}
	s, err := viewOf(rec)
	switch {
	case errors.Is(err, ErrCorrupt):
		return target{id: id, driver: rec.Revision, bytes: -1}, nil
	case err != nil:
		return target{}, err
	case s.expired(time.Now().UnixMilli()):
		return target{}, ErrNotFound
	}
	return st.targetOf(ctx, s)
}

// remove makes the removal.
func (t *target) remove(ctx context.Context, st *Store) error {
	return st.usage.remove(ctx, t.bytes, func() error {
		_, err := st.apply(ctx, t.id, t.removal(st))
		return err
	})
}

// removal removes exactly the state that was read, with its items. A record that
// the driver cannot read has no state to name: it goes as it is, and the sweeper
// finds its items.
func (t *target) removal(st *Store) *driver.Batch {
	b := &driver.Batch{
		If: driver.IfRevision, Revision: t.driver,
		Delete: true,
		Drop:   st.firstItems(t.items, 0),
		Op:     NewOperation(),
	}
	if t.driver == 0 {
		b.If = driver.IfAny
	}
	return b
}

func (st *Store) removed(t *target) {
	st.stats.deleted.Add(1)
	st.opts.Observer.deleted(t.id, t.incarnation)
}
