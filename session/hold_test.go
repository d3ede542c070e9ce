package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
)

// counting returns a store and the number of its writes.
func counting(t *testing.T) (*session.Store, *faulty, *int) {
	drv, writes := newFaulty(), new(int)
	drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
		*writes++
		return next(ctx, id, b)
	})
	return open(t, drv, nil), drv, writes
}

func wantLeft(t *testing.T, st *session.Store, want time.Duration) {
	t.Helper()
	s, err := st.Peek(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(s.Deadline()); left != want {
		t.Errorf("%v left, want %v", left, want)
	}
}

// What counts as use moves the deadline, whether or not it changes anything,
// and at most once in a tenth of the time to live.
func TestEveryUseMovesTheDeadline(t *testing.T) {
	owner := session.Owner{Process: "p"}
	for name, use := range map[string]func(t *testing.T, st *session.Store, s *session.Session) error{
		"get": func(t *testing.T, st *session.Store, _ *session.Session) error {
			_, err := st.Get(t.Context(), "s")
			return err
		},
		"update": func(t *testing.T, st *session.Store, _ *session.Session) error {
			_, err := st.Update(t.Context(), "s", func(*session.Draft) error { return nil })
			return err
		},
		"patch": func(t *testing.T, st *session.Store, _ *session.Session) error {
			_, err := st.Patch(t.Context(), "s", session.Patch{Set: vars("a", "1")})
			return err
		},
		"put": func(t *testing.T, st *session.Store, s *session.Session) error {
			_, err := st.Put(t.Context(), "s", s.Revision(), session.Content{Vars: vars("a", "1")})
			return err
		},
		"claim": func(t *testing.T, st *session.Store, _ *session.Session) error {
			_, err := st.Claim(t.Context(), "s", owner)
			return err
		},
		"commit": func(t *testing.T, st *session.Store, s *session.Session) error {
			_, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence()})
			return err
		},
		"delete program": func(t *testing.T, st *session.Store, _ *session.Session) error {
			_, err := st.DeleteProgram(t.Context(), "s", "none")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, _, writes := counting(t)
				s := create(t, st, "s", &session.CreateOptions{TTL: new(100 * time.Second), Vars: vars("a", "1"), Owner: &owner})
				for range 3 {
					time.Sleep(90 * time.Second)
					for range 2 {
						if err := use(t, st, s); err != nil {
							t.Fatal(err)
						}
					}
					wantLeft(t, st, 110*time.Second)
				}
				if *writes != 4 {
					t.Errorf("%d writes, want one for the session and one for each use that was due", *writes)
				}
			})
		})
	}
}

// A hold moves the deadline behind its end, whatever is written meanwhile, and
// its end sets the deadline right.
func TestHold(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *session.Store, *session.Hold, *session.Session){
		"a commit": func(t *testing.T, st *session.Store, h *session.Hold, s *session.Session) {
			s = must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Hold: h, Set: vars("b", "2")}))
			if left := time.Until(s.Deadline()); left != 1100*time.Millisecond {
				t.Errorf("%v left after the commit", left)
			}
			if err := h.Release(t.Context(), s); err != nil {
				t.Error(err)
			}
		},
		"no commit": func(t *testing.T, _ *session.Store, h *session.Hold, s *session.Session) {
			if err := h.Release(t.Context(), s); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, _, writes := counting(t)
				create(t, st, "s", &session.CreateOptions{TTL: new(time.Second)})
				h := st.Hold("s", time.Now().Add(10*time.Second))
				s := must[*session.Session](t)(h.Extend(t.Context(), must[*session.Session](t)(st.Get(t.Context(), "s"))))
				time.Sleep(5 * time.Second)
				must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("a", "1")}))
				must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("a", "2"), TTL: new(1000 * time.Millisecond)}))
				time.Sleep(3 * time.Second)
				wantLeft(t, st, 2*time.Second)
				end(t, st, h, s)
				wantLeft(t, st, 1100*time.Millisecond)
				if *writes != 5 {
					t.Errorf("%d writes, want 1 to create, 1 to hold, 2 patches, 1 at the end", *writes)
				}
				time.Sleep(1101 * time.Millisecond)
				if _, err := st.Peek(t.Context(), "s"); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("after it was idle: %v", err)
				}
			})
		})
	}
}

// A shorter time to live that is set during a hold takes effect at its end.
func TestShorterTTLDuringAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _, _ := counting(t)
		create(t, st, "s", nil)
		h := st.Hold("s", time.Now().Add(time.Minute))
		s := must[*session.Session](t)(h.Extend(t.Context(), must[*session.Session](t)(st.Get(t.Context(), "s"))))
		must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{TTL: new(time.Second)}))
		time.Sleep(50 * time.Second)
		wantLeft(t, st, 10*time.Second)
		if err := h.Release(t.Context(), s); err != nil {
			t.Error(err)
		}
		wantLeft(t, st, 1100*time.Millisecond)
	})
}

