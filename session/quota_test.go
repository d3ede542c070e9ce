package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// uncounted hides that the driver can count.
type uncounted struct{ driver.Store }

func eachCounting(t *testing.T, test func(t *testing.T, open func() driver.Store)) {
	for name, open := range map[string]func() driver.Store{
		"counter": func() driver.Store { return memstore.New() },
		"listing": func() driver.Store { return uncounted{memstore.New()} },
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

func TestQuota(t *testing.T) {
	eachCounting(t, func(t *testing.T, drv func() driver.Store) {
		synctest.Test(t, func(t *testing.T) {
			st := open(t, drv(), &session.Options{MaxSessions: 2})
			create(t, st, "a", &session.CreateOptions{TTL: new(10 * time.Second)})
			create(t, st, "b", nil)
			_, _, err := st.Create(t.Context(), "c", nil)
			if !errors.Is(err, session.ErrQuotaExceeded) {
				t.Fatalf("beyond the quota: %v", err)
			}
			if s, created, err := st.Create(t.Context(), "b", nil); err != nil || created || s.ID() != "b" {
				t.Errorf("an existing session at the quota: %v, %v", created, err)
			}
			time.Sleep(12 * time.Second)
			create(t, st, "c", nil) // a has expired
			if _, _, err := st.Create(t.Context(), "a", nil); !errors.Is(err, session.ErrQuotaExceeded) {
				t.Errorf("beyond the quota: %v", err)
			}
			must[bool](t)(st.Delete(t.Context(), "b"))
			create(t, st, "a", nil)
		})
	})
}

func TestNoQuota(t *testing.T) {
	st := open(t, nil, &session.Options{MaxSessions: -1})
	for i := range 100 {
		create(t, st, fmt.Sprint(i), nil)
	}
}

// Creating side by side fills the quota exactly.
func TestQuotaIsExact(t *testing.T) {
	eachCounting(t, func(t *testing.T, drv func() driver.Store) {
		const limit, callers, each = 50, 16, 20
		st := open(t, drv(), &session.Options{MaxSessions: limit})
		var made, refused atomic.Int64
		var group sync.WaitGroup
		for c := range callers {
			group.Go(func() {
				for i := range each {
					_, created, err := st.Create(t.Context(), fmt.Sprint(c, "-", i), nil)
					switch {
					case created:
						made.Add(1)
					case errors.Is(err, session.ErrQuotaExceeded):
						refused.Add(1)
					default:
						t.Errorf("created %v, error %v", created, err)
					}
				}
			})
		}
		group.Wait()
		if made.Load() != limit || refused.Load() != callers*each-limit {
			t.Errorf("%d made, %d refused", made.Load(), refused.Load())
		}
		if n := must[int](t)(st.Count(t.Context(), session.ListOptions{})); n != limit {
			t.Errorf("%d sessions", n)
		}
	})
}

// What is removed while sessions are listed to count them makes room once.
func TestRemovalWhileCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3
		drv := &removing{Store: memstore.New()}
		st := open(t, drv, &session.Options{MaxSessions: limit})
		for i := range limit {
			create(t, st, fmt.Sprint("old", i), nil)
		}
		time.Sleep(2 * time.Second) // the last count is too old
		drv.meanwhile = func() { must[bool](t)(st.Delete(t.Context(), "old0")) }
		for i := range limit {
			if _, _, err := st.Create(t.Context(), fmt.Sprint("new", i), nil); err != nil && !errors.Is(err, session.ErrQuotaExceeded) {
				t.Error(err)
			}
		}
		if n := must[int](t)(st.Count(t.Context(), session.ListOptions{})); drv.meanwhile != nil || n > limit {
			t.Errorf("%d sessions, %d allowed", n, limit)
		}
	})
}

// removing is a driver that cannot count, and to which something happens
// before the next listing.
type removing struct {
	driver.Store
	meanwhile func()
}

func (r *removing) List(ctx context.Context, prefix, after string, limit int) ([]*driver.Record, error) {
	if f := r.meanwhile; f != nil {
		r.meanwhile = nil
		f()
	}
	return r.Store.List(ctx, prefix, after, limit)
}

// At the quota a flood of creates sweeps at most once a second.
func TestQuotaSweepsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &listing{Store: memstore.New()}
		st := open(t, drv, &session.Options{MaxSessions: 1})
		create(t, st, "a", nil)
		for range 100 {
			if _, _, err := st.Create(t.Context(), "b", nil); !errors.Is(err, session.ErrQuotaExceeded) {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// A sweep lists two pages: the session, and the empty end.
		if n := drv.lists.Load(); n < 10 || n > 22 {
			t.Errorf("%d lists in 10 s", n)
		}
	})
}

// A sweep that takes longer than a create may is not begun anew by every
// create at the quota.
func TestQuotaWithSlowSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &listing{Store: memstore.New(), takes: time.Minute}
		st := open(t, drv, &session.Options{MaxSessions: 1})
		create(t, st, "a", nil)
		if _, _, err := st.Create(t.Context(), "b", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		start := time.Now()
		for range 10 {
			if _, _, err := st.Create(t.Context(), "b", nil); !errors.Is(err, session.ErrQuotaExceeded) {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("ten refusals took %v", took)
		}
	})
}

type listing struct {
	*memstore.Store
	lists atomic.Int64
	takes time.Duration
}

func (l *listing) List(ctx context.Context, prefix, after string, limit int) ([]*driver.Record, error) {
	l.lists.Add(1)
	select {
	case <-time.After(l.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return l.Store.List(ctx, prefix, after, limit)
}
