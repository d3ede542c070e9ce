package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
)

// TestRandomFaults lets several callers change one session over a backend that
// loses answers, loses writes, delivers writes late and is away now and then,
// with contexts that end at any moment. Whatever it does: what was acknowledged
// is there once, what was reported as not written is not there, and every
// program that is there is whole.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFaults(t, seed) })
		})
	}
}

func testFaults(t *testing.T, seed uint64) {
	const callers, each = 6, 15
	drv := newFaulty()
	st := open(t, drv, nil)
	create(t, st, "s", &session.CreateOptions{Vars: vars("n", "0")})

	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	upTo := func(d time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(random.Int64N(int64(d)))
	}
	chance := func(percent time.Duration) bool { return upTo(100) < percent }
	var late sync.WaitGroup
	drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
		time.Sleep(upTo(3 * time.Millisecond))
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		switch fault := upTo(100); {
		case fault < 5: // the answer is lost
			if _, err := next(ctx, id, b); err != nil {
				return 0, err
			}
			return 0, driver.ErrUnknown
		case fault < 10: // the write is lost
			return 0, driver.ErrUnknown
		case fault < 35: // the write comes late, if its condition still holds
			sent := *b
			sent.Record = nil
			delay := upTo(30 * time.Millisecond)
			late.Go(func() {
				time.Sleep(delay)
				_, _ = next(context.WithoutCancel(ctx), id, &sent) // nobody hears the answer
			})
			return 0, driver.ErrUnknown
		case fault < 40:
			return 0, driver.ErrUnavailable
		}
		return next(ctx, id, b)
	})

	updates, programs := make(map[string]error), make(map[string]error)
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			for n := range each {
				name := fmt.Sprintf("%d-%d", c, n)
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond+upTo(60*time.Millisecond))
				results := updates
				var err error
				if chance(30) {
					results = programs
					_, err = st.PutProgram(ctx, "s", name, strings.NewReader(name), nil)
				} else {
					_, err = st.Update(ctx, "s", func(d *session.Draft) error {
						if _, ok := d.Var(name); ok {
							t.Errorf("update %s is made a second time", name)
						}
						return errors.Join(increment(d), d.SetVar(name, true))
					})
				}
				cancel()
				mu.Lock()
				results[name] = err
				mu.Unlock()
			}
		})
	}
	group.Wait()
	late.Wait()
	drv.onApply(nil)

	s := must[*session.Session](t)(st.Peek(t.Context(), "s"))
	check := func(what, name string, there bool, err error) {
		t.Helper()
		switch {
		case err == nil && !there:
			t.Errorf("%s %s was acknowledged and is not there", what, name)
		case err != nil && there && !errors.Is(err, session.ErrUnknown):
			t.Errorf("%s %s is there and was reported as not written: %v", what, name, err)
		}
	}
	made := 0
	for name, err := range updates {
		_, there := s.Var(name)
		check("update", name, there, err)
		if there {
			made++
		}
	}
	if n, _ := s.Var("n"); string(n) != fmt.Sprint(made) {
		t.Errorf("%d updates are there, and %s were counted", made, n)
	}
	for name, err := range programs {
		_, there := s.Program(name)
		check("program", name, there, err)
		if !there {
			continue
		}
		r := must[*session.ProgramReader](t)(st.OpenProgram(t.Context(), "s", name))
		if got, err := io.ReadAll(r); err != nil || string(got) != name {
			t.Errorf("program %s is %q: %v", name, got, err)
		}
	}
}
