package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Hold is a use of a session that lasts, such as a call. While it is there, no
// write of its store leaves the session a deadline before the end of the hold,
// except the absolute one. It belongs to one goroutine.
//
// A hold is memory of the process; only Extend and Release write, and only if
// the time to live is too short to cover it. After a crash the session lives as
// long as its last hold was to last, unless it is used again before.
type Hold struct {
	st    *Store
	id    string
	until int64
}

// Hold notes that a session will be in use until a time. It writes nothing:
// the session is to be read afterwards, and given to Extend.
func (st *Store) Hold(id string, until time.Time) *Hold {
	h := &Hold{st: st, id: id, until: until.UnixMilli()}
	st.holds.add(h)
	return h
}

// Extend moves the deadline of the session behind the end of the hold, unless
// it is there already. S is the session as it was read after Hold; the result
// is the session as it is then.
//
// Errors: ErrNotFound if it has expired by now, else those of Touch.
func (h *Hold) Extend(ctx context.Context, s *Session) (*Session, error) {
	if s.deadline >= h.until {
		return s, nil
	}
	err := h.st.do(ctx, OpTouch, h.id, func(ctx context.Context) (err error) {
		if s, err = h.st.touch(ctx, s); err == nil && s.expired(time.Now().UnixMilli()) {
			return ErrNotFound
		}
		return err
	})
	return s, err
}

// Release ends the hold, which counts as use: the deadline becomes that of a
// session used now. S is the session as its holder knows it, nil if there is
// none. It writes only if the deadline was moved for the hold, or less than a
// full time to live is left.
//
// Errors: those of Update. A session that is gone is no error.
func (h *Hold) Release(ctx context.Context, s *Session) error {
	moved := h.st.holds.remove(h)
	if !moved && (s == nil || s.deadline >= time.Now().UnixMilli()+s.ttl) {
		return nil
	}
	_, err := h.st.write(ctx, OpTouch, h.id, change{unrecorded: true, apply: func(d *Draft) error {
		fresh := d.head
		fresh.use(time.Now().UnixMilli(), h.st.holds.until(h.id, nil))
		d.rewrite = d.head.deadline > fresh.deadline
		return nil
	}})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// holds are the sessions in use by this process.
type holds struct {
	n        atomic.Int64 // sessions, so that a store without calls pays nothing
	mu       sync.Mutex
	sessions map[string]*held
}

// held is one session in use.
type held struct {
	by []*Hold
	// moved says that a write gave the session a deadline for their sake.
	moved bool
}

func (l *holds) add(h *Hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[h.id]
	if s == nil {
		if l.sessions == nil {
			l.sessions = make(map[string]*held)
		}
		s = new(held)
		l.sessions[h.id] = s
		l.n.Add(1)
	}
	s.by = append(s.by, h)
}

// remove says whether it was the last hold of a session whose deadline was
// moved.
func (l *holds) remove(h *Hold) (moved bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[h.id]
	for i := range s.by {
		if s.by[i] == h {
			s.by = append(s.by[:i], s.by[i+1:]...)
			break
		}
	}
	if len(s.by) > 0 {
		return false
	}
	delete(l.sessions, h.id)
	l.n.Add(-1)
	return s.moved
}

// until is how long a session is held by others than one hold, 0 if it is not.
func (l *holds) until(id string, besides *Hold) int64 {
	if l.n.Load() == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[id]
	if s == nil {
		return 0
	}
	until := int64(0)
	for _, h := range s.by {
		if h != besides {
			until = max(until, h.until)
		}
	}
	return until
}

// move notes that a write is about to move the session's deadline.
func (l *holds) move(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[id]; s != nil {
		s.moved = true
	}
}
