package session

import (
	"context"
	"errors"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Get returns a session and counts as use of it: if less than a full time to
// live is left, the deadline is moved. If that write fails, the session is
// returned all the same.
//
// Errors: ErrNotFound, ErrCorrupt, ErrUnavailable, ErrUnsupported for a read
// level the driver cannot give.
func (st *Store) Get(ctx context.Context, id string, opts ...ReadOption) (*Session, error) {
	var s *Session
	err := st.do(ctx, OpGet, id, func(ctx context.Context) (err error) {
		now := time.Now().UnixMilli()
		s, err = st.liveAt(ctx, id, now, opts)
		// Most reads end here: the deadline is far, whatever else the head says.
		if err == nil && s.deadline < now+s.ttl {
			s = st.use(ctx, s)
		}
		return err
	})
	return s, err
}

// Peek returns a session without counting as use.
//
// Errors: as those of Get.
func (st *Store) Peek(ctx context.Context, id string, opts ...ReadOption) (*Session, error) {
	var s *Session
	err := st.do(ctx, OpPeek, id, func(ctx context.Context) (err error) {
		s, err = st.live(ctx, id, opts)
		return err
	})
	return s, err
}

// Exists says whether there is a live session of that id. It does not count as
// use.
func (st *Store) Exists(ctx context.Context, id string, opts ...ReadOption) (bool, error) {
	exists := false
	err := st.do(ctx, OpExists, id, func(ctx context.Context) error {
		_, err := st.live(ctx, id, opts)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		exists = err == nil
		return err
	})
	return exists, err
}

// Touch counts as use of a session and returns it. It writes only if less than
// a full time to live is left. A touch that loses against another write is
// dropped, because that write moved the deadline.
//
// Errors: as those of Get, and ErrUnknown.
func (st *Store) Touch(ctx context.Context, id string) (*Session, error) {
	var s *Session
	err := st.do(ctx, OpTouch, id, func(ctx context.Context) (err error) {
		if s, err = st.live(ctx, id, nil); err == nil {
			s, err = st.touch(ctx, s)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// live returns the session unless it has expired.
func (st *Store) live(ctx context.Context, id string, opts []ReadOption) (*Session, error) {
	return st.liveAt(ctx, id, time.Now().UnixMilli(), opts)
}

func (st *Store) liveAt(ctx context.Context, id string, now int64, opts []ReadOption) (*Session, error) {
	read, err := readOptionsOf(opts)
	if err != nil {
		return nil, err
	}
	s, err := st.load(ctx, id, read)
	if err != nil {
		return nil, err
	}
	if s.expired(now) {
		return nil, ErrNotFound
	}
	return s, nil
}

// use touches a session that was read. The answer is right whether or not the
// touch could be written, so a failure is only logged.
func (st *Store) use(ctx context.Context, s *Session) *Session {
	touched, err := st.touch(ctx, s)
	if err != nil {
		st.log.WarnContext(ctx, "session was read but not touched", "session", s.ID(), "error", err)
	}
	return touched
}

// touch writes a new deadline if that is due. It returns the session as it is
// then, or as it was if there is an error.
func (st *Store) touch(ctx context.Context, s *Session) (*Session, error) {
	now := time.Now().UnixMilli()
	h := s.head()
	if h.expired(now) || !h.touchDue(now, st.holds.until(s.ID(), nil)) {
		return s, nil
	}
	touched, err := st.put(ctx, newDraft(s), now, OpID{})
	switch {
	case err == nil:
		return touched, nil
	case errors.Is(err, ErrConflict):
		return s, nil
	}
	return s, err
}

// put writes a draft at the revision of its base and returns the session as it
// is then.
func (st *Store) put(ctx context.Context, d *Draft, now int64, op OpID) (*Session, error) {
	d.batch.If, d.batch.Revision = driver.IfRevision, d.base.rec.Revision
	d.batch.Drop = st.firstItems(d.batch.Drop, len(d.batch.Put)+len(d.batch.Absent))
	return st.store(ctx, d, now, op)
}

// store writes a draft under the condition that its batch has.
func (st *Store) store(ctx context.Context, d *Draft, now int64, op OpID) (*Session, error) {
	d.heldUntil = st.holds.until(d.id, d.hold)
	s := d.seal(now, op)
	if err := st.fits(d); err != nil {
		return nil, err
	}
	if d.moved {
		st.holds.move(d.id)
	}
	more := d.head.varsBytes + d.head.programBytes - d.before.bytes()
	if err := st.usage.begin(ctx, more); err != nil {
		return nil, err
	}
	rev, err := st.apply(ctx, d.id, &d.batch)
	st.usage.end(more, err)
	if err != nil {
		return nil, err
	}
	// A driver that keeps the record has set its revision, and others may see
	// it by now.
	if s.rec.Revision != rev {
		s.rec.Revision = rev
	}
	if st.holds.until(d.id, d.hold) > d.heldUntil {
		s = st.use(ctx, s) // a hold began meanwhile, and relies on the deadline before this write
	}
	return s, nil
}
