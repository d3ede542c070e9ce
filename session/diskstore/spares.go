package diskstore

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spareFiles is how many descriptors are kept in reserve.
const spareFiles = 32

// spares are open files that are closed when the process or the system has no
// more descriptors: connections of clients, which come and go, must not keep
// the store from opening its next log.
type spares struct {
	mu    sync.Mutex
	files []*os.File
}

// fill opens what is missing, as far as there are descriptors.
func (p *spares) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.files) < spareFiles {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		p.files = append(p.files, f)
	}
}

// give frees one descriptor, if there is one left.
func (p *spares) give() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.files) - 1
	if n < 0 {
		return false
	}
	_ = p.files[n].Close() // nothing was ever written to it
	p.files = p.files[:n]
	return true
}

func (p *spares) close() {
	for p.give() {
	}
}

// open runs f, which opens something, again as long as it has no descriptor
// and there are some in reserve.
func (p *spares) open(f func() error) error {
	for {
		err := f()
		if !noDescriptor(err) || !p.give() {
			return err
		}
	}
}

func noDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// spareFS is a file system that opens with the descriptors in reserve.
type spareFS struct {
	vfs.FS
	spares *spares
}

func (d spareFS) Unwrap() vfs.FS { return d.FS }

func (d spareFS) file(open func() (vfs.File, error)) (f vfs.File, err error) {
	err = d.spares.open(func() error {
		f, err = open()
		return err
	})
	return f, err
}

func (d spareFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.Create(name, category) })
}

func (d spareFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.Open(name, opts...) })
}

func (d spareFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.OpenReadWrite(name, category, opts...) })
}

func (d spareFS) OpenDir(name string) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

func (d spareFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.ReuseForWrite(oldname, newname, category) })
}

func (d spareFS) List(dir string) (names []string, err error) {
	err = d.spares.open(func() error {
		names, err = d.FS.List(dir)
		return err
	})
	return names, err
}
