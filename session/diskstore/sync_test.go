package diskstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

// gatedDisk is a disk whose syncs of the log wait while the gate is closed.
type gatedDisk struct {
	vfs.FS
	mu    sync.Mutex
	gate  chan struct{} // nil: open
	syncs atomic.Int64
}

func (d *gatedDisk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gate = make(chan struct{})
}

// step lets one sync through.
func (d *gatedDisk) step() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gate <- struct{}{}
}

func (d *gatedDisk) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.gate)
	d.gate = nil
}

func (d *gatedDisk) pass() {
	d.mu.Lock()
	gate := d.gate
	d.mu.Unlock()
	if gate != nil {
		<-gate
	}
	d.syncs.Add(1)
}

func (d *gatedDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	if strings.HasSuffix(name, ".log") {
		return gatedFile{f, d}, err
	}
	return f, err
}

type gatedFile struct {
	vfs.File
	disk *gatedDisk
}

func (f gatedFile) Sync() error {
	f.disk.pass()
	return f.File.Sync()
}

func (f gatedFile) SyncData() error {
	f.disk.pass()
	return f.File.SyncData()
}

// withGate runs test on a store over a gated disk. In the bubble, Wait returns
// when nobody can go on: whoever has not returned then waits for the gate.
func withGate(t *testing.T, test func(t *testing.T, s *diskstore.Store, disk *gatedDisk)) {
	synctest.Test(t, func(t *testing.T) {
		disk := &gatedDisk{FS: newCrashable(t)}
		s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
		if err != nil {
			t.Fatal(err)
		}
		test(t, s, disk)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func store(t *testing.T, s driver.Store, id, text string) driver.Revision {
	t.Helper()
	revision, err := s.Apply(t.Context(), id, &driver.Batch{
		Head: []byte(text), Body: []byte(text), Put: []driver.Item{{Key: "k", Data: []byte(text)}},
	})
	if err != nil {
		t.Error(err)
	}
	return revision
}

// TestNobodySeesWhatIsNotDurable closes the gate and lets one write and many
// readers come: nobody may return before the gate opens, whatever way he looks
// at the session, and those who look elsewhere must not have to wait.
func TestNobodySeesWhatIsNotDurable(t *testing.T) {
	withGate(t, func(t *testing.T, s *diskstore.Store, disk *gatedDisk) {
		before := store(t, s, "s", "old")
		store(t, s, "other", "other")
		disk.close()

		var mu sync.Mutex
		returned := map[string]error{}
		start := func(name string, call func() error) {
			go func() {
				err := call()
				mu.Lock()
				defer mu.Unlock()
				returned[name] = err
			}()
		}
		start("the write", func() error {
			store(t, s, "s", "new")
			return nil
		})
		synctest.Wait()
		start("a reader", func() error {
			r, err := s.Get(t.Context(), "s", driver.Read{})
			if err == nil && string(r.Head) != "new" {
				err = fmt.Errorf("head %q", r.Head)
			}
			return err
		})
		start("a reader of the item", func() error {
			data, err := s.Item(t.Context(), "s", "k")
			if err == nil && string(data) != "new" {
				err = fmt.Errorf("item %q", data)
			}
			return err
		})
		start("a listing", func() error {
			_, err := s.List(t.Context(), "", "", 10)
			return err
		})
		start("a listing of items", func() error {
			_, err := s.Items(t.Context(), driver.ItemRef{}, 10)
			return err
		})
		start("a creator", func() error {
			_, err := s.Apply(t.Context(), "s", &driver.Batch{If: driver.IfAbsent, Head: []byte("h"), Body: []byte("b")})
			if errors.Is(err, driver.ErrExists) {
				return nil
			}
			return fmt.Errorf("created: %w", err)
		})
		start("a writer with an old revision", func() error {
			_, err := s.Apply(t.Context(), "s", &driver.Batch{If: driver.IfRevision, Revision: before, Head: []byte("h")})
			if errors.Is(err, driver.ErrConflict) {
				return nil
			}
			return fmt.Errorf("written: %w", err)
		})
		start("another writer of the session", func() error {
			_, err := s.Apply(t.Context(), "s", &driver.Batch{Put: []driver.Item{{Key: "k2", Data: []byte("2")}}})
			return err
		})
		start("a writer elsewhere", func() error {
			store(t, s, "third", "third")
			return nil
		})
		synctest.Wait()
		mu.Lock()
		for name := range returned {
			t.Errorf("%s returned before the fsync", name)
		}
		mu.Unlock()

		if r, err := s.Get(t.Context(), "other", driver.Read{}); err != nil || string(r.Head) != "other" {
			t.Errorf("a reader elsewhere: %v, %v", r, err)
		}
		disk.open()
		synctest.Wait()
		for name, err := range returned {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(returned) != 9 {
			t.Errorf("only %d of 9 returned after the fsync", len(returned))
		}
	})
}

// TestEachFsyncCountsForItself lets two writes to a session wait for different
// fsyncs: when the first is done, a reader must still wait for the second.
func TestEachFsyncCountsForItself(t *testing.T) {
	withGate(t, func(t *testing.T, s *diskstore.Store, disk *gatedDisk) {
		disk.close()
		var first, second, read atomic.Bool
		go func() {
			store(t, s, "s", "1")
			first.Store(true)
		}()
		synctest.Wait()
		go func() {
			store(t, s, "s", "2")
			second.Store(true)
		}()
		synctest.Wait()
		disk.step()
		synctest.Wait()
		if !first.Load() || second.Load() {
			t.Fatalf("after the first fsync: first write done %v, second %v", first.Load(), second.Load())
		}
		go func() {
			if r, err := s.Get(t.Context(), "s", driver.Read{}); err != nil || string(r.Head) != "2" {
				t.Errorf("Get: %v, %v", r, err)
			}
			read.Store(true)
		}()
		synctest.Wait()
		if read.Load() {
			t.Error("a reader saw the second write before its fsync")
		}
		disk.open()
		synctest.Wait()
		if !second.Load() || !read.Load() {
			t.Errorf("after the second fsync: second write done %v, read done %v", second.Load(), read.Load())
		}
		if n := s.Pending(); n != 0 {
			t.Errorf("%d writes are kept as pending after all are done", n)
		}
	})
}

// TestGroupCommit lets many writers come while one fsync is under way: they
// must all share the next one or two.
func TestGroupCommit(t *testing.T) {
	withGate(t, func(t *testing.T, s *diskstore.Store, disk *gatedDisk) {
		disk.close()
		before := disk.syncs.Load()
		var group sync.WaitGroup
		for n := range 200 {
			group.Go(func() { store(t, s, fmt.Sprintf("s%d", n), "x") })
		}
		synctest.Wait()
		disk.open()
		group.Wait()
		if n := disk.syncs.Load() - before; n > 3 {
			t.Errorf("200 writers at once took %d fsyncs", n)
		}
	})
}

// TestContextEndsWhileSyncing checks that nobody has to wait for a slow disk
// longer than his context lasts, and what he is told.
func TestContextEndsWhileSyncing(t *testing.T) {
	withGate(t, func(t *testing.T, s *diskstore.Store, disk *gatedDisk) {
		disk.close()
		ctx, cancel := context.WithCancel(t.Context())
		var writeErr, readErr, listErr error
		var group sync.WaitGroup
		group.Go(func() {
			_, writeErr = s.Apply(ctx, "s", &driver.Batch{If: driver.IfAbsent, Head: []byte("h"), Body: []byte("b")})
		})
		synctest.Wait()
		group.Go(func() { _, readErr = s.Get(ctx, "s", driver.Read{}) })
		group.Go(func() { _, listErr = s.List(ctx, "", "", 1) })
		synctest.Wait()
		cancel()
		group.Wait()
		if !errors.Is(writeErr, driver.ErrUnknown) || !errors.Is(writeErr, context.Canceled) {
			t.Errorf("the write: error %v, want %v and %v", writeErr, driver.ErrUnknown, context.Canceled)
		}
		for _, err := range []error{readErr, listErr} {
			if !errors.Is(err, context.Canceled) || errors.Is(err, driver.ErrUnknown) {
				t.Errorf("a read: error %v, want %v", err, context.Canceled)
			}
		}
		disk.open()
		if r, err := s.Get(t.Context(), "s", driver.Read{}); err != nil || string(r.Head) != "h" {
			t.Errorf("the write of unknown outcome, which was made: %v, %v", r, err)
		}
	})
}

// TestRelaxedDoesNotWait checks the other mode: acknowledged and visible
// before the fsync.
func TestRelaxedDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &gatedDisk{FS: newCrashable(t)}
		s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{Relaxed: true}.WithFS(disk))
		if err != nil {
			t.Fatal(err)
		}
		if s.Describe().Durable {
			t.Error("a relaxed store calls itself durable")
		}
		disk.close()
		store(t, s, "s", "text")
		if r, err := s.Get(t.Context(), "s", driver.Read{}); err != nil || string(r.Head) != "text" {
			t.Errorf("Get: %v, %v", r, err)
		}
		if records, err := s.List(t.Context(), "", "", 10); err != nil || len(records) != 1 {
			t.Errorf("List: %d records, %v", len(records), err)
		}
		disk.open()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
