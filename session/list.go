package session

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// ListOptions select sessions.
type ListOptions struct {
	// Prefix of the id.
	Prefix string
	// Labels the session must have, all of them.
	Labels map[string]string
	// After is Page.Next of the page before; empty for the first page.
	After string
	// Limit is the size of a page; default 100, at most 1000.
	Limit int
}

const (
	defaultPage = 100
	maxPage     = 1000
	// maxScan bounds the sessions one page looks at when few match.
	maxScan = 10_000
)

// Page is a part of a list, in the order of ids.
type Page struct {
	// Sessions are views of heads: see Session.
	Sessions []*Session
	// Next continues the list; empty after the last page. A page may be
	// short, or even empty, and still have a next one.
	Next string
}

// List returns a page of live sessions. A list is no snapshot: a session that
// exists while all pages are read is listed exactly once. A part of the storage
// that cannot be read is left out, and told once in the log.
//
// A session whose head cannot be read, because it is damaged (ErrCorrupt) or
// was written by a newer version (ErrUnsupported), ends the page before it; if
// it comes first, its error is returned with a Page whose Next goes on behind
// it.
func (st *Store) List(ctx context.Context, opts ListOptions) (Page, error) {
	var page Page
	err := st.do(ctx, OpList, "", func(ctx context.Context) (err error) {
		switch {
		case opts.Limit < 0 || opts.Limit > maxPage:
			return &InvalidError{"limit", "must be between 0, which is 100, and 1000"}
		case opts.Limit == 0:
			opts.Limit = defaultPage
		}
		page, err = st.page(ctx, opts)
		return err
	})
	return page, err
}

func (st *Store) page(ctx context.Context, opts ListOptions) (page Page, err error) {
	now := time.Now().UnixMilli()
	after, scanned := max(opts.After, lastKeeper), 0
	for {
		records, _, err := st.records(ctx, opts.Prefix, after, min(opts.Limit-len(page.Sessions)+1, maxPage))
		if err != nil {
			return Page{}, err
		}
		if len(records) == 0 {
			return page, nil
		}
		for _, rec := range records {
			s, err := headOf(rec)
			if err != nil {
				st.damage.log(ctx, st.log, rec.ID, "session cannot be read", "session", rec.ID, "error", err)
			}
			switch {
			case err != nil && scanned > 0:
				page.Next = after
				return page, nil
			case err != nil:
				return Page{Next: rec.ID}, err
			case scanned == maxScan:
				page.Next = after
				return page, nil
			case s.expired(now) || !hasLabels(s, opts.Labels):
			case len(page.Sessions) == opts.Limit:
				page.Next = after
				return page, nil
			default:
				page.Sessions = append(page.Sessions, s)
			}
			scanned++
			after = rec.ID
		}
	}
}

// records is a page of the driver's list. What the driver cannot read of it is
// told in the log.
func (st *Store) records(ctx context.Context, prefix, after string, limit int) ([]*driver.Record, int, error) {
	for again := outages; ; {
		records, err := st.drv.List(ctx, prefix, after, limit)
		gaps, err := st.gapsOf(ctx, err)
		if err == nil || !errors.Is(err, ErrUnavailable) || !again.wait(ctx) {
			return records, gaps, err
		}
	}
}

// gapsOf takes the gaps of a listing from its error, and logs those that were
// not logged before.
func (st *Store) gapsOf(ctx context.Context, err error) (int, error) {
	gap, ok := errors.AsType[*driver.GapError](err)
	if !ok {
		return 0, err
	}
	for _, g := range gap.Gaps {
		st.damage.log(ctx, st.log, g.From.ID+"\x00"+g.From.Key, "a part of the storage cannot be read; lists go on behind it",
			"after", g.From.ID, "before", g.To.ID, "error", g.Err)
	}
	return len(gap.Gaps), nil
}

