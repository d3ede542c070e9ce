package diskstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/drivertest"
)

func BenchmarkDriver(b *testing.B) { drivertest.Bench(b, harness(nil)) }

// BenchmarkUpdateAgainstPebble compares a read-modify-write with a condition
// with the synced put of the same bytes that Pebble does by itself. Both take
// turns, so that what else the machine does hits both.
func BenchmarkUpdateAgainstPebble(b *testing.B) {
	const headSize, bodySize, sessions = 200, 800, 4096
	id := func(n int) string { return fmt.Sprintf("session-%06d", n%sessions) }
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			raw := openPebble(b)
			s, err := diskstore.Open(b.Context(), b.TempDir(), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()

			head, body, value := make([]byte, headSize), make([]byte, bodySize), make([]byte, 8+headSize+bodySize)
			put := func(n int) error { return raw.Set([]byte(id(n)), value, pebble.Sync) }
			update := func(n int) error {
				r, err := s.Get(b.Context(), id(n), driver.Read{})
				if err != nil {
					return err
				}
				_, err = s.Apply(b.Context(), id(n), &driver.Batch{If: driver.IfRevision, Revision: r.Revision, Head: head, Body: body})
				return err
			}
			create := func(n int) error {
				_, err := s.Apply(b.Context(), id(n), &driver.Batch{If: driver.IfAbsent, Head: head, Body: body})
				return err
			}
			timed(b, 64, 0, sessions, create)
			timed(b, 64, 0, sessions, put)

			var limit, ours time.Duration
			done := 0
			for b.Loop() {
				const turn = 512
				limit += timed(b, callers, done, turn, put)
				ours += timed(b, callers, done, turn, update)
				done += turn
			}
			b.ReportMetric(float64(done)/ours.Seconds(), "updates/s")
			b.ReportMetric(float64(done)/limit.Seconds(), "puts/s")
			b.ReportMetric(ours.Seconds()/limit.Seconds(), "x-limit")
		})
	}
}

// timed runs op for n numbers from first on, each once, from several callers.
func timed(b *testing.B, callers, first, n int, op func(int) error) time.Duration {
	b.Helper()
	start := time.Now()
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			for i := first + c; i < first+n; i += callers {
				if err := op(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(start)
}

// openPebble opens Pebble as diskstore does, without diskstore.
func openPebble(b *testing.B) *pebble.DB {
	opts := &pebble.Options{
		FormatMajorVersion:          pebble.FormatWALSyncChunks,
		MemTableSize:                4 << 20,
		MemTableStopWritesThreshold: 3,
		CacheSize:                   32 << 20,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      silent{},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(b.TempDir(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Errorf(string, ...any)        {}
func (silent) Fatalf(text string, _ ...any) { panic(text) }
