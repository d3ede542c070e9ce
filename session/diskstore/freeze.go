package diskstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// freezer is the file system below Pebble. It stands there because Pebble
// answers a failed write of its log or manifest by ending the process, which a
// library must not do, and because what a disk holds after a failed fsync is
// anyone's guess.
//
// At the first failed write, sync or creation the freezer stops everything
// that would change the directory, which so stays as a power loss at that
// moment would have left it; Pebble is told that all went well, and the Store,
// which asks cause after every fsync and before every call, tells its callers
// the truth. Removing a file may fail without harm and freezes nothing.
//
// It also keeps the promises of the SYNCED file: see promises.go.
type freezer struct {
	vfs.FS
	log      *slog.Logger
	promises *promises // nil keeps none
	onFreeze func()
	onFull   func() // called when a table finds no room
	failed   atomic.Pointer[error]
	// serving is set once the database is open: while it opens, Pebble would
	// wait for room for its tables for ever.
	serving atomic.Bool

	mu     sync.Mutex
	unsure map[string]struct{} // tables made since the manifest was last written

	// lastSync is when an fsync has come back last, and logSync when that of the
	// log which is under way has begun, 0 if none is; both in nanoseconds.
	lastSync, logSync atomic.Int64
}

func (z *freezer) noteSync() { z.lastSync.Store(time.Now().UnixNano()) }

// synced is how long ago an fsync has come back.
func (z *freezer) synced() time.Duration { return since(z.lastSync.Load()) }

// syncing is how long the fsync of the log has been under way.
func (z *freezer) syncing() time.Duration {
	if began := z.logSync.Load(); began != 0 {
		return since(began)
	}
	return 0
}

func since(nanoseconds int64) time.Duration { return time.Since(time.Unix(0, nanoseconds)) }

func newFreezer(disk vfs.FS, log *slog.Logger) *freezer {
	return &freezer{FS: disk, log: log, unsure: make(map[string]struct{})}
}

// cause returns what froze the directory, or nil.
func (z *freezer) cause() error {
	if err := z.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (z *freezer) frozen() bool { return z.failed.Load() != nil }

func (z *freezer) freeze(err error) {
	if z.failed.CompareAndSwap(nil, &err) {
		z.log.Error("session store: a write to the disk failed; the database is opened again", "error", err)
		if z.onFreeze != nil {
			z.onFreeze()
		}
	}
}

// change runs f, which changes the directory, unless it is frozen.
func (z *freezer) change(f func() error) error {
	if !z.frozen() {
		if err := f(); err != nil {
			z.freeze(err)
		}
	}
	return nil
}

// file runs f, which makes the named file for writing. In a frozen directory
// there is a stand-in that keeps nothing.
func (z *freezer) file(name string, f func() (vfs.File, error)) (vfs.File, error) {
	if !z.frozen() {
		file, err := f()
		if err == nil {
			made := &freezerFile{File: file, z: z}
			made.appended, made.promised = appendedOf(name)
			made.table = isTable(name)
			if made.table {
				z.mu.Lock()
				z.unsure[name] = struct{}{}
				z.mu.Unlock()
			}
			return made, nil
		}
		if isTable(name) && z.scarce(err) {
			return nil, err
		}
		z.freeze(err)
	}
	return &freezerFile{File: vfs.NewMemFile(nil), z: z}, nil
}

// scarcePause keeps background work that finds no room from trying all the time.
const scarcePause = 200 * time.Millisecond

// scarce tells whether a failure to write a table only says that there is no
// room or no descriptor. Pebble gives such a table up and makes it again later;
// what is in it is still in the log or in other tables.
func (z *freezer) scarce(err error) bool {
	switch {
	case !z.serving.Load():
		return false
	case isFull(err):
		if z.onFull != nil {
			z.onFull()
		}
	case !noDescriptor(err):
		return false
	}
	time.Sleep(scarcePause)
	return true
}

// clean removes, after the database is closed, the tables that its manifest
// cannot name: what a failed attempt has left would fill the disk further with
// each next one.
func (z *freezer) clean() {
	if !z.frozen() {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for name := range z.unsure {
		_ = z.FS.Remove(name) // Pebble does it later too
	}
}

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// forget ends what is promised of a file, before it is removed.
func (z *freezer) forget(name string) error {
	if a, ok := appendedOf(name); ok && z.promises != nil {
		return z.promises.drop(a)
	}
	return nil
}

func (z *freezer) Unwrap() vfs.FS { return z.FS }

func (z *freezer) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return z.file(name, func() (vfs.File, error) { return z.FS.Create(name, category) })
}

func (z *freezer) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return z.file(name, func() (vfs.File, error) { return z.FS.OpenReadWrite(name, category, opts...) })
}

