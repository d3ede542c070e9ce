package session_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
)

// TestASweepLosesEveryRace: what has changed between the sweeper's look and its
// removal stays, until the next sweep has looked again.
func TestASweepLosesEveryRace(t *testing.T) {
	for name, tc := range map[string]struct {
		ttl     time.Duration
		gone    bool // the session is deleted before the sweep
		removes func(*driver.Batch) bool
		meddle  func(t *testing.T, st *session.Store)
	}{
		"chunks of a session that is written": {
			ttl:     24 * time.Hour,
			removes: func(b *driver.Batch) bool { return len(b.Drop) > 0 },
			meddle: func(t *testing.T, st *session.Store) {
				must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("a", "1")}))
			},
		},
		"chunks of a session that is created": {
			ttl: 24 * time.Hour, gone: true,
			removes: func(b *driver.Batch) bool { return len(b.Drop) > 0 },
			meddle:  func(t *testing.T, st *session.Store) { create(t, st, "s", nil) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				drv := newFaulty()
				st := open(t, drv, &session.Options{SweepInterval: -1})
				s := create(t, st, "s", &session.CreateOptions{TTL: &tc.ttl})
				stage(t, st, s, "p", strings.Repeat("x", 1<<20))
				if tc.gone {
					if _, err := st.Delete(t.Context(), "s"); err != nil {
						t.Fatal(err)
					}
				}
				before := len(items(t, drv))
				if before == 0 {
					t.Fatal("nothing is staged")
				}
				time.Sleep(2 * time.Hour)
				meddled := false
				drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
					if !meddled && tc.removes(b) {
						meddled = true
						tc.meddle(t, st)
					}
					return next(ctx, id, b)
				})
				result := must[session.SweepResult](t)(st.Sweep(t.Context()))
				if after := len(items(t, drv)); !meddled || result.Items != 0 || after != before {
					t.Errorf("meddled: %t; the sweep removed %d items; %d of %d are left", meddled, result.Items, after, before)
				}
				result = must[session.SweepResult](t)(st.Sweep(t.Context()))
				if after := len(items(t, drv)); result.Items != before || after != 0 {
					t.Errorf("the next sweep removed %d of %d items; %d are left", result.Items, before, after)
				}
			})
		})
	}
}
