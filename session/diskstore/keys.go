package diskstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/snakepit-go/snakepit/session/driver"
)

// formatVersion is the version of everything in this file. It stands in the
// STORE file, so that a program too old for a directory says so before Pebble
// sees it, and again in the database. Format 1 had no SYNCED file.
const formatVersion = 2

// firstPromising is the first format with a SYNCED file.
const firstPromising = 2

// The first byte of a key is its range.
const (
	rangeMeta = 'A' // the store's own values
	rangeBody = 'b' // id -> body
	rangeHead = 'h' // id -> revision (8 bytes, big endian), head
	rangeItem = 'i' // item name -> data
	rangeSize = 's' // item name -> size of its data (uvarint)
)

var (
	metaFormat   = []byte{rangeMeta, 'f'} // format version (8 bytes)
	metaID       = []byte{rangeMeta, 'i'} // store id (text)
	metaReserved = []byte{rangeMeta, 'r'} // no revision at or above was ever given (8 bytes)
	metaCount    = []byte{rangeMeta, 'n'} // number of records, a sum (8 bytes)
)

func recordKey(space byte, id string) []byte {
	return append(append(make([]byte, 0, 1+len(id)), space), id...)
}

// itemKey joins an id and an item key so that the order of the joined names is
// the order of the pairs: a zero byte in the id becomes 00 FF, and the id ends
// with 00 01.
func itemKey(space byte, id, key string) []byte {
	b := make([]byte, 0, 1+len(id)+2+len(key)+2*strings.Count(id, "\x00"))
	b = append(b, space)
	for {
		i := strings.IndexByte(id, 0)
		if i < 0 {
			break
		}
		b = append(append(b, id[:i]...), 0x00, 0xff)
		id = id[i+1:]
	}
	b = append(append(b, id...), 0x00, 0x01)
	return append(b, key...)
}

// splitItemKey is the inverse of itemKey.
func splitItemKey(b []byte) (driver.ItemRef, error) {
	var id []byte
	for rest := b[1:]; ; {
		i := bytes.IndexByte(rest, 0)
		if i < 0 || i+1 == len(rest) {
			return driver.ItemRef{}, fmt.Errorf("item name %x: %w", b, driver.ErrCorrupt)
		}
		id = append(id, rest[:i]...)
		mark := rest[i+1]
		rest = rest[i+2:]
		switch mark {
		case 0x01:
			return driver.ItemRef{ID: string(id), Key: string(rest)}, nil
		case 0xff:
			id = append(id, 0)
		default:
			return driver.ItemRef{}, fmt.Errorf("item name %x: %w", b, driver.ErrCorrupt)
		}
	}
}

// successor returns the key that follows k directly.
func successor(k []byte) []byte { return append(k, 0) }

// prefixEnd returns the first key behind all that start with p. The first byte
// of a key is a letter, so there always is one.
func prefixEnd(p []byte) []byte {
	end := bytes.Clone(p)
	for i := len(end) - 1; ; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
}

func encodeHead(revision driver.Revision, head []byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(head)), uint64(revision))
	return append(b, head...)
}

// decodeHead returns a revision and a head of its own.
func decodeHead(id string, b []byte) (driver.Revision, []byte, error) {
	if len(b) < 8 {
		return 0, nil, fmt.Errorf("read head of session %q: %d bytes are too few: %w", id, len(b), driver.ErrCorrupt)
	}
	return driver.Revision(binary.BigEndian.Uint64(b)), append(make([]byte, 0, len(b)-8), b[8:]...), nil
}

func encodeUint64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeUint64(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("number of %d bytes: %w", len(b), driver.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(b), nil
}
