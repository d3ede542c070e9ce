package diskstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

func openTemp(t *testing.T, opts *diskstore.Options) *diskstore.Store {
	t.Helper()
	s, err := diskstore.Open(t.Context(), t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, driver.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// TestSameRecord checks that readers share one record while it is cached.
func TestSameRecord(t *testing.T) {
	s := openTemp(t, nil)
	prepared := &driver.Record{ID: "s", Head: []byte("h"), Body: []byte("b")}
	revision, err := s.Apply(t.Context(), "s", &driver.Batch{Head: prepared.Head, Body: prepared.Body, Record: prepared})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "s", driver.Read{})
	if err != nil || r != prepared || r.Revision != revision {
		t.Errorf("Get = %p, %v; want the prepared record %p at %d", r, err, prepared, revision)
	}
}

// TestSameRecordForAllReaders lets many readers miss the cache at once.
func TestSameRecordForAllReaders(t *testing.T) {
	dir := made(t)
	s, err := diskstore.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	records := make([]*driver.Record, 16)
	var readers sync.WaitGroup
	for n := range records {
		readers.Go(func() {
			r, err := s.Get(t.Context(), "s", driver.Read{})
			if err != nil {
				t.Error(err)
			}
			records[n] = r
		})
	}
	readers.Wait()
	for _, r := range records {
		if r != records[0] {
			t.Error("readers got different records of the same state")
			break
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestCacheIsBounded reads and writes far more than the cache may hold, from
// several goroutines, and checks its size all the time.
func TestCacheIsBounded(t *testing.T) {
	const limit, slack = 100_000, 10_000
	s := openTemp(t, &diskstore.Options{CacheBytes: limit, Relaxed: true})
	var users sync.WaitGroup
	for u := range 4 {
		users.Go(func() {
			random := rand.New(rand.NewPCG(uint64(u), 0))
			for range 2000 {
				id := fmt.Sprint(random.IntN(1000))
				var err error
				switch random.IntN(4) {
				case 0:
					_, err = s.Apply(t.Context(), id, &driver.Batch{Head: make([]byte, 100), Body: make([]byte, random.IntN(1000))})
				case 1:
					_, err = s.Apply(t.Context(), id, &driver.Batch{Delete: true})
				default:
					_, err = s.Get(t.Context(), id, driver.Read{})
					if errors.Is(err, driver.ErrNotFound) {
						err = nil
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				// The others may each be about to trim.
				if bytes, _ := s.CachedBytes(); bytes > limit+slack {
					t.Errorf("the cache holds %d bytes, limit %d", bytes, limit)
					return
				}
			}
		})
	}
	users.Wait()
	bytes, records := s.CachedBytes()
	if bytes > limit || records == 0 || bytes < limit/2 {
		t.Errorf("in the end the cache holds %d bytes in %d records, limit %d", bytes, records, limit)
	}
	for n := range 1000 {
		if _, err := s.Apply(t.Context(), fmt.Sprint(n), &driver.Batch{Delete: true}); err != nil {
			t.Fatal(err)
		}
	}
	if bytes, records := s.CachedBytes(); bytes != 0 || records != 0 {
		t.Errorf("nothing is left, and the cache reckons %d bytes in %d records", bytes, records)
	}
}

// TestNothingCached checks the negative bound.
func TestNothingCached(t *testing.T) {
	s := openTemp(t, &diskstore.Options{CacheBytes: -1})
	store(t, s, "s", "text")
	if r, err := s.Get(t.Context(), "s", driver.Read{}); err != nil || string(r.Body) != "text" {
		t.Errorf("Get: %v, %v", r, err)
	}
	if bytes, records := s.CachedBytes(); bytes != 0 || records != 0 {
		t.Errorf("the cache holds %d bytes in %d records", bytes, records)
	}
}

// TestCacheKeepsWhatIsUsed reads one record again and again while many others
// pass through the cache.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	s := openTemp(t, &diskstore.Options{CacheBytes: 50_000, Relaxed: true})
	store(t, s, "used", "text")
	first, err := s.Get(t.Context(), "used", driver.Read{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3000 {
		store(t, s, fmt.Sprint(n), "text")
		r, err := s.Get(t.Context(), "used", driver.Read{})
		if err != nil {
			t.Fatal(err)
		}
		if r != first {
			t.Fatalf("a record in constant use was evicted after %d others", n)
		}
	}
}

// TestRevisionsAcrossReservations gives revisions over the middle and the end
// of a reserved range, with a power loss after each, and checks that none
// comes again.
func TestRevisionsAcrossReservations(t *testing.T) {
	disk := newCrashable(t)
	var last driver.Revision
	for round := range 6 {
		s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			revision := store(t, s, "s", "text")
			if revision <= last {
				t.Fatalf("round %d: revision %d after %d", round, revision, last)
			}
			last = revision
			half := driver.Revision(diskstore.Reservation / 2)
			s.SkipRevisions((last/half+1)*half - 2) // just before the next half
			for range 4 {
				last = max(last, store(t, s, "s", "text"))
			}
		}
		crashed := disk.CrashClone(vfs.CrashCloneCfg{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		disk = crashed
	}
}

// TestCountAfterPowerLoss checks that the count agrees with the listing
// whatever a crash takes away.
func TestCountAfterPowerLoss(t *testing.T) {
	disk := newCrashable(t)
	s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{Relaxed: true}.WithFS(disk))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var crashes []*vfs.MemFS
	for n := range 600 {
		b := &driver.Batch{Head: []byte("h"), Body: []byte("b")}
		if n%3 == 2 {
			b = &driver.Batch{Delete: true}
		}
		if _, err := s.Apply(t.Context(), fmt.Sprint(random.IntN(60)), b); err != nil {
			t.Fatal(err)
		}
		if n%50 == 49 {
			crashes = append(crashes, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: random}))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for n, disk := range append(crashes, disk) {
		s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
		if err != nil {
			t.Fatal(err)
		}
		records, err := s.List(t.Context(), "", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		if count, err := s.Count(t.Context()); err != nil || count != len(records) {
			t.Errorf("crash %d: Count = %d, %v; the listing has %d", n, count, err, len(records))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
