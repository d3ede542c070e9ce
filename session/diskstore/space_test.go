package diskstore_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

// smallDisk is a disk with so many bytes, some of which others use.
type smallDisk struct {
	vfs.FS
	mu       sync.Mutex
	capacity int64
	others   int64
	files    map[string]int64 // what is taken by each
}

func newSmallDisk(t *testing.T, capacity int64) *smallDisk {
	return &smallDisk{FS: newCrashable(t), capacity: capacity, files: make(map[string]int64)}
}

func (d *smallDisk) free() int64 {
	free := d.capacity - d.others
	for _, n := range d.files {
		free -= n
	}
	return free
}

// fill lets others take all but so many bytes.
func (d *smallDisk) fill(left int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.others += d.free() - left
	return nil
}

// empty lets others give all back.
func (d *smallDisk) empty() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.others = 0
	return nil
}

// grow lets a file take up to size.
func (d *smallDisk) grow(name string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	more := size - d.files[name]
	if more <= 0 {
		return nil
	}
	if more > d.free() {
		return syscall.ENOSPC
	}
	d.files[name] = size
	return nil
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return vfs.DiskUsage{AvailBytes: uint64(max(0, d.free())), TotalBytes: uint64(d.capacity)}, nil
}

func (d *smallDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[name] = 0
	return &smallFile{File: f, disk: d, name: name}, err
}

func (d *smallDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
	return d.FS.Remove(name)
}

func (d *smallDisk) moved(from, to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[to] = d.files[from]
	delete(d.files, from)
}

func (d *smallDisk) Rename(from, to string) error {
	d.moved(from, to)
	return d.FS.Rename(from, to)
}

func (d *smallDisk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	d.moved(from, to)
	f, err := d.FS.ReuseForWrite(from, to, category)
	return &smallFile{File: f, disk: d, name: to}, err
}

type smallFile struct {
	vfs.File
	disk *smallDisk
	name string
	size int64
}

func (f *smallFile) Write(p []byte) (int, error) {
	if err := f.disk.grow(f.name, f.size+int64(len(p))); err != nil {
		return 0, err
	}
	f.size += int64(len(p))
	return f.File.Write(p)
}

func (f *smallFile) Preallocate(offset, n int64) error { return f.disk.grow(f.name, offset+n) }

// volume is a file system that can be filled.
type volume struct {
	open  func() (*diskstore.Store, error)
	fill  func(left int64) error
	empty func() error
}

// onVolumes runs test on a disk of 64 MiB, once simulated and once mounted.
func onVolumes(t *testing.T, test func(t *testing.T, v volume)) {
	t.Run("simulated", func(t *testing.T) {
		disk := newSmallDisk(t, 64<<20)
		test(t, volume{
			open: func() (*diskstore.Store, error) {
				return diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
			},
			fill:  disk.fill,
			empty: disk.empty,
		})
	})
	t.Run("mounted", func(t *testing.T) {
		dir, fill, empty := mountSmall(t, "64m")
		test(t, volume{
			open: func() (*diskstore.Store, error) {
				return diskstore.Open(t.Context(), filepath.Join(dir, "store"), nil)
			},
			fill:  fill,
			empty: empty,
		})
	})
}

// eventually waits for something that the store does by itself.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %v after 30 s", what, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			return
		}
	}
}

func put(t *testing.T, s *diskstore.Store, id string, size int) error {
	_, err := s.Apply(t.Context(), id, &driver.Batch{Head: []byte("h"), Body: []byte(strings.Repeat("b", size))})
	return err
}

func remove(t *testing.T, s *diskstore.Store, id string) error {
	_, err := s.Apply(t.Context(), id, &driver.Batch{Delete: true})
	return err
}

