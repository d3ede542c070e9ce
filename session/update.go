package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Update changes a session with a function. The function gets a draft of the
// newest state; what it did is written if nobody else has changed the session
// meanwhile, else it runs again on the newer state. So it may run several times
// and must have no effects besides the draft. No lock is held while it runs; it
// may use the store, also for the same session.
//
// A function that changed nothing writes nothing but, if that is due, the new
// deadline: Update counts as use, as with Touch. If the function returns an
// error, nothing is written, and the error is wrapped together with
// ErrUpdateFailed.
//
// Errors: ErrNotFound, ErrUpdateFailed, ErrConflict (another revision than
// IfRevision asks for, or the context ended while others kept coming first),
// ErrTooLarge, ErrInvalid, ErrAlreadyCommitted, ErrUnavailable, ErrUnknown,
// ErrCorrupt.
func (st *Store) Update(ctx context.Context, id string, fn func(*Draft) error, opts ...WriteOption) (*Session, error) {
	return st.write(ctx, OpUpdate, id, change{writeOptions: writeOptionsOf(opts), apply: func(d *Draft) error {
		if err := fn(d); err != nil {
			return fmt.Errorf("%w: %w", ErrUpdateFailed, err)
		}
		return nil
	}})
}

// Patch changes single keys of a session, whatever its other keys are by then.
// A patch that changes nothing writes nothing but, if that is due, the new
// deadline: it counts as use.
//
// Errors: as those of Update.
func (st *Store) Patch(ctx context.Context, id string, p Patch, opts ...WriteOption) (*Session, error) {
	return st.write(ctx, OpPatch, id, change{
		writeOptions: writeOptionsOf(opts),
		prepare: func() (err error) {
			p.Set, err = prepareVars(p.Set)
			return err
		},
		apply: func(d *Draft) error {
			d.patch(p)
			return nil
		},
	})
}

// Put replaces all variables, labels and metadata of a session that is still
// at the expected revision; programs stay.
//
// Errors: ErrInvalid for an empty revision; else as those of Update.
func (st *Store) Put(ctx context.Context, id, expectedRevision string, c Content, opts ...WriteOption) (*Session, error) {
	o := writeOptionsOf(opts)
	o.revision = expectedRevision
	return st.write(ctx, OpPut, id, change{
		writeOptions: o,
		prepare: func() (err error) {
			if expectedRevision == "" {
				return &InvalidError{"expected revision", "is empty: read the session first and use its revision"}
			}
			c.Vars, err = prepareVars(c.Vars)
			return err
		},
		apply: func(d *Draft) error {
			d.replace(c)
			return nil
		},
	})
}

// change is a write as its operation describes it.
type change struct {
	writeOptions
	// prepare, if not nil, runs once before the first attempt.
	prepare func() error
	// guard, if not nil, runs on the newest session before anything else
	// is looked at.
	guard func(*Session) error
	// apply changes the draft; it runs once for each attempt.
	apply func(*Draft) error
	// hold, if not nil, ends with the write: see Draft.
	hold *Hold
	// mark, if not nil, is that of the call that is committed, with its answer
	// if that is to be kept: there must be none of its id yet.
	mark   *callMark
	answer *Answer
	// unrecorded writes leave no operation id. Repeating them does no harm.
	unrecorded bool
}

func (st *Store) write(ctx context.Context, op Operation, id string, c change) (*Session, error) {
	var s *Session
	err := st.do(ctx, op, id, func(ctx context.Context) (err error) {
		if c.prepare != nil {
			if err := c.prepare(); err != nil {
				return err
			}
		}
		s, err = st.compareAndSet(ctx, id, c)
		return err
	})
	return s, err
}