// The usual call is shorter than the time to live: it costs no write.
func TestHoldThatFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _, writes := counting(t)
		create(t, st, "s", nil)
		for range 100 {
			h := st.Hold("s", time.Now().Add(5*time.Minute))
			s := must[*session.Session](t)(h.Extend(t.Context(), must[*session.Session](t)(st.Get(t.Context(), "s"))))
			time.Sleep(time.Second)
			if err := h.Release(t.Context(), s); err != nil {
				t.Error(err)
			}
		}
		if *writes != 1 {
			t.Errorf("%d writes for 100 holds", *writes-1)
		}
		// A long one ends as a use of the session.
		h := st.Hold("s", time.Now().Add(30*time.Minute))
		s := must[*session.Session](t)(h.Extend(t.Context(), must[*session.Session](t)(st.Get(t.Context(), "s"))))
		time.Sleep(20 * time.Minute)
		if err := h.Release(t.Context(), s); err != nil {
			t.Error(err)
		}
		wantLeft(t, st, 66*time.Minute)
	})
}

// Of holds that overlap, the last one sets the deadline right.
func TestHoldsOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _, _ := counting(t)
		s := create(t, st, "s", &session.CreateOptions{TTL: new(time.Second)})
		long, short := st.Hold("s", time.Now().Add(20*time.Second)), st.Hold("s", time.Now().Add(5*time.Second))
		for _, h := range []*session.Hold{short, long} {
			s = must[*session.Session](t)(h.Extend(t.Context(), s))
		}
		time.Sleep(4 * time.Second)
		if err := short.Release(t.Context(), s); err != nil {
			t.Error(err)
		}
		wantLeft(t, st, 16*time.Second)
		must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Hold: short, Set: vars("a", "1")}))
		wantLeft(t, st, 16*time.Second)
		if err := long.Release(t.Context(), s); err != nil {
			t.Error(err)
		}
		wantLeft(t, st, 1100*time.Millisecond)
	})
}

// A write that was on its way when the hold began does not shorten it.
func TestHoldBeginsDuringAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := newFaulty()
		st := open(t, drv, nil)
		create(t, st, "s", nil)
		var h *session.Hold
		drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
			drv.onApply(nil)
			h = st.Hold("s", time.Now().Add(10*time.Second))
			s, err := st.Get(ctx, "s")
			if err == nil {
				_, err = h.Extend(ctx, s) // an hour is left: enough
			}
			if err != nil {
				t.Error(err)
			}
			return next(ctx, id, b)
		})
		must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{TTL: new(time.Second)}))
		wantLeft(t, st, 10*time.Second)
	})
}

// No hold outlasts the absolute deadline, or moves it.
func TestHoldAndAbsoluteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _, _ := counting(t)
		end := time.Now().Add(5 * time.Second)
		s := create(t, st, "s", &session.CreateOptions{TTL: new(time.Second), AbsoluteDeadline: end})
		h := st.Hold("s", time.Now().Add(10*time.Second))
		s = must[*session.Session](t)(h.Extend(t.Context(), s))
		if !s.Deadline().Equal(end) {
			t.Errorf("deadline %v, want %v", s.Deadline(), end)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		if _, err := st.Peek(t.Context(), "s"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("after its absolute deadline: %v", err)
		}
		if err := h.Release(t.Context(), s); err != nil {
			t.Errorf("the hold of a session that is gone: %v", err)
		}
	})
}

// After a crash the session is kept as long as the hold was to last, and the
// first write ends that.
func TestHoldAndCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := newFaulty()
		st := open(t, drv, nil)
		s := create(t, st, "s", &session.CreateOptions{TTL: new(time.Second)})
		must[*session.Session](t)(st.Hold("s", time.Now().Add(10*time.Second)).Extend(t.Context(), s))
		next := open(t, unclosed{drv}, nil)
		time.Sleep(9 * time.Second)
		wantLeft(t, next, time.Second)
		must[*session.Session](t)(next.Patch(t.Context(), "s", session.Patch{Set: vars("a", "1")}))
		wantLeft(t, next, 1100*time.Millisecond)
	})
}

// A session that expires between its reading and its hold is not there.
func TestHoldComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := open(t, nil, nil)
		s := create(t, st, "s", &session.CreateOptions{TTL: new(time.Second)})
		time.Sleep(2 * time.Second)
		h := st.Hold("s", time.Now().Add(10*time.Second))
		if _, err := h.Extend(t.Context(), s); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("error %v", err)
		}
		if err := h.Release(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}