func (z *freezer) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return z.file(newname, func() (vfs.File, error) {
		if err := z.forget(oldname); err != nil {
			return nil, err
		}
		return z.FS.ReuseForWrite(oldname, newname, category)
	})
}

// OpenDir opens a directory in order to sync it.
func (z *freezer) OpenDir(name string) (vfs.File, error) {
	file, err := z.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &freezerFile{File: file, z: z}, nil
}

func (z *freezer) Link(oldname, newname string) error {
	return z.change(func() error { return z.FS.Link(oldname, newname) })
}

func (z *freezer) Rename(oldname, newname string) error {
	return z.change(func() error { return z.FS.Rename(oldname, newname) })
}

func (z *freezer) MkdirAll(dir string, perm os.FileMode) error {
	return z.change(func() error { return z.FS.MkdirAll(dir, perm) })
}

func (z *freezer) Remove(name string) error {
	if z.frozen() {
		return nil
	}
	if err := z.forget(name); err != nil {
		z.freeze(err)
	}
	if z.frozen() {
		return nil
	}
	return z.FS.Remove(name)
}

func (z *freezer) RemoveAll(name string) error {
	if z.frozen() {
		return nil
	}
	return z.FS.RemoveAll(name)
}

// freezerFile is a file or directory opened for writing or syncing.
type freezerFile struct {
	vfs.File
	z        *freezer
	appended appended
	promised bool // is one of the files in SYNCED
	table    bool
	written  atomic.Int64 // bytes of it
}

func (f *freezerFile) Write(p []byte) (int, error) {
	err := f.change(func() error {
		n, err := f.File.Write(p)
		if err == nil && n < len(p) {
			err = fmt.Errorf("short write: %d of %d bytes", n, len(p))
		}
		f.written.Add(int64(n))
		if f.promised && f.appended.kind == aManifest {
			f.z.mu.Lock()
			clear(f.z.unsure)
			f.z.mu.Unlock()
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// change is that of the freezer, except that a table may find no room.
func (f *freezerFile) change(change func() error) error {
	if !f.table {
		return f.z.change(change)
	}
	var scarce error
	err := f.z.change(func() error {
		err := change()
		if err != nil && f.z.scarce(err) {
			scarce = err
			return nil
		}
		return err
	})
	return errors.Join(err, scarce)
}

func (f *freezerFile) WriteAt(p []byte, offset int64) (int, error) {
	return len(p), f.z.change(func() error {
		_, err := f.File.WriteAt(p, offset)
		return err
	})
}

func (f *freezerFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *freezerFile) SyncData() error { return f.sync(f.File.SyncData) }

// sync runs a sync of the file and enters in SYNCED what is on disk then.
func (f *freezerFile) sync(sync func() error) error {
	return f.change(func() error {
		written := f.written.Load()
		if f.promised && f.appended.kind == aLog {
			f.z.logSync.Store(time.Now().UnixNano())
			defer f.z.logSync.Store(0)
		}
		if err := sync(); err != nil {
			return err
		}
		f.z.noteSync()
		if !f.promised || f.z.promises == nil {
			return nil
		}
		return f.z.promises.keep(f.appended, written)
	})
}

func (f *freezerFile) SyncTo(length int64) (fullSync bool, err error) {
	err = f.change(func() error {
		fullSync, err = f.File.SyncTo(length)
		return err
	})
	return fullSync, err
}

// Close frees the descriptor also in a frozen directory.
func (f *freezerFile) Close() error {
	if err := f.File.Close(); err != nil {
		f.z.freeze(err)
	}
	return nil
}
