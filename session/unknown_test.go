package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
)

// doubt is what happens to one write before its outcome becomes unknown.
type doubt struct {
	name    string
	written bool
}

func eachDoubt(t *testing.T, test func(t *testing.T, drv *faulty, st *session.Store, unknown func(after func()))) {
	for _, d := range []doubt{{"written", true}, {"not written", false}} {
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				drv := newFaulty()
				st := open(t, drv, nil)
				unknown := func(after func()) {
					drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
						drv.onApply(nil)
						if d.written {
							if _, err := next(ctx, id, b); err != nil {
								t.Errorf("write: %v", err)
							}
						}
						if after != nil {
							after()
						}
						return 0, fmt.Errorf("connection lost: %w", driver.ErrUnknown)
					})
				}
				test(t, drv, st, unknown)
			})
		})
	}
}

func TestUnknownUpdateIsMadeOnce(t *testing.T) {
	eachDoubt(t, func(t *testing.T, _ *faulty, st *session.Store, unknown func(func())) {
		create(t, st, "s", &session.CreateOptions{Vars: vars("n", "0")})
		unknown(nil)
		s := must[*session.Session](t)(st.Update(t.Context(), "s", increment))
		wantVars(t, s, `{"n":1}`)
		wantVars(t, must[*session.Session](t)(st.Peek(t.Context(), "s")), `{"n":1}`)
	})
}

func TestUnknownUpdateAmongOthers(t *testing.T) {
	eachDoubt(t, func(t *testing.T, _ *faulty, st *session.Store, unknown func(func())) {
		create(t, st, "s", &session.CreateOptions{Vars: vars("n", "0")})
		unknown(func() {
			for range 5 {
				must[*session.Session](t)(st.Update(t.Context(), "s", increment))
			}
		})
		must[*session.Session](t)(st.Update(t.Context(), "s", increment))
		wantVars(t, must[*session.Session](t)(st.Peek(t.Context(), "s")), `{"n":6}`)
	})
}

func increment(d *session.Draft) error {
	v, _ := d.Var("n")
	var n int
	if _, err := fmt.Sscan(string(v), &n); err != nil {
		return err
	}
	return d.SetVar("n", n+1)
}

