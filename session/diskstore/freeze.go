package diskstore

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

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
	failed   atomic.Pointer[error]
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
		z.log.Error("session store is broken: no more writes", "error", err)
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
			return made, nil
		}
		z.freeze(err)
	}
	return &freezerFile{File: vfs.NewMemFile(nil), z: z}, nil
}

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
	promised bool         // is one of the files in SYNCED
	written  atomic.Int64 // bytes of it
}

func (f *freezerFile) Write(p []byte) (int, error) {
	return len(p), f.z.change(func() error {
		n, err := f.File.Write(p)
		if err == nil && n < len(p) {
			err = fmt.Errorf("short write: %d of %d bytes", n, len(p))
		}
		f.written.Add(int64(n))
		return err
	})
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
	return f.z.change(func() error {
		written := f.written.Load()
		if err := sync(); err != nil {
			return err
		}
		if !f.promised || f.z.promises == nil {
			return nil
		}
		return f.z.promises.keep(f.appended, written)
	})
}

func (f *freezerFile) SyncTo(length int64) (fullSync bool, err error) {
	err = f.z.change(func() error {
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
