package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := open(t, nil, nil)
		s := create(t, st, "s", &session.CreateOptions{TTL: new(100 * time.Second)})
		if want := s.Created().Add(110 * time.Second); !s.Deadline().Equal(want) {
			t.Errorf("deadline %v, want %v", s.Deadline(), want)
		}
		time.Sleep(110 * time.Second)
		if _, err := st.Peek(t.Context(), "s"); err != nil {
			t.Errorf("at the deadline: %v", err)
		}
		time.Sleep(time.Millisecond)
		for name, err := range map[string]error{
			"get":   func() error { _, err := st.Get(t.Context(), "s"); return err }(),
			"peek":  func() error { _, err := st.Peek(t.Context(), "s"); return err }(),
			"touch": func() error { _, err := st.Touch(t.Context(), "s"); return err }(),
			"update": func() error {
				_, err := st.Update(t.Context(), "s", func(*session.Draft) error { return nil })
				return err
			}(),
			"patch":  func() error { _, err := st.Patch(t.Context(), "s", session.Patch{Set: vars("a", "1")}); return err }(),
			"put":    func() error { _, err := st.Put(t.Context(), "s", s.Revision(), session.Content{}); return err }(),
			"claim":  func() error { _, err := st.Claim(t.Context(), "s", session.Owner{Process: "p"}); return err }(),
			"commit": func() error { _, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence()}); return err }(),
			"put program": func() error {
				_, err := st.PutProgram(t.Context(), "s", "p", strings.NewReader("x"), nil)
				return err
			}(),
			"open program": func() error { _, err := st.OpenProgram(t.Context(), "s", "p"); return err }(),
		} {
			if !errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrProgramNotFound) {
				t.Errorf("%s of an expired session: %v", name, err)
			}
		}
		if must[bool](t)(st.Exists(t.Context(), "s")) || must[bool](t)(st.Delete(t.Context(), "s")) {
			t.Error("the expired session exists")
		}
		page := must[session.Page](t)(st.List(t.Context(), session.ListOptions{}))
		if n := must[int](t)(st.Count(t.Context(), session.ListOptions{})); n != 0 || len(page.Sessions) != 0 {
			t.Errorf("%d counted, %d listed", n, len(page.Sessions))
		}
		if stats := must[session.Stats](t)(st.Stats(t.Context())); stats.Sessions != 0 {
			t.Errorf("%d in stats", stats.Sessions)
		}
	})
}

func TestZeroTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := open(t, nil, nil)
		create(t, st, "s", &session.CreateOptions{TTL: new(time.Duration(0))})
		if _, err := st.Get(t.Context(), "s"); err != nil {
			t.Errorf("in the same millisecond: %v", err)
		}
		time.Sleep(time.Millisecond)
		if _, err := st.Get(t.Context(), "s"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("in the next one: %v", err)
		}
	})
}

func TestShortTTLIsRoundedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := open(t, nil, nil)
		create(t, st, "s", &session.CreateOptions{TTL: new(time.Microsecond)})
		time.Sleep(time.Microsecond)
		if _, err := st.Get(t.Context(), "s"); err != nil {
			t.Errorf("it expired early: %v", err)
		}
	})
}

// Reading keeps a session alive, and writes at most once in a tenth of the
// time to live.
func TestTouchIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := newFaulty()
		writes := 0
		drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
			writes++
			if writes > 1 && b.Body != nil {
				t.Error("a touch has written the body")
			}
			return next(ctx, id, b)
		})
		st := open(t, drv, nil)
		created := create(t, st, "s", &session.CreateOptions{TTL: new(100 * time.Second), Vars: vars("a", "1")})
		const step = time.Second
		for range 1000 {
			time.Sleep(step)
			s, err := st.Get(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(s.Deadline()); left < s.TTL() || left > 110*time.Second {
				t.Fatalf("%v left after a read", left)
			}
			if s.Revision() != created.Revision() {
				t.Fatal("a touch changed the revision")
			}
		}
		if writes < 80 || writes > 101 {
			t.Errorf("%d writes for 1000 reads in 10 times the TTL", writes)
		}
		wantVars(t, must[*session.Session](t)(st.Peek(t.Context(), "s")), `{"a":1}`)
		// Peeking does not keep it alive.
		for range 100 {
			time.Sleep(step)
			must[*session.Session](t)(st.Peek(t.Context(), "s"))
		}
		time.Sleep(11 * step)
		if _, err := st.Peek(t.Context(), "s"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("after its deadline: %v", err)
		}
	})
}

func TestAbsoluteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := newFaulty()
		writes := 0
		drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
			writes++
			return next(ctx, id, b)
		})
		st := open(t, drv, nil)
		end := time.Now().Add(150 * time.Second)
		create(t, st, "s", &session.CreateOptions{TTL: new(100 * time.Second), AbsoluteDeadline: end})
		for time.Now().Before(end) {
			if _, err := st.Get(t.Context(), "s"); err != nil {
				t.Fatalf("%v before its end: %v", time.Until(end), err)
			}
			time.Sleep(time.Second)
		}
		if writes > 7 {
			t.Errorf("%d writes: the touch is not throttled near the absolute deadline", writes)
		}
		time.Sleep(time.Millisecond)
		if _, err := st.Get(t.Context(), "s"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("after it: %v", err)
		}
	})
}

// An absolute deadline that passes while a session is created still holds.
func TestAbsoluteDeadlinePassesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := newFaulty()
		st := open(t, drv, nil)
		drv.onGet(func(next getFunc, ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
			drv.onGet(nil)
			time.Sleep(time.Second)
			return next(ctx, id, read)
		})
		end := time.UnixMilli(time.Now().Add(time.Millisecond).UnixMilli())
		s := create(t, st, "s", &session.CreateOptions{AbsoluteDeadline: end})
		if got, ok := s.AbsoluteDeadline(); !ok || !got.Equal(end) {
			t.Errorf("absolute deadline %v, %v; want %v", got, ok, end)
		}
		if _, err := st.Get(t.Context(), "s"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("after it: %v", err)
		}
	})
}

// The time an update function takes is not taken from the session's, and a
// session that expires meanwhile stays expired.
func TestSlowUpdateFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := open(t, nil, nil)
		create(t, st, "s", &session.CreateOptions{TTL: new(10 * time.Second)})
		update := func(takes time.Duration) (*session.Session, error) {
			return st.Update(t.Context(), "s", func(d *session.Draft) error {
				time.Sleep(takes)
				d.SetLabel("takes", takes.String())
				return nil
			})
		}
		s := must[*session.Session](t)(update(9 * time.Second))
		if left := time.Until(s.Deadline()); left < s.TTL() {
			t.Errorf("%v left after an update", left)
		}
		if _, err := update(time.Minute); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("it expired during the update: %v", err)
		}
	})
}

// A touch that loses against another write is dropped; one that cannot be
// written does not spoil the read.
func TestTouchThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		drv := newFaulty()
		st := open(t, drv, &session.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		create(t, st, "s", &session.CreateOptions{TTL: new(100 * time.Second)})
		time.Sleep(50 * time.Second)
		drv.onApply(func(applyFunc, context.Context, string, *driver.Batch) (driver.Revision, error) {
			return 0, driver.ErrConflict
		})
		for _, read := range []func() (*session.Session, error){
			func() (*session.Session, error) { return st.Get(t.Context(), "s") },
			func() (*session.Session, error) { return st.Touch(t.Context(), "s") },
		} {
			if s, err := read(); err != nil || s.ID() != "s" {
				t.Errorf("a touch that lost: %v", err)
			}
		}
		if log.Len() > 0 {
			t.Errorf("log: %s", &log)
		}
		drv.onApply(func(applyFunc, context.Context, string, *driver.Batch) (driver.Revision, error) {
			return 0, driver.ErrUnavailable
		})
		if s, err := st.Get(t.Context(), "s"); err != nil || s.ID() != "s" {
			t.Errorf("a touch that failed: %v", err)
		}
		if !strings.Contains(log.String(), "not touched") {
			t.Errorf("log: %s", &log)
		}
		if _, err := st.Touch(t.Context(), "s"); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("an explicit touch: %v", err)
		}
	})
}

func TestCreateOverExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := newFaulty()
		var life []string
		note := func(what string) func(string, string) {
			return func(id, incarnation string) { life = append(life, what+" "+id+" "+incarnation) }
		}
		st := open(t, drv, &session.Options{MaxSessions: 1, Observer: session.Observer{
			Created: note("created"), Deleted: note("deleted"), Expired: note("expired"),
		}})
		old := create(t, st, "s", &session.CreateOptions{TTL: new(time.Second), Vars: vars("a", "1")})
		must[session.Program](t)(st.PutProgram(t.Context(), "s", "p", strings.NewReader("old bytes"), nil))
		time.Sleep(time.Minute)

		batches := 0
		drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
			batches++
			if b.If != driver.IfRevision || b.Delete || len(b.Drop) != 1 {
				t.Errorf("batch %+v", b)
			}
			return next(ctx, id, b)
		})
		s := create(t, st, "s", nil)
		if batches != 1 {
			t.Errorf("%d batches", batches)
		}
		if s.Incarnation() == old.Incarnation() {
			t.Error("the incarnation is the old one")
		}
		wantVars(t, s, `{}`)
		if items := must[[]driver.ItemInfo](t)(drv.Items(t.Context(), driver.ItemRef{}, 10)); len(items) != 0 {
			t.Errorf("items %v", items)
		}
		want := []string{"created s " + old.Incarnation(), "expired s " + old.Incarnation(), "created s " + s.Incarnation()}
		if !slices.Equal(life, want) {
			t.Errorf("life %q, want %q", life, want)
		}
		if stats := must[session.Stats](t)(st.Stats(t.Context())); stats.Created != 2 || stats.Expired != 1 || stats.Sessions != 1 {
			t.Errorf("stats %+v", stats)
		}
	})
}

func TestSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		expired := make(map[string]int)
		var log strings.Builder
		drv := memstore.New()
		st := open(t, drv, &session.Options{
			SweepInterval: time.Minute, MaxSessions: 10, WarnThreshold: 0.5,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Observer: session.Observer{Expired: func(id, _ string) {
				mu.Lock()
				defer mu.Unlock()
				expired[id]++
			}},
		})
		for i := range 3 {
			create(t, st, fmt.Sprint("short", i), &session.CreateOptions{TTL: new(30 * time.Second)})
			create(t, st, fmt.Sprint("long", i), &session.CreateOptions{TTL: new(time.Hour)})
		}
		must[session.Program](t)(st.PutProgram(t.Context(), "short1", "p", strings.NewReader("bytes"), nil))
		time.Sleep(59 * time.Second)
		if n := must[int](t)(drv.Count(t.Context())); n != 6 {
			t.Errorf("%d records before the sweep", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := must[int](t)(drv.Count(t.Context())); n != 3 {
			t.Errorf("%d records after the sweep", n)
		}
		if items := must[[]driver.ItemInfo](t)(drv.Items(t.Context(), driver.ItemRef{}, 10)); len(items) != 0 {
			t.Errorf("items %v", items)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(expired) != 3 || expired["short0"] != 1 || expired["short1"] != 1 || expired["short2"] != 1 {
			t.Errorf("expired %v", expired)
		}
		if log.Len() > 0 {
			t.Errorf("log: %s", &log)
		}
		if stats := must[session.Stats](t)(st.Stats(t.Context())); stats.Expired != 3 || stats.Sweeps != 1 || stats.Sessions != 3 {
			t.Errorf("stats %+v", stats)
		}
		create(t, st, "x", nil)
		create(t, st, "y", nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !strings.Contains(log.String(), "close to their quota") || !strings.Contains(log.String(), "sessions=5 max_sessions=10") {
			t.Errorf("log: %s", &log)
		}
	})
}

// Several stores on one driver: each expired session is reported once.
func TestExpiredOnceAcrossStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := memstore.New()
		var mu sync.Mutex
		expired := make(map[string]int)
		observe := &session.Options{Observer: session.Observer{Expired: func(id, _ string) {
			mu.Lock()
			defer mu.Unlock()
			expired[id]++
		}}}
		first := open(t, drv, observe)
		second := open(t, unclosed{drv}, observe)
		for i := range 200 {
			create(t, first, fmt.Sprint(i), &session.CreateOptions{TTL: new(time.Second)})
		}
		time.Sleep(time.Minute)
		var group sync.WaitGroup
		for _, st := range []*session.Store{first, second} {
			group.Go(func() {
				if _, err := st.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
			})
			group.Go(func() {
				for i := range 200 {
					if _, _, err := st.Create(t.Context(), fmt.Sprint(i), nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		if len(expired) != 200 {
			t.Errorf("%d sessions expired", len(expired))
		}
		for id, n := range expired {
			if n != 1 {
				t.Errorf("session %s expired %d times", id, n)
			}
		}
		if n := must[int](t)(first.Count(t.Context(), session.ListOptions{})); n != 200 {
			t.Errorf("%d sessions", n)
		}
	})
}

// unclosed lets a second store share a driver that the first one closes.
type unclosed struct{ driver.Store }

func (unclosed) Close() error { return nil }

func (u unclosed) Unwrap() driver.Store { return u.Store }
