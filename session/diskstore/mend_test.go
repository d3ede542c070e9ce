package diskstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

// fault fails operations of one kind on files of one kind, so many times, once
// it is armed.
type fault struct {
	kinds []errorfs.OpKind
	file  string // part of its name
	err   syscall.Errno
	left  atomic.Int64
	hits  atomic.Int64
}

func (f *fault) inject(op errorfs.Op) error {
	for _, kind := range f.kinds {
		if op.Kind == kind && strings.Contains(op.Path, f.file) && f.left.Add(-1) >= 0 {
			f.hits.Add(1)
			return &fs.PathError{Op: "inject", Path: op.Path, Err: f.err}
		}
	}
	return nil
}

// TestPassingFaultsHeal lets single operations of the disk fail under load.
// The store goes on by itself, and all that was acknowledged is there.
func TestPassingFaultsHeal(t *testing.T) {
	create := []errorfs.OpKind{errorfs.OpCreate, errorfs.OpReuseForWrite}
	sync := []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData}
	for _, c := range []struct {
		name  string
		fault *fault
		times int64
	}{
		{"no descriptor for a log", &fault{kinds: create, file: ".log", err: syscall.EMFILE}, 40},
		{"no descriptor for a table", &fault{kinds: create, file: ".sst", err: syscall.EMFILE}, 40},
		{"no descriptor for a table to read", &fault{kinds: []errorfs.OpKind{errorfs.OpOpen}, file: ".sst", err: syscall.EMFILE}, 40},
		{"no log", &fault{kinds: create, file: ".log", err: syscall.EIO}, 1},
		{"no table", &fault{kinds: create, file: ".sst", err: syscall.EIO}, 3},
		{"write of a log", &fault{kinds: []errorfs.OpKind{errorfs.OpFileWrite}, file: ".log", err: syscall.EIO}, 2},
		{"fsync of a log", &fault{kinds: sync, file: ".log", err: syscall.EIO}, 2},
		{"fsync of a table", &fault{kinds: sync, file: ".sst", err: syscall.EIO}, 2},
		{"write of a manifest", &fault{kinds: []errorfs.OpKind{errorfs.OpFileWrite}, file: "MANIFEST", err: syscall.EIO}, 2},
		{"fsync of a manifest", &fault{kinds: sync, file: "MANIFEST", err: syscall.EIO}, 2},
		{"write of SYNCED", &fault{kinds: []errorfs.OpKind{errorfs.OpFileWriteAt}, file: "SYNCED", err: syscall.EIO}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := newCrashable(t)
			s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{CacheBytes: -1}.WithFS(errorfs.Wrap(disk, errorfs.InjectorFunc(c.fault.inject))))
			if err != nil {
				t.Fatal(err)
			}
			writeThroughFaults(t, s, func() { c.fault.left.Store(c.times) })
			if c.fault.hits.Load() == 0 {
				t.Error("the fault was never met")
			}
			eventually(t, "readiness", func() error { return s.Ping(t.Context()) })
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// writeThroughFaults writes enough for several logs and tables, arms the fault
// early, and checks that what was acknowledged is there.
func writeThroughFaults(t *testing.T, s *diskstore.Store, arm func()) {
	t.Helper()
	const callers, writes = 4, 20
	data := []byte(strings.Repeat("x", 200_000))
	var done atomic.Int64
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			for n := range writes {
				if done.Add(1) == callers {
					arm()
				}
				eventually(t, "write", func() error {
					_, err := s.Apply(t.Context(), fmt.Sprint(c), &driver.Batch{
						Head: fmt.Append(nil, n), Body: []byte("b"), Put: []driver.Item{{Key: fmt.Sprint(n), Data: data}},
					})
					if err != nil && !errors.Is(err, driver.ErrUnknown) && !errors.Is(err, driver.ErrUnavailable) {
						t.Errorf("error %v", err)
					}
					return err
				})
			}
		})
	}
	group.Wait()
	for c := range callers {
		var r *driver.Record
		eventually(t, "read", func() (err error) {
			r, err = s.Get(t.Context(), fmt.Sprint(c), driver.Read{})
			return err
		})
		if string(r.Head) != fmt.Sprint(writes-1) {
			t.Errorf("session %d is at write %s of %d", c, r.Head, writes)
		}
		for n := range writes {
			eventually(t, "read of an item", func() error {
				_, err := s.Item(t.Context(), fmt.Sprint(c), fmt.Sprint(n))
				return err
			})
		}
	}
	eventually(t, "count", func() error {
		n, err := s.Count(t.Context())
		if err == nil && n != callers {
			t.Errorf("the store counts %d sessions of %d", n, callers)
		}
		return err
	})
}

