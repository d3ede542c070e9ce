package diskstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/driver"
)

// What the store keeps free, so that it can start, delete and tidy up on a disk
// that somebody has filled.
const (
	// reserveName is a file of reserveBytes that is given up when the disk is
	// full, and made again when there is room.
	reserveName  = "RESERVE"
	reserveBytes = 16 << 20
	// lowWater is the free room below which nothing is stored that grows the
	// store: what Pebble needs to flush and compact what it already has.
	lowWater = 16 << 20
	// roomInterval is how long a look at the disk is good for.
	roomInterval = 100 * time.Millisecond
)

// space watches the room on the disk.
type space struct {
	disk vfs.FS
	dir  string
	log  *slog.Logger

	// looked is when the room was looked at, and left what may be written
	// until it is looked at again, because not more than that was free.
	looked atomic.Int64
	left   atomic.Int64

	mu   sync.Mutex // guards held and full, and the reserve
	held bool
	full bool
}

// isFull tells whether the disk has no room, or no more for this user.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// admit returns driver.ErrFull if n more bytes do not fit.
func (p *space) admit(n int) error {
	// Bytes are written to the log, to a table, and again by compactions.
	need := 3 * int64(n)
	if time.Now().UnixNano()-p.looked.Load() < int64(roomInterval) && p.left.Add(-need) > 0 {
		return nil
	}
	p.tend() // nothing more is stored before there is a reserve again
	free, ok := p.look()
	if !ok {
		return nil
	}
	if p.left.Add(-need) > 0 {
		return nil
	}
	return fmt.Errorf("%w: the disk of %q has %d bytes free, and this write needs %d and leaves %d in reserve; free some space; "+
		"reads and deletions go on meanwhile", driver.ErrFull, p.dir, free, need, p.wanted())
}

// look asks the file system how much is free. ok is false if it does not say.
func (p *space) look() (free int64, ok bool) {
	usage, err := p.disk.GetDiskUsage(p.dir)
	if err != nil {
		return 0, false
	}
	free = int64(usage.AvailBytes)
	p.left.Store(free - p.wanted())
	p.looked.Store(time.Now().UnixNano())
	return free, true
}

// wanted is how much must be free for a write.
func (p *space) wanted() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held {
		return lowWater
	}
	return lowWater + reserveBytes
}

// release gives the reserve up.
func (p *space) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked.Store(0)
	if !p.held {
		return
	}
	p.held = false
	p.log.Warn("session store: the disk is full; the reserve is given up, and only reads and deletions go on until there is room")
	if err := p.disk.Remove(p.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Error("session store: the reserve cannot be removed", "error", err)
	}
}

func (p *space) path() string { return p.disk.PathJoin(p.dir, reserveName) }

// start gives up the reserve of the last time, so that there is room to start.
// Whether it still is one cannot be told: a copy of a directory has none.
func (p *space) start() { _ = p.disk.Remove(p.path()) }

// tend makes the reserve when there is room for it, and says when writes begin
// and end to be refused.
func (p *space) tend() {
	free, ok := p.look()
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	full := free < lowWater
	if !p.held {
		full = free < lowWater+reserveBytes
		if !full {
			err := p.reserve()
			if p.held = err == nil; !p.held {
				p.log.Warn("session store: no reserve can be made", "error", err)
				full = true
			}
		}
	}
	if full != p.full {
		p.full = full
		if full {
			p.log.Warn("session store: the disk is full; writes are refused, reads and deletions go on", "free_bytes", free)
		} else {
			p.log.Info("session store: there is room again", "free_bytes", free)
		}
	}
}

// reserve makes the file, with zeros where the file system cannot just set room
// aside.
func (p *space) reserve() error {
	f, err := p.disk.Create(p.path(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = f.Preallocate(0, reserveBytes)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		err = writeZeros(f, reserveBytes)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = p.disk.Remove(p.path())
	}
	return err
}

func writeZeros(f vfs.File, n int) error {
	block := make([]byte, 1<<20)
	for ; n > 0; n -= len(block) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return nil
}