func hasLabels(s *Session, labels map[string]string) bool {
	if len(labels) == 0 {
		return true
	}
	stored := s.head().labels
	for key, want := range labels {
		if value, ok := findPair(stored, headLabel, key); !ok || string(value) != want {
			return false
		}
	}
	return true
}

// All iterates over live sessions in the order of ids, page by page. A session
// whose head cannot be read is yielded as its error, and the iteration goes on
// behind it; any other error is the last thing yielded.
func (st *Store) All(ctx context.Context, opts ListOptions) iter.Seq2[*Session, error] {
	return func(yield func(*Session, error) bool) {
		for {
			page, err := st.List(ctx, opts)
			for _, s := range page.Sessions {
				if !yield(s, nil) {
					return
				}
			}
			if err != nil && !yield(nil, err) || page.Next == "" {
				return
			}
			opts.After = page.Next
		}
	}
}

// Count returns the number of live sessions. It looks at all heads with the
// prefix. Damaged ones are not counted.
func (st *Store) Count(ctx context.Context, opts ListOptions) (int, error) {
	var n int
	err := st.do(ctx, OpCount, "", func(ctx context.Context) (err error) {
		n, err = st.count(ctx, opts)
		return err
	})
	return n, err
}

func (st *Store) count(ctx context.Context, opts ListOptions) (int, error) {
	now := time.Now().UnixMilli()
	n := 0
	_, err := st.scan(ctx, opts.Prefix, max(opts.After, lastKeeper), func(rec *driver.Record) error {
		if s, err := headOf(rec); err == nil && !s.expired(now) && hasLabels(s, opts.Labels) {
			n++
		}
		return nil
	})
	return n, err
}

// scan calls f for each record with the prefix, and returns the number of parts
// that the driver could not read. Each page is bounded on its own.
func (st *Store) scan(ctx context.Context, prefix, after string, f func(*driver.Record) error) (gaps int, err error) {
	for {
		page, timer := bound(ctx, st.opts.OperationTimeout)
		records, n, err := st.records(page, prefix, after, maxPage)
		timer.stop()
		gaps += n
		if err != nil || len(records) == 0 {
			return gaps, err
		}
		for _, rec := range records {
			if err := f(rec); err != nil {
				return gaps, err
			}
			after = rec.ID
		}
	}
}

// Stats describe a store.
type Stats struct {
	// Driver is the name of the storage driver.
	Driver string
	// Sessions is the number of live sessions.
	Sessions int
	// MaxSessions is the quota, negative for none.
	MaxSessions int
	// Bytes is what the variables and programs of live sessions hold, and
	// MaxBytes how much they may, 0 for no limit.
	Bytes, MaxBytes int64
	// Created, Deleted, Expired and Sweeps count what this store has done
	// since it was opened.
	Created uint64
	Deleted uint64
	Expired uint64
	Sweeps  uint64
	// Damaged is the number of sessions, and of parts of the storage, that the
	// last sweep could not read.
	Damaged int
}

// Stats describes the store. It looks at all heads to count live sessions.
func (st *Store) Stats(ctx context.Context) (Stats, error) {
	var stats Stats
	err := st.do(ctx, OpStats, "", func(ctx context.Context) error {
		now, n, bytes := time.Now().UnixMilli(), 0, int64(0)
		_, err := st.scan(ctx, "", lastKeeper, func(rec *driver.Record) error {
			if s, err := headOf(rec); err == nil && !s.expired(now) {
				n++
				bytes += s.Size().bytes()
			}
			return nil
		})
		if err != nil {
			return err
		}
		stats = Stats{
			Driver:      st.info.Name,
			Sessions:    n,
			MaxSessions: st.opts.MaxSessions,
			Bytes:       bytes,
			MaxBytes:    st.usage.limit,
			Created:     st.stats.created.Load(),
			Deleted:     st.stats.deleted.Load(),
			Expired:     st.stats.expired.Load(),
			Sweeps:      st.stats.sweeps.Load(),
			Damaged:     int(st.stats.damaged.Load()),
		}
		return nil
	})
	return stats, err
}