// TestDiskIsFull fills the disk of a store that holds little: what grows is
// refused by name, everything else goes on, also after a restart, and writes go
// on when there is room again.
func TestDiskIsFull(t *testing.T) {
	onVolumes(t, func(t *testing.T, v volume) {
		s, err := v.open()
		if err != nil {
			t.Fatal(err)
		}
		const sessions = 100
		for n := range sessions {
			if err := put(t, s, fmt.Sprint(n), 800); err != nil {
				t.Fatalf("write %d of 800 bytes to a store on a disk of 64 MiB: %v", n, err)
			}
		}
		readable := func(n int) {
			t.Helper()
			if r, err := s.Get(t.Context(), fmt.Sprint(n), driver.Read{}); err != nil || len(r.Body) != 800 {
				t.Errorf("read on a full disk: %v", err)
			}
		}
		for round, left := range []int64{4 << 20, 0} {
			if err := v.fill(left); err != nil {
				t.Fatal(err)
			}
			eventually(t, "refusal", func() error {
				if err := put(t, s, "more", 100_000); errors.Is(err, driver.ErrFull) {
					return nil
				} else {
					return fmt.Errorf("a write on a full disk: error %w, want %w", err, driver.ErrFull)
				}
			})
			readable(50)
			for n := 20 * round; n < 20*round+20; n++ {
				eventually(t, "deletion", func() error { return remove(t, s, fmt.Sprint(n)) })
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("a store that reads and deletes is not ready: %v", err)
			}

			if err := s.Close(); err != nil {
				t.Errorf("close on a full disk: %v", err)
			}
			if s, err = v.open(); err != nil {
				t.Fatalf("open on a full disk: %v", err)
			}
			readable(51)
			if _, err := s.Get(t.Context(), fmt.Sprint(20*round), driver.Read{}); !errors.Is(err, driver.ErrNotFound) {
				t.Errorf("deleted on a full disk, and after a restart: %v", err)
			}
			if err := put(t, s, "more", 100_000); !errors.Is(err, driver.ErrFull) {
				t.Errorf("a write on a full disk after a restart: error %v, want %v", err, driver.ErrFull)
			}
			eventually(t, "smaller", func() error { return put(t, s, fmt.Sprint(60+round), 10) })

			if err := v.empty(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "write after there is room again", func() error { return put(t, s, fmt.Sprint("more", round), 100_000) })
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDiskFillsWhileWriting lets others take what is free at any moment, so that
// Pebble itself finds no room: nothing acknowledged is lost, and the store goes
// on by itself.
func TestDiskFillsWhileWriting(t *testing.T) {
	onVolumes(t, func(t *testing.T, v volume) {
		s, err := v.open()
		if err != nil {
			t.Fatal(err)
		}
		kept := make(map[string]bool)
		item := strings.Repeat("x", 200_000)
		for round := range 3 {
			refused := 0
			for n := 0; refused < 5; n++ {
				if n == 3+round {
					if err := v.fill(0); err != nil {
						t.Fatal(err)
					}
				}
				key := fmt.Sprintf("%d-%d", round, n)
				_, err := s.Apply(t.Context(), "s", &driver.Batch{Put: []driver.Item{{Key: key, Data: []byte(item)}}})
				switch {
				case err == nil:
					kept[key] = true
				case errors.Is(err, driver.ErrFull), errors.Is(err, driver.ErrUnknown), errors.Is(err, driver.ErrUnavailable):
					refused++
				default:
					t.Fatalf("error %v", err)
				}
			}
			for key := range kept {
				eventually(t, "read of an acknowledged item", func() error {
					_, err := s.Item(t.Context(), "s", key)
					return err
				})
			}
			// Deleting makes the room that is needed, whoever filled the rest.
			for key := range kept {
				eventually(t, "deletion", func() error {
					_, err := s.Apply(t.Context(), "s", &driver.Batch{Drop: []string{key}})
					return err
				})
			}
			kept = make(map[string]bool)
			if err := v.empty(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "write", func() error { return put(t, s, "after", 1000) })
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
