package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// text is the JSON of a string of n bytes, quotes included.
func text(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }

func wantLimit(t *testing.T, err, sentinel error, use, limit int64) {
	t.Helper()
	var exceeded *session.LimitError
	if !errors.As(err, &exceeded) || !errors.Is(err, sentinel) || exceeded.Use != use || exceeded.Limit != limit ||
		!strings.Contains(err.Error(), fmt.Sprint(use)) || !strings.Contains(err.Error(), fmt.Sprint(limit)) {
		t.Errorf("error %v, want one that is %q and names %d and %d", err, sentinel, use, limit)
	}
}

func put(t *testing.T, st *session.Store, id, name string, size int) error {
	t.Helper()
	_, err := st.PutProgram(t.Context(), id, name, bytes.NewReader(make([]byte, size)), nil)
	return err
}

// There are limits if nothing is said.
func TestDefaultBounds(t *testing.T) {
	st := open(t, nil, nil)
	create(t, st, "s", nil)
	_, err := st.Patch(t.Context(), "s", session.Patch{Set: vars("a", text(session.DefaultMaxVars))})
	wantLimit(t, err, session.ErrTooLarge, session.DefaultMaxVars+1, session.DefaultMaxVars)
	stats := must[session.Stats](t)(st.Stats(t.Context()))
	if stats.MaxBytes != session.DefaultMaxBytesInMemory {
		t.Errorf("a store in memory may hold %d bytes", stats.MaxBytes)
	}
}

func TestProgramsOfASession(t *testing.T) {
	drv := memstore.New()
	st := open(t, drv, &session.Options{MaxPrograms: 2, MaxProgramBytes: 1000})
	create(t, st, "s", nil)
	for _, name := range []string{"a", "b", "a"} {
		if err := put(t, st, "s", name, 400); err != nil {
			t.Fatal(err)
		}
	}
	wantLimit(t, put(t, st, "s", "c", 1), session.ErrTooLarge, 3, 2)
	wantLimit(t, put(t, st, "s", "a", 601), session.ErrTooLarge, 1001, 1000)
	if items := must[[]driver.ItemInfo](t)(drv.Items(t.Context(), driver.ItemRef{}, 10)); len(items) != 2 {
		t.Errorf("%d items: what was refused is still there", len(items))
	}
	// What was there before a limit was lowered stays, and can shrink.
	lower := open(t, unclosed{drv}, &session.Options{MaxPrograms: 1, MaxProgramBytes: 100})
	must[*session.Session](t)(lower.Patch(t.Context(), "s", session.Patch{Set: vars("a", "1")}))
	if err := put(t, lower, "s", "a", 300); err != nil {
		t.Errorf("a smaller one: %v", err)
	}
	must[bool](t)(lower.DeleteProgram(t.Context(), "s", "b"))
}

// The bytes of all sessions are bounded; what is deleted, replaced or expired
// makes room; another store on the same driver counts the same.
func TestBytesOfAllSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := memstore.New()
		opts := &session.Options{MaxBytes: 1000}
		st := open(t, drv, opts)
		patch := func(id string, n int) error {
			_, err := st.Patch(t.Context(), id, session.Patch{Set: vars("k", text(n-1))})
			return err
		}
		create(t, st, "a", nil)
		create(t, st, "b", &session.CreateOptions{TTL: new(time.Hour), Vars: vars("k", text(299))})
		if err := patch("a", 600); err != nil {
			t.Fatal(err)
		}
		if err := put(t, st, "b", "p", 100); err != nil {
			t.Fatal(err)
		}
		st = open(t, unclosed{drv}, opts) // a restart
		for range 2 {
			wantLimit(t, patch("b", 301), session.ErrQuotaExceeded, 1001, 1000)
		}
		wantLimit(t, put(t, st, "a", "q", 1), session.ErrQuotaExceeded, 1001, 1000)
		_, _, err := st.Create(t.Context(), "c", &session.CreateOptions{Vars: vars("k", "1")})
		wantLimit(t, err, session.ErrQuotaExceeded, 1002, 1000)
		create(t, st, "c", nil) // an empty one takes no room
		if stats := must[session.Stats](t)(st.Stats(t.Context())); stats.Bytes != 1000 || stats.MaxBytes != 1000 {
			t.Errorf("stats %+v", stats)
		}
		// Everything that makes room makes exactly its own.
		if err := patch("a", 500); err != nil {
			t.Error(err)
		}
		must[bool](t)(st.DeleteProgram(t.Context(), "b", "p"))
		wantLimit(t, patch("c", 201), session.ErrQuotaExceeded, 1001, 1000)
		if err := patch("c", 200); err != nil {
			t.Error(err)
		}
		must[bool](t)(st.Delete(t.Context(), "a"))
		wantLimit(t, patch("c", 701), session.ErrQuotaExceeded, 1001, 1000)
		if err := patch("c", 700); err != nil {
			t.Error(err)
		}
		// B has expired, and makes room for who needs it.
		for range 20 {
			time.Sleep(10 * time.Minute)
			must[*session.Session](t)(st.Get(t.Context(), "c"))
		}
		if err := patch("c", 1000); err != nil {
			t.Error(err)
		}
	})
}

// The count stays right whatever becomes of writes.
func TestBytesUnderFaults(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			const limit = 4000
			drv := newFaulty()
			st := open(t, drv, &session.Options{MaxBytes: limit})
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(seed, 1))
			n := func(limit int) int {
				mu.Lock()
				defer mu.Unlock()
				return random.IntN(limit)
			}
			drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
				time.Sleep(time.Duration(n(3)) * time.Millisecond)
				switch n(20) {
				case 0: // the answer is lost
					if _, err := next(ctx, id, b); err != nil {
						return 0, err
					}
					return 0, driver.ErrUnknown
				case 1: // the write is lost
					return 0, driver.ErrUnknown
				case 2:
					return 0, driver.ErrUnavailable
				}
				return next(ctx, id, b)
			})
			var group sync.WaitGroup
			for range 6 {
				group.Go(func() {
					for range 40 {
						id := fmt.Sprint("s", n(4))
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						switch n(5) {
						case 0:
							_, _ = st.Delete(ctx, id)
						case 1:
							_, _ = st.PutProgram(ctx, id, fmt.Sprint("p", n(3)), bytes.NewReader(make([]byte, n(900))), nil)
						default:
							_, _, _ = st.Create(ctx, id, nil)
							_, _ = st.Patch(ctx, id, session.Patch{Set: vars(fmt.Sprint("k", n(3)), text(2+n(900)))})
						}
						cancel()
					}
				})
			}
			group.Wait()
			drv.onApply(nil)
			stored := must[session.Stats](t)(st.Stats(t.Context())).Bytes
			if stored > limit {
				t.Errorf("seed %d: %d bytes are stored", seed, stored)
			}
			// What is left can be used to the last byte, and not beyond.
			create(t, st, "rest", nil)
			room := int(limit - stored)
			if room < 3 {
				return
			}
			if _, err := st.Patch(t.Context(), "rest", session.Patch{Set: vars("k", text(room))}); !errors.Is(err, session.ErrQuotaExceeded) {
				t.Errorf("seed %d: one byte more than fits: %v", seed, err)
			}
			if _, err := st.Patch(t.Context(), "rest", session.Patch{Set: vars("k", text(room-1))}); err != nil {
				t.Errorf("seed %d: what fits: %v", seed, err)
			}
		})
	}
}