func TestUnknownStaysUnknown(t *testing.T) {
	for name, after := range map[string]func(t *testing.T, st *session.Store){
		"the ring has turned": func(t *testing.T, st *session.Store) {
			for range 20 {
				must[*session.Session](t)(st.Update(t.Context(), "s", increment))
			}
		},
		"the session was deleted": func(t *testing.T, st *session.Store) {
			must[bool](t)(st.Delete(t.Context(), "s"))
		},
		"another session has the id": func(t *testing.T, st *session.Store) {
			must[bool](t)(st.Delete(t.Context(), "s"))
			create(t, st, "s", &session.CreateOptions{Vars: vars("n", "0")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachDoubt(t, func(t *testing.T, drv *faulty, st *session.Store, unknown func(func())) {
				create(t, st, "s", &session.CreateOptions{Vars: vars("n", "0")})
				unknown(func() { after(t, st) })
				if _, err := st.Update(t.Context(), "s", increment); !errors.Is(err, session.ErrUnknown) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestUnknownAndThenUnavailable(t *testing.T) {
	eachDoubt(t, func(t *testing.T, drv *faulty, st *session.Store, unknown func(func())) {
		create(t, st, "s", &session.CreateOptions{Vars: vars("n", "0")})
		down := func() {
			drv.onGet(func(getFunc, context.Context, string, driver.Read) (*driver.Record, error) {
				return nil, driver.ErrUnavailable
			})
		}
		unknown(down)
		_, err := st.Update(t.Context(), "s", increment)
		if !errors.Is(err, session.ErrUnknown) || !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("update: %v", err)
		}
		drv.onGet(nil)
		unknown(down)
		if _, err := st.Delete(t.Context(), "s"); !errors.Is(err, session.ErrUnknown) {
			t.Errorf("delete: %v", err)
		}
		drv.onGet(nil)
		unknown(down)
		if _, _, err := st.Create(t.Context(), "new", nil); !errors.Is(err, session.ErrUnknown) {
			t.Errorf("create: %v", err)
		}
	})
}

func TestUnknownCommitIsMadeOnce(t *testing.T) {
	eachDoubt(t, func(t *testing.T, _ *faulty, st *session.Store, unknown func(func())) {
		s := create(t, st, "s", nil)
		unknown(nil)
		after := must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Call: &session.NamedCall{ID: "call"}, Set: vars("a", "1")}))
		if _, rec, err := st.FindCall(t.Context(), "s", "call"); err != nil || rec == nil || after.StateVersion() != 2 {
			t.Errorf("state version %d", after.StateVersion())
		}
	})
}

func TestUnknownCreate(t *testing.T) {
	eachDoubt(t, func(t *testing.T, _ *faulty, st *session.Store, unknown func(func())) {
		unknown(nil)
		s := create(t, st, "s", &session.CreateOptions{Vars: vars("a", "1")})
		if got := must[*session.Session](t)(st.Peek(t.Context(), "s")); got.Incarnation() != s.Incarnation() {
			t.Error("the session returned is not the stored one")
		}
		if stats := must[session.Stats](t)(st.Stats(t.Context())); stats.Created != 1 {
			t.Errorf("%d created", stats.Created)
		}
	})
}

func TestUnknownDelete(t *testing.T) {
	eachDoubt(t, func(t *testing.T, _ *faulty, st *session.Store, unknown func(func())) {
		create(t, st, "s", nil)
		unknown(nil)
		if deleted := must[bool](t)(st.Delete(t.Context(), "s")); !deleted {
			t.Error("not deleted")
		}
		if must[bool](t)(st.Exists(t.Context(), "s")) {
			t.Error("it exists")
		}
		if stats := must[session.Stats](t)(st.Stats(t.Context())); stats.Deleted != 1 {
			t.Errorf("%d deleted", stats.Deleted)
		}
	})
}

func TestUnknownClaim(t *testing.T) {
	eachDoubt(t, func(t *testing.T, _ *faulty, st *session.Store, unknown func(func())) {
		create(t, st, "s", nil)
		unknown(nil)
		s := must[*session.Session](t)(st.Claim(t.Context(), "s", session.Owner{Node: "n", Process: "p"}))
		if o, ok := s.Owner(); !ok || o.Epoch != 1 || o.Process != "p" {
			t.Errorf("owner %+v, %v", o, ok)
		}
	})
}

// A write whose outcome is unknown may come late: then no answer to its
// repetition may say that nothing was written, and what the write names must
// be kept.
func TestUnknownWriteComesLate(t *testing.T) {
	for name, answer := range map[string]error{
		"conflict":    driver.ErrConflict,
		"unavailable": driver.ErrUnavailable,
		"canceled":    context.Canceled,
	} {
		t.Run(name, func(t *testing.T) {
			for name, write := range map[string]func(context.Context, *session.Store) error{
				"update": func(ctx context.Context, st *session.Store) error {
					_, err := st.Update(ctx, "s", increment)
					return err
				},
				"claim": func(ctx context.Context, st *session.Store) error {
					_, err := st.Claim(ctx, "s", session.Owner{Process: "p"})
					return err
				},
				"create": func(ctx context.Context, st *session.Store) error {
					_, _, err := st.Create(ctx, "new", nil)
					return err
				},
				"delete": func(ctx context.Context, st *session.Store) error {
					_, err := st.Delete(ctx, "s")
					return err
				},
				"program": func(ctx context.Context, st *session.Store) error {
					_, err := st.PutProgram(ctx, "s", "p", strings.NewReader("bytes"), nil)
					return err
				},
			} {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testLateWrite(t, answer, write) })
				})
			}
		})
	}
}

func testLateWrite(t *testing.T, answer error, write func(context.Context, *session.Store) error) {
	drv := newFaulty()
	st := open(t, drv, nil)
	create(t, st, "s", &session.CreateOptions{Vars: vars("n", "0")})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var late func()
	drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
		switch {
		case b.Head == nil && !b.Delete: // chunks
			return next(ctx, id, b)
		case late == nil:
			late = func() {
				if _, err := next(context.WithoutCancel(ctx), id, b); err != nil {
					t.Errorf("the late write: %v", err)
				}
			}
			return 0, fmt.Errorf("connection lost: %w", driver.ErrUnknown)
		}
		cancel()
		return 0, answer
	})
	if err := write(ctx, st); !errors.Is(err, session.ErrUnknown) || !errors.Is(err, answer) {
		t.Errorf("error %v, want %v and %v", err, session.ErrUnknown, answer)
	}
	late()
	if ps, err := st.Programs(t.Context(), "s"); err == nil && len(ps) > 0 {
		if got := readProgram(t, st, "s", "p"); got != "bytes" {
			t.Errorf("program %q", got)
		}
	}
}

