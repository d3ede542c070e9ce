package diskstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

// failAfter refuses all changes of the disk behind the first n.
func failAfter(n int) errorfs.Injector {
	var changes atomic.Int64
	return errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && changes.Add(1) > int64(n) {
			return &fs.PathError{Op: "write", Path: op.Path, Err: syscall.EIO}
		}
		return nil
	})
}

// TestDiskFails lets the disk fail at some moment under load. Writes under way
// are unknown, everything later is refused with the cause, nothing hangs or
// panics, and after reopening all that was acknowledged is there.
func TestDiskFails(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		disk := newCrashable(t)
		broken := errorfs.Wrap(disk, failAfter(60+int(seed%400)))
		s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(broken))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		book := newLedger()
		var unknown atomic.Int64
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				err := writeAll(t.Context(), s, w, book.note)
				switch {
				case errors.Is(err, driver.ErrUnknown) && errors.Is(err, syscall.EIO):
					unknown.Add(1)
				case errors.Is(err, driver.ErrUnavailable) && errors.Is(err, syscall.EIO):
				default:
					t.Errorf("seed %d: error %v, want %v or %v with its cause", seed, err, driver.ErrUnknown, driver.ErrUnavailable)
				}
			})
		}
		group.Wait()
		if unknown.Load() == 0 {
			t.Errorf("seed %d: the disk failed and no write noticed", seed)
		}
		refusesAll(t, s)
		if err := s.Close(); !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("Close of a broken store: error %v, want %v", err, driver.ErrUnavailable)
		}
		if err := s.Close(); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("second Close: error %v, want %v", err, driver.ErrClosed)
		}

		for _, disk := range []vfs.FS{disk, disk.CrashClone(vfs.CrashCloneCfg{})} {
			s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
			if err != nil {
				t.Fatalf("seed %d: reopen: %v", seed, err)
			}
			lost, err := book.lost(t.Context(), s)
			if err != nil || len(lost) > 0 {
				t.Errorf("seed %d: lost %v, %v", seed, lost, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func refusesAll(t *testing.T, s *diskstore.Store) {
	t.Helper()
	ctx := t.Context()
	_, get := s.Get(ctx, "s", driver.Read{})
	_, apply := s.Apply(ctx, "s", &driver.Batch{Head: []byte("h"), Body: []byte("b")})
	_, item := s.Item(ctx, "s", "k")
	_, items := s.Items(ctx, driver.ItemRef{}, 1)
	_, list := s.List(ctx, "", "", 1)
	_, count := s.Count(ctx)
	for n, err := range []error{get, apply, item, items, list, count, s.Ping(ctx)} {
		if !errors.Is(err, driver.ErrUnavailable) || !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d of a broken store: error %v, want %v with its cause", n, err, driver.ErrUnavailable)
		}
	}
}

// TestDiskFillsUp is the same while the database flushes and compacts large
// batches, so that the failure may hit any kind of file.
func TestDiskFillsUp(t *testing.T) {
	for _, room := range []int{150, 700, 1500} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			disk := newCrashable(t)
			s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(errorfs.Wrap(disk, failAfter(room))))
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, 1<<20)
			kept := 0
			for n := 0; ; n++ {
				_, err := s.Apply(t.Context(), "s", &driver.Batch{Put: []driver.Item{{Key: fmt.Sprint(n), Data: data}}})
				if err == nil {
					kept++
					continue
				}
				if !errors.Is(err, driver.ErrUnknown) && !errors.Is(err, driver.ErrUnavailable) {
					t.Errorf("error %v", err)
				}
				break
			}
			refusesAll(t, s)
			_ = s.Close() // reports once more that the store is broken
			if s, err = diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk.CrashClone(vfs.CrashCloneCfg{}))); err != nil {
				t.Fatal(err)
			}
			for n := range kept {
				if _, err := s.Item(t.Context(), "s", fmt.Sprint(n)); err != nil {
					t.Errorf("item %d of %d: %v", n, kept, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