// TestUnknownWritesStayWhole heals a store again and again: writes that were
// answered as unknown are there whole or not at all, and none of the others is
// lost.
func TestUnknownWritesStayWhole(t *testing.T) {
	disk := newCrashable(t)
	f := fault{kinds: []errorfs.OpKind{errorfs.OpFileSyncData, errorfs.OpFileWrite}, file: ".log", err: syscall.EIO}
	s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(errorfs.Wrap(disk, errorfs.InjectorFunc(f.inject))))
	if err != nil {
		t.Fatal(err)
	}
	book := newLedger()
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			// Who has a write in doubt stops; the others go on.
			err := writeAll(ctx, s, w, func(id string, n int) {
				book.note(id, n)
				if n%40 == 0 {
					f.left.Store(1)
				}
				if n > 400 {
					stop()
				}
			})
			if !errors.Is(err, driver.ErrUnknown) && !errors.Is(err, driver.ErrUnavailable) && !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
	group.Wait()
	stop()
	eventually(t, "readiness", func() error { return s.Ping(t.Context()) })
	lost, err := book.lost(t.Context(), s)
	if err != nil || len(lost) > 0 {
		t.Errorf("lost %v, %v", lost, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// stillDisk is a disk whose fsyncs do not return while it stands still, as
// after fsfreeze.
type stillDisk struct {
	vfs.FS
	mu sync.Mutex
	on chan struct{} // nil: the disk works
}

func (d *stillDisk) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on = make(chan struct{})
}

func (d *stillDisk) start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.on)
	d.on = nil
}

func (d *stillDisk) file(f vfs.File, err error) (vfs.File, error) { return stillFile{f, d}, err }

func (d *stillDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(d.FS.Create(name, category))
}

func (d *stillDisk) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.file(d.FS.OpenReadWrite(name, category, opts...))
}

type stillFile struct {
	vfs.File
	disk *stillDisk
}

func (f stillFile) wait() {
	f.disk.mu.Lock()
	on := f.disk.on
	f.disk.mu.Unlock()
	if on != nil {
		<-on
	}
}

func (f stillFile) Sync() error {
	f.wait()
	return f.File.Sync()
}

func (f stillFile) SyncData() error {
	f.wait()
	return f.File.SyncData()
}

// TestPingSeesADiskThatStandsStill stops the disk of a store that is idle, and
// of one with a write under way.
func TestPingSeesADiskThatStandsStill(t *testing.T) {
	for _, idle := range []bool{true, false} {
		t.Run(fmt.Sprintf("idle=%v", idle), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &stillDisk{FS: newCrashable(t)}
				s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
				if err != nil {
					t.Fatal(err)
				}
				ping := func() error {
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					defer cancel()
					return s.Ping(ctx)
				}
				store(t, s, "s", "1")
				time.Sleep(time.Minute)
				if err := ping(); err != nil {
					t.Errorf("an idle store on a sound disk: %v", err)
				}
				disk.stop()
				var group sync.WaitGroup
				if !idle {
					group.Go(func() { store(t, s, "s", "2") })
				}
				time.Sleep(8 * time.Second)
				for range 3 {
					if err := ping(); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "stands still") {
						t.Errorf("the disk stands still for 8 s: error %v", err)
					}
				}
				disk.start()
				synctest.Wait()
				if err := ping(); err != nil {
					t.Errorf("the disk works again: %v", err)
				}
				group.Wait()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
