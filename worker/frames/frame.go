package frames

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
)

// DefaultMaxFrame is the greatest length of a frame unless Options say
// otherwise, and always the one before the host has answered hello.
const DefaultMaxFrame = 128 << 20

const (
	// prefixLen is the length of the two numbers before a header.
	prefixLen = 8
	// eagerLen is up to which length memory is taken for a frame because its
	// prefix says so, and not because its bytes have come.
	eagerLen = 1 << 20
	// copyLen is up to which length values are copied next to each other,
	// rather than written from where they are.
	copyLen = 16 << 10
)

// protocolError says how a worker broke the rules of docs/protocol.md. It ends
// the connection.
type protocolError struct{ what string }

func (e *protocolError) Error() string { return "protocol violation: " + e.what }

func violation(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}

// frameReader reads frames.
type frameReader struct {
	r   *bufio.Reader
	max int
}

func newFrameReader(r io.Reader, max int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 32<<10), max: max}
}

// next returns the header and body of the next frame, in memory of its own. At
// the end of the stream between two frames the error is io.EOF.
func (fr *frameReader) next() (header, body []byte, err error) {
	prefix, err := fr.r.Peek(prefixLen)
	if err != nil {
		if err == io.EOF && len(prefix) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, err
	}
	n, h := uint64(binary.BigEndian.Uint32(prefix)), uint64(binary.BigEndian.Uint32(prefix[4:]))
	if n < 4 || h > n-4 {
		return nil, nil, violation("a header of %d bytes in a frame of %d", h, n)
	}
	if n > uint64(fr.max) {
		return nil, nil, violation("a frame of %d bytes, where %d are allowed", n, fr.max)
	}
	if _, err := fr.r.Discard(prefixLen); err != nil {
		return nil, nil, err
	}
	rest, err := fr.read(int(n - 4))
	if err != nil {
		return nil, nil, err
	}
	return rest[:h:h], rest[h:], nil
}

// read reads n bytes. A length that is only claimed costs little memory.
func (fr *frameReader) read(n int) ([]byte, error) {
	buf := make([]byte, min(n, eagerLen))
	for have := 0; ; {
		if _, err := io.ReadFull(fr.r, buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		have = len(buf)
		if have == n {
			return buf, nil
		}
		next := min(n, 4*have)
		buf = slices.Grow(buf, next-have)[:next]
	}
}

// frame is a frame being made. Large values stay where they are until it is
// written.
type frame struct {
	// buf holds the prefix, and the header and body but for the cuts.
	buf []byte
	// cuts are the large values, with the position in buf they come before.
	cuts []cut
	// cutLen is the total length of the cuts.
	cutLen int
	// vec is what seal makes of a frame with cuts.
	vec net.Buffers
}

type cut struct {
	at   int
	data []byte
}

var framePool = sync.Pool{New: func() any { return new(frame) }}

func newFrame() *frame {
	f := framePool.Get().(*frame)
	f.buf = append(f.buf[:0], make([]byte, prefixLen)...)
	return f
}

// free gives the frame back. It must not be used any more.
func (f *frame) free() {
	if cap(f.buf) > 4*copyLen {
		return
	}
	clear(f.cuts)
	clear(f.vec)
	f.cuts, f.cutLen, f.vec = f.cuts[:0], 0, f.vec[:0]
	framePool.Put(f)
}

func (f *frame) text(s string)   { f.buf = append(f.buf, s...) }
func (f *frame) string(s string) { f.buf = appendString(f.buf, s) }

// raw adds bytes as they are, which must not change before the frame has been
// written.
func (f *frame) raw(b []byte) {
	if len(b) <= copyLen {
		f.buf = append(f.buf, b...)
		return
	}
	f.cuts = append(f.cuts, cut{len(f.buf), b})
	f.cutLen += len(b)
}

func (f *frame) len() int { return len(f.buf) + f.cutLen }

// seal ends the header and adds the parts of the body.
func (f *frame) seal(parts [][]byte) {
	header := f.len() - prefixLen
	for _, p := range parts {
		f.raw(p)
	}
	binary.BigEndian.PutUint32(f.buf, uint32(f.len()-4))
	binary.BigEndian.PutUint32(f.buf[4:], uint32(header))
}

// buffers returns the sealed frame as a vector, valid until free.
func (f *frame) buffers() net.Buffers {
	f.vec = f.vec[:0]
	from := 0
	for _, c := range f.cuts {
		if c.at > from {
			f.vec = append(f.vec, f.buf[from:c.at])
		}
		f.vec = append(f.vec, c.data)
		from = c.at
	}
	if from < len(f.buf) {
		f.vec = append(f.vec, f.buf[from:])
	}
	return f.vec
}
