package diskstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// smallRead is more than Pebble ever reads of a table that is no block: the foot.
const smallRead = 1 << 10

// tableFile is a table opened for reading. It checks the sum of a block before
// Pebble does, which at a wrong one tries each bit of the first 40 KiB for the
// one that flipped: a minute and more for the block of a large value, at each
// read of it, and no deadline ends that.
type tableFile struct {
	vfs.File
}

func (f tableFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(p, offset)
	if err != nil || len(p) <= smallRead {
		return n, err
	}
	end := len(p) - crc32.Size
	want, got := binary.LittleEndian.Uint32(p[end:]), chunkSum(p[:end]) // masked as in logs
	if got != want {
		return n, fmt.Errorf("%w: block of %d bytes at %d: checksum mismatch %x != %x", pebble.ErrCorruption, len(p), offset, want, got)
	}
	return n, nil
}

// Open implements vfs.FS.
func (z *freezer) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := z.FS.Open(name, opts...)
	if err != nil || !isTable(name) {
		return f, err
	}
	return tableFile{f}, nil
}
