package diskstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// The files that Pebble appends to, logs and manifests, are sequences of chunks
// in blocks of 32 KiB; package record of Pebble says how. Pebble ends a log at
// the first chunk that is not sound, whatever follows in the same block, and so
// takes a flipped bit for a write that a crash has torn. The scan looks further:
// every chunk of a log says how much of it was on disk when the chunk was
// written, so a sound chunk behind an unsound one tells damage from a torn end.

const (
	logBlock = 32 << 10

	// A header has the checksum, the length and the kind; in a log also its
	// number; and in a log that was not the first of its database also how much
	// of it was synced.
	plainHeader    = 7
	numberedHeader = 11
	syncedHeader   = 19

	// The kinds of chunks count up from the first of each format.
	plainChunks    = 1
	numberedChunks = 5
	syncedChunks   = 9
	kinds          = 4 // whole record, first part, middle part, last part
)

// scan is what a file of chunks says of itself.
type scan struct {
	// end is how far the file is sound from its beginning on.
	end int64
	// closed says that the mark of a closed log is at the end.
	closed bool
	// promised is what the chunks behind end say was on disk.
	promised int64
}

// damaged tells whether the file lacks some of what was on disk: the bytes
// before synced, or what its own chunks say.
func (s scan) damaged(synced int64) bool { return !s.closed && max(synced, s.promised) > s.end }

// chunk is a sound chunk of a block.
type chunk struct {
	kind    int // 0: whole record, 1: first part, 2: middle, 3: last
	payload []byte
	size    int
	synced  int64
}

// scanner reads a log, or a manifest if log is 0.
type scanner struct {
	log   uint64
	found scan
	// record, if not nil, gets every record that is whole, also behind damage.
	record  func([]byte)
	partial []byte
	parts   bool
}

// scanChunks reads a log, or a manifest if log is 0.
func scanChunks(r io.Reader, log uint64, record func([]byte)) (scan, error) {
	s := scanner{log: log, record: record}
	block := make([]byte, logBlock)
	sound := true
	for base := int64(0); !s.found.closed; base += logBlock {
		n, err := io.ReadFull(r, block)
		if n > 0 {
			sound = s.block(block[:n], base, sound)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return scan{}, err
		}
	}
	return s.found, nil
}

// block reads one block. It returns whether the file is sound up to its end.
func (s *scanner) block(b []byte, base int64, sound bool) bool {
	for pos := 0; pos < len(b); {
		c, ok := s.chunk(b[pos:])
		switch {
		case ok:
			pos += c.size
			if sound {
				s.found.end = base + int64(pos)
			}
			s.found.promised = max(s.found.promised, c.synced)
			s.keep(c)
		case sound && s.atTail(b[pos:]):
			s.found.end, s.found.closed = base+int64(pos)+numberedHeader, true
			return true
		case sound && len(b) == logBlock && s.padding(b[pos:]):
			s.found.end = base + logBlock
			return true
		default:
			sound = false
			s.parts = false
			if s.log == 0 {
				return false // nothing tells a chunk of a manifest from chance
			}
			pos++
		}
	}
	return sound
}

// padding is what fills a block that has no room for another chunk.
func (s *scanner) padding(b []byte) bool {
	room := syncedHeader
	if s.log == 0 {
		room = plainHeader
	}
	return len(b) < room && allZero(b)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// atTail tells whether b begins with the mark of a closed log: a header that
// has the next log's number and nothing else.
func (s *scanner) atTail(b []byte) bool {
	return s.log != 0 && len(b) >= numberedHeader && allZero(b[:6]) && b[6] == numberedChunks &&
		binary.LittleEndian.Uint32(b[plainHeader:]) == s.mark()+1
}

// mark is what of the log's number stands in its chunks.
func (s *scanner) mark() uint32 { return uint32(s.log) }

func (s *scanner) chunk(b []byte) (chunk, bool) {
	if len(b) < plainHeader {
		return chunk{}, false
	}
	first, header := byte(plainChunks), plainHeader
	switch {
	case s.log == 0:
	case b[6] < syncedChunks:
		first, header = numberedChunks, numberedHeader
	default:
		first, header = syncedChunks, syncedHeader
	}
	if len(b) < header || b[6] < first || b[6] >= first+kinds {
		return chunk{}, false
	}
	if s.log != 0 && binary.LittleEndian.Uint32(b[plainHeader:]) != s.mark() {
		return chunk{}, false
	}
	size := header + int(binary.LittleEndian.Uint16(b[4:]))
	if size > len(b) || binary.LittleEndian.Uint32(b) != chunkSum(b[6:size]) {
		return chunk{}, false
	}
	c := chunk{kind: int(b[6] - first), payload: b[header:size], size: size}
	if header == syncedHeader {
		c.synced = int64(binary.LittleEndian.Uint64(b[numberedHeader:]))
	}
	return c, true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunkSum is the checksum of a chunk as Pebble and LevelDB mask it.
func chunkSum(b []byte) uint32 {
	sum := crc32.Checksum(b, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// keep puts the parts of records together.
func (s *scanner) keep(c chunk) {
	if s.record == nil {
		return
	}
	switch c.kind {
	case 0:
		s.parts = false
		s.record(c.payload)
	case 1:
		s.partial, s.parts = append(s.partial[:0], c.payload...), true
	default:
		if !s.parts {
			return
		}
		s.partial = append(s.partial, c.payload...)
		if c.kind == 3 {
			s.parts = false
			s.record(s.partial)
		}
	}
}
