package session

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// usage keeps the bytes of all sessions, their variables and programs, within
// a limit.
//
// They are counted once, by a look at all heads, before the first write that
// changes a size; from then on each write adds its difference. Room is taken
// before a write and given back if it was not made, so that within one process
// the limit is never exceeded. After a write whose outcome is unknown they are
// counted anew.
type usage struct {
	st *Store
	// limit is 0 if there is none; then nothing is counted.
	limit int64
	bytes atomic.Int64
	// staged are the bytes of programs that are written and not yet committed,
	// for which there must be room, too.
	staged atomic.Int64

	counted atomic.Bool
	// under counts the writes under way: none is while sessions are counted.
	under    atomic.Int64
	counting chan struct{}
}

func (u *usage) init(st *Store) {
	u.st, u.counting = st, make(chan struct{}, 1)
	switch limit := st.opts.MaxBytes; {
	case limit > 0:
		u.limit = limit
	case limit == 0 && st.info.Durable:
		u.limit = DefaultMaxBytes
	case limit == 0:
		u.limit = DefaultMaxBytesInMemory
	}
}

// begin announces a write that changes the size of a session by more bytes, or
// fewer if more is negative. End must follow, unless it fails.
func (u *usage) begin(ctx context.Context, more int64) error {
	if u.limit == 0 || more == 0 {
		return nil
	}
	err := u.reserve(ctx, more)
	if errors.Is(err, ErrQuotaExceeded) && u.st.sweepIfDue(ctx) == nil {
		err = u.reserve(ctx, more)
	}
	return err
}

func (u *usage) reserve(ctx context.Context, more int64) error {
	if err := u.enter(ctx); err != nil {
		return err
	}
	if more <= 0 {
		return nil
	}
	if use := u.bytes.Add(more); use > u.limit {
		u.bytes.Add(-more)
		u.under.Add(-1)
		return u.exceeded(use)
	}
	return nil
}

func (u *usage) exceeded(use int64) error {
	return &LimitError{What: "variables and programs of all sessions", Use: use, Limit: u.limit, quota: true}
}

// end says how the write ended.
func (u *usage) end(more int64, err error) {
	if u.limit == 0 || more == 0 {
		return
	}
	switch {
	case errors.Is(err, ErrUnknown):
		u.counted.Store(false)
	case (err == nil) != (more > 0): // room that is given back
		if more > 0 {
			more = -more
		}
		u.bytes.Add(more)
	}
	u.under.Add(-1)
}

// remove makes a write that removes so many bytes, or an unknown number if it
// is negative. It is never refused for want of a count.
func (u *usage) remove(ctx context.Context, bytes int64, write func() error) error {
	if u.limit == 0 || bytes == 0 || u.enter(ctx) != nil {
		err := write()
		if u.limit > 0 && bytes != 0 {
			u.counted.Store(false)
		}
		return err
	}
	err := write()
	if bytes < 0 {
		u.counted.Store(false)
		bytes = 0
	}
	if bytes == 0 {
		u.under.Add(-1)
	} else {
		u.end(-bytes, err)
	}
	return err
}

// stage takes room for a part of a program that is not yet committed.
func (u *usage) stage(ctx context.Context, bytes int64) error {
	if u.limit == 0 {
		return nil
	}
	if err := u.enter(ctx); err != nil {
		return err
	}
	defer u.under.Add(-1)
	if use := u.staged.Add(bytes) + u.bytes.Load(); use > u.limit {
		u.staged.Add(-bytes)
		return u.exceeded(use)
	}
	return nil
}

// enter waits until the sessions are counted, and holds off further counts
// until under is taken back.
func (u *usage) enter(ctx context.Context) error {
	for {
		u.under.Add(1)
		if u.counted.Load() {
			return nil
		}
		u.under.Add(-1)
		if err := u.count(ctx); err != nil {
			return err
		}
	}
}

// count looks at all sessions. It goes on when the caller's context has ended:
// a caller in a hurry would never get to the end of a large store.
func (u *usage) count(ctx context.Context) error {
	select {
	case u.counting <- struct{}{}:
		defer func() { <-u.counting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if u.counted.Load() {
		return nil
	}
	for u.under.Load() > 0 {
		timer := time.NewTimer(time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	total := int64(0)
	_, err := u.st.scan(context.WithoutCancel(ctx), "", "", func(rec *driver.Record) error {
		if s, err := headOf(rec); err == nil {
			total += s.Size().bytes()
		}
		return nil
	})
	if err != nil {
		return err
	}
	u.bytes.Store(total)
	u.counted.Store(true)
	return nil
}

func (s Size) bytes() int64 { return s.VarsBytes + s.ProgramBytes }
