package snakepit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// sessionOverhead is what a session may add to a call beside the store's own
// write.
const sessionOverhead = 10 * time.Microsecond

// BenchmarkSessionCall compares a call of 1 KB in a session with its limit, the
// same call without one plus the allowed overhead and, if the call changes the
// session, plus a write of the same variable on the same store. All of them
// take turns in one run; x-limit is the ratio of the medians.
func BenchmarkSessionCall(b *testing.B) {
	memory := func(testing.TB) driver.Store { return memstore.New() }
	disk := func(t testing.TB) driver.Store {
		st, err := diskstore.Open(t.Context(), t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	for _, c := range []struct {
		name, tool string
		store      func(testing.TB) driver.Store
		writes     bool
	}{
		{"unchanged", "echo_in_session", memory, false},
		{"committed/memory", "store_in_session", memory, true},
		{"committed/disk", "store_in_session", disk, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := openEngine(b, func(cfg *snakepit.Config) { cfg.Store = c.store(b); cfg.Pools[0].Workers = 1 })
			text := strings.Repeat("x", 1000)
			args := json.RawMessage(`{"value":"` + text + `"}`)
			ctx := b.Context()
			var plain, inSession, write []time.Duration
			time1 := func(into *[]time.Duration, f func() error) {
				began := time.Now()
				if err := f(); err != nil {
					b.Fatal(err)
				}
				*into = append(*into, time.Since(began))
			}
			i := 0
			for b.Loop() {
				i++
				time1(&plain, func() error { _, err := e.Execute(ctx, "echo", args); return err })
				time1(&inSession, func() error { _, err := e.ExecuteInSession(ctx, "s", c.tool, args); return err })
				if c.writes {
					// The value differs from the last one, as the tool's does.
					value, _ := json.Marshal(text + string(rune('a'+i%26)))
					time1(&write, func() error {
						_, err := e.Sessions().Patch(ctx, "other", session.Patch{Set: map[string]json.RawMessage{"value": value}})
						return ignoreMissing(ctx, e, err)
					})
				}
			}
			limit := median(plain) + sessionOverhead
			if c.writes {
				limit += median(write)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(us(median(plain)), "plain-us")
			b.ReportMetric(us(median(inSession)), "session-us")
			b.ReportMetric(float64(median(inSession))/float64(limit), "x-limit")
		})
	}
}

// ignoreMissing creates the session that the first write misses.
func ignoreMissing(ctx context.Context, e *snakepit.Engine, err error) error {
	if err != nil {
		_, _, err = e.Sessions().Create(ctx, "other", nil)
	}
	return err
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// BenchmarkManySessions is the throughput of two workers for 64 callers whose
// calls change one variable in one of 1,000 sessions. Its limit on memory is the
// same calls without sessions, on disk the same on memory. They take turns in
// one run.
func BenchmarkManySessions(b *testing.B) {
	const callers, sessions, turn = 64, 1000, 1280
	open := func(store driver.Store) *snakepit.Engine {
		return openEngine(b, func(cfg *snakepit.Config) { cfg.Store = store; cfg.Pools[0].Workers = 2 })
	}
	durable, err := diskstore.Open(b.Context(), b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	memory, disk := open(memstore.New()), open(durable)
	plain := func(n int) error {
		_, err := memory.Execute(b.Context(), "echo", json.RawMessage(fmt.Sprintf(`{"value":"%d"}`, n)))
		return err
	}
	in := func(e *snakepit.Engine) func(int) error {
		return func(n int) error {
			id := fmt.Sprintf("session-%03d", rand.IntN(sessions))
			_, err := e.ExecuteInSession(b.Context(), id, "store_in_session", json.RawMessage(fmt.Sprintf(`{"value":"%d"}`, n)))
			return err
		}
	}
	calls := 0
	timed := func(f func(int) error) time.Duration {
		began := time.Now()
		var running sync.WaitGroup
		for c := range callers {
			running.Go(func() {
				for i := range turn / callers {
					if err := f(calls + c*turn + i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		running.Wait()
		calls += callers * turn
		return time.Since(began)
	}
	timed(in(memory)) // creates most sessions
	timed(in(disk))
	var took [3]time.Duration
	turns := 0
	for b.Loop() {
		turns++
		for i, f := range []func(int) error{plain, in(memory), in(disk)} {
			took[i] += timed(f)
		}
	}
	perSecond := func(d time.Duration) float64 { return float64(turns*turn) / d.Seconds() }
	for i, unit := range [...]string{"plain-calls/s", "memory-calls/s", "disk-calls/s"} {
		b.ReportMetric(perSecond(took[i]), unit)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "x-limit")
	b.ReportMetric(took[2].Seconds()/took[1].Seconds(), "x-memory")
}