// compareAndSet reads, changes and writes a session until nobody came between.
// Every attempt carries the same operation id.
func (st *Store) compareAndSet(ctx context.Context, id string, c change) (*Session, error) {
	op := c.op
	named := op != OpID{}
	switch {
	case c.unrecorded:
		op = OpID{}
	case !named:
		op = NewOperation()
	}
	// doubtful is the base of an attempt whose outcome is unknown and that may
	// still be made. Until that is settled no error may say that nothing was
	// written.
	var doubtful *Session
	fail := func(err error) (*Session, error) {
		if doubtful != nil {
			err = mayComeLate(err)
		}
		return nil, err
	}
	again, doubt := conflicts, doubts
	base, err := st.load(ctx, id, driver.Read{})
	for {
		if doubtful != nil && !c.unrecorded {
			made, known := outcome(doubtful, base, err, op)
			if !known && c.mark != nil && err == nil {
				made, known, err = st.callOutcome(ctx, doubtful, c.mark.name, op)
			}
			if !known {
				return nil, stillUnknown(err)
			} else if made {
				return base, nil
			}
		}
		if err != nil {
			return fail(err)
		}
		if doubtful != nil && doubtful.rec.Revision != base.rec.Revision {
			doubtful = nil
		}
		if base.expired(time.Now().UnixMilli()) {
			return fail(ErrNotFound)
		}
		if c.guard != nil {
			if err := c.guard(base); err != nil {
				return fail(err)
			}
		}
		if named && base.HasOperation(op) {
			return base, ErrAlreadyCommitted
		}
		if c.revision != "" && c.revision != base.Revision() {
			return fail(fmt.Errorf("%w: the session is at revision %s, not %s; read it again", ErrConflict, base.Revision(), c.revision))
		}
		d := newDraft(base)
		d.hold = c.hold
		if c.mark != nil {
			c.mark.op = op
			if err := st.enterCall(ctx, d, c.mark, c.answer); err != nil {
				return fail(err)
			}
		}
		if err := c.apply(d); err != nil {
			return fail(err)
		}
		switch write, err := d.settle(); {
		case err != nil:
			return fail(err)
		case !write && d.unused:
			return base, nil
		case !write:
			if base, err = st.touch(ctx, base); err != nil {
				return fail(err)
			}
			return base, nil
		}
		// The function may have taken its time: the session is used now, and
		// only if it lives.
		now := time.Now().UnixMilli()
		if base.expired(now) {
			return fail(ErrNotFound)
		}
		s, err2 := st.put(ctx, d, now, op)
		switch {
		case err2 == nil:
			return s, nil
		case errors.Is(err2, ErrUnknown):
			doubtful = base
			if !doubt.wait(ctx) {
				return nil, err2
			}
		case errors.Is(err2, driver.ErrItemExists):
			return fail(errAnotherCall)
		case errors.Is(err2, ErrConflict):
			if !again.wait(ctx) {
				return fail(fmt.Errorf("%w: other writers came first %d times: %w", ErrConflict, again.n+1, ctx.Err()))
			}
		default:
			return fail(err2)
		}
		base, err = st.newest(ctx, id)
	}
}

// outcome finds out what became of a write whose outcome is unknown: base is
// what it was conditioned on, now and err what a read since has found.
//
// If the write is not there and the record has another revision than base, it
// can no longer come. If the record still has that revision, the write may come
// late; a repetition has the same condition, so that one of the two is made at
// most. It is only unknown if the record cannot tell any more.
func outcome(base, now *Session, err error, op OpID) (made, known bool) {
	if err != nil {
		return false, false
	}
	before, after := base.head(), now.head()
	if before.incarnation != after.incarnation {
		return false, false
	}
	if after.remembers(op) {
		return true, true
	}
	// As long as the write before ours is remembered, ours would be, too.
	return false, after.remembers(before.newest())
}

func stillUnknown(err error) error {
	if err == nil {
		return fmt.Errorf("%w: the session has changed too much since to tell", ErrUnknown)
	}
	return fmt.Errorf("%w: looking for the write: %w", ErrUnknown, err)
}

// mayComeLate is what err means while an earlier attempt may still be made.
func mayComeLate(err error) error {
	return fmt.Errorf("%w: the write may come late: %w", ErrUnknown, err)
}
