package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Create makes a session and says that it was created. If the id exists, the
// stored session is returned unchanged and untouched, also at the quota. A
// session that has expired is replaced by the new one in a single write.
//
// Errors: ErrQuotaExceeded, ErrInvalid, ErrTooLarge, ErrUnavailable,
// ErrUnknown, ErrCorrupt if the stored session is damaged.
func (st *Store) Create(ctx context.Context, id string, opts *CreateOptions) (s *Session, created bool, err error) {
	err = st.do(ctx, OpCreate, id, func(ctx context.Context) (err error) {
		c := creation{st: st, id: id, op: NewOperation()}
		if opts != nil {
			c.opts = *opts
		}
		if err := c.prepare(); err != nil {
			return err
		}
		s, created, err = c.run(ctx)
		return err
	})
	return s, created, err
}

// creation is one Create.
type creation struct {
	st   *Store
	id   string
	opts CreateOptions
	// ttl and absolute are in milliseconds, as they are stored.
	ttl, absolute int64
	// op is the same for all attempts: it tells our session from another's.
	op OpID
}

func (c *creation) prepare() (err error) {
	if c.opts.TTL == nil {
		c.opts.TTL = &c.st.opts.DefaultTTL
	}
	if c.ttl, err = ttlMillis(*c.opts.TTL); err != nil {
		return err
	}
	if c.absolute, err = absoluteMillis(c.opts.AbsoluteDeadline, time.Now().UnixMilli()); err != nil {
		return err
	}
	if err = checkLabels(c.opts.Labels); err != nil {
		return err
	}
	if err = checkMetadata(c.opts.Metadata); err != nil {
		return err
	}
	if c.opts.Owner != nil {
		if err = checkOwner(*c.opts.Owner); err != nil {
			return err
		}
	}
	c.opts.Vars, err = prepareVars(c.opts.Vars)
	return err
}

func (c *creation) run(ctx context.Context) (*Session, bool, error) {
	again, doubt := conflicts, doubts
	// doubtful says that an attempt whose outcome is unknown may still be made.
	doubtful := false
	fail := func(err error) (*Session, bool, error) {
		if doubtful {
			err = mayComeLate(err)
		}
		return nil, false, err
	}
	old, err := c.st.load(ctx, c.id, driver.Read{})
	for {
		switch {
		case errors.Is(err, ErrNotFound):
			old = nil
		case err != nil && doubtful:
			return nil, false, stillUnknown(err)
		case err != nil:
			return nil, false, err
		case old.HasOperation(c.op):
			// The attempt whose outcome was unknown has made it.
			c.done(old, nil)
			return old, true, nil
		case !old.expired(time.Now().UnixMilli()):
			return old, false, nil
		}
		var s *Session
		s, err = c.attempt(ctx, old)
		retry := &again
		switch {
		case err == nil:
			return s, true, nil
		case errors.Is(err, ErrUnknown):
			doubtful, retry = true, &doubt
		case errors.Is(err, driver.ErrExists), errors.Is(err, ErrConflict):
			err = fmt.Errorf("%w: others created or removed the session %d times", ErrConflict, again.n+1)
		default:
			return fail(err)
		}
		if !retry.wait(ctx) {
			return fail(fmt.Errorf("%w: %w", err, ctx.Err()))
		}
		old, err = c.st.newest(ctx, c.id)
	}
}

// attempt makes one conditional write, over an expired session if old is not
// nil.
func (c *creation) attempt(ctx context.Context, old *Session) (*Session, error) {
	if old == nil && !isKeeper(c.id) {
		admission, err := c.st.quota.admit(ctx)
		if err != nil {
			return nil, err
		}
		defer admission.end()
	}
	now := time.Now().UnixMilli() // being admitted may have taken time
	d := c.draft(now)
	if old == nil {
		d.batch.If = driver.IfAbsent
	} else {
		// An expired session gives its place to the new one.
		d.batch.If, d.batch.Revision = driver.IfRevision, old.rec.Revision
		calls, err := c.st.callItemKeys(ctx, old)
		if err != nil {
			return nil, err
		}
		d.batch.Drop = c.st.firstItems(append(calls, itemsOf(old.Programs())...), 0)
		d.before = old.Size()
	}
	s, err := c.st.store(ctx, d, now, c.op)
	if err != nil {
		return nil, err
	}
	c.done(s, old) // before the admission ends, so that the quota misses nothing
	return s, nil
}

func (c *creation) draft(now int64) *Draft {
	d := &Draft{id: c.id, head: head{incarnation: newIncarnation(), created: now, ttl: c.ttl, absolute: c.absolute}}
	d.patchVars(c.opts.Vars, nil)
	if len(c.opts.Labels) > 0 {
		d.replaceLabels(maps.Clone(c.opts.Labels))
	}
	if len(c.opts.Metadata) > 0 {
		d.replaceMetadata(maps.Clone(c.opts.Metadata))
	}
	if c.opts.Owner != nil {
		d.setOwner(*c.opts.Owner)
	}
	// A new session is at state version 1, whether it has variables or not.
	d.state = true
	return d
}

// done counts and reports the session s, which replaced the expired one old.
func (c *creation) done(s, old *Session) {
	if isKeeper(c.id) {
		return
	}
	if old != nil {
		c.st.stats.expired.Add(1)
		c.st.opts.Observer.expired(c.id, old.Incarnation())
	}
	c.st.stats.created.Add(1)
	c.st.opts.Observer.created(c.id, s.Incarnation())
}

// setOwner makes o the owner under the next epoch.
func (d *Draft) setOwner(o Owner) {
	d.head.node, d.head.process = []byte(o.Node), []byte(o.Process)
	d.head.epoch++
	d.rewrite = true
}