// Once another writer came first, the write whose outcome was unknown cannot
// come any more, whatever happens to its repetition.
func TestUnknownIsSettledByAnotherWrite(t *testing.T) {
	drv := newFaulty()
	st := open(t, drv, nil)
	create(t, st, "s", &session.CreateOptions{Vars: vars("n", "0")})
	others := func(n int) {
		drv.onApply(nil)
		for range n {
			must[*session.Session](t)(st.Update(t.Context(), "s", increment))
		}
	}
	drv.onApply(func(applyFunc, context.Context, string, *driver.Batch) (driver.Revision, error) {
		others(1)
		drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
			others(20) // more than the ring remembers
			return next(ctx, id, b)
		})
		return 0, driver.ErrUnknown
	})
	wantVars(t, must[*session.Session](t)(st.Update(t.Context(), "s", increment)), `{"n":22}`)
}

func TestUnknownChunk(t *testing.T) {
	eachDoubt(t, func(t *testing.T, _ *faulty, st *session.Store, unknown func(func())) {
		create(t, st, "s", nil)
		unknown(nil)
		must[session.Program](t)(st.PutProgram(t.Context(), "s", "p", strings.NewReader("bytes"), nil))
		if got := readProgram(t, st, "s", "p"); got != "bytes" {
			t.Errorf("program %q", got)
		}
	})
}

// While a backend says that it is not available, reads and writes are repeated
// for a while.
func TestUnavailableIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := newFaulty()
		st := open(t, drv, nil)
		create(t, st, "s", nil)
		gets, applies := 0, 0
		drv.onGet(func(next getFunc, ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
			if gets++; gets < 3 {
				return nil, fmt.Errorf("no leader: %w", driver.ErrUnavailable)
			}
			return next(ctx, id, read)
		})
		drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
			if applies++; applies < 3 {
				return 0, fmt.Errorf("no leader: %w", driver.ErrUnavailable)
			}
			return next(ctx, id, b)
		})
		start := time.Now()
		s := must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("a", "1")}))
		wantVars(t, s, `{"a":1}`)
		if gets != 3 || applies != 3 || time.Since(start) == 0 {
			t.Errorf("%d gets, %d applies in %v", gets, applies, time.Since(start))
		}

		gets = -1000
		start = time.Now()
		if _, err := st.Get(t.Context(), "s"); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("a backend that stays away: %v", err)
		}
		if waited := time.Since(start); waited > 5*time.Second {
			t.Errorf("gave up after %v", waited)
		}
	})
}

// Conflicts are repeated until the context ends, with waits between them, and
// the error then says both.
func TestConflictsAreBoundedByTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := newFaulty()
		st := open(t, drv, nil)
		create(t, st, "s", nil)
		var levels []driver.ReadLevel
		drv.onGet(func(next getFunc, ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
			levels = append(levels, read.Level)
			return next(ctx, id, read)
		})
		conflicts := 0
		drv.onApply(func(applyFunc, context.Context, string, *driver.Batch) (driver.Revision, error) {
			conflicts++
			return 0, driver.ErrConflict
		})
		start := time.Now()
		_, err := st.Patch(t.Context(), "s", session.Patch{Set: vars("a", "1")})
		if !errors.Is(err, session.ErrConflict) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("ended after %v", waited)
		}
		if conflicts < 100 || conflicts > 1000 {
			t.Errorf("%d attempts in 5 s", conflicts)
		}
		if levels[0] != driver.ReadYourWrites || slices.ContainsFunc(levels[1:], func(l driver.ReadLevel) bool { return l != driver.Strong }) {
			t.Errorf("levels %v", levels[:4])
		}
	})
}
