package frames

import (
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

// frameReader reads frames. An error of the stream that is not its end, such as
// a deadline, leaves it where it was: next may be called again.
type frameReader struct {
	r   io.Reader
	max int

	buf        []byte // buf[start:end] was read and not used yet
	start, end int

	// frame is the rest of a frame, without its prefix, as far as it has come;
	// nil between two frames. length and header are what its prefix says.
	frame          []byte
	length, header int
}

func newFrameReader(r io.Reader, max int) *frameReader {
	return &frameReader{r: r, max: max, buf: make([]byte, 32<<10)}
}

// next returns the header and body of the next frame, in memory of its own. At
// the end of the stream between two frames the error is io.EOF.
func (fr *frameReader) next() (header, body []byte, err error) {
	if fr.frame == nil {
		if err := fr.begin(); err != nil {
			return nil, nil, err
		}
	}
	for len(fr.frame) < fr.length {
		if err := fr.extend(); err != nil {
			return nil, nil, err
		}
	}
	frame := fr.frame
	fr.frame = nil
	return frame[:fr.header:fr.header], frame[fr.header:], nil
}

// begin reads a prefix and takes what is there of its frame.
func (fr *frameReader) begin() error {
	for fr.end-fr.start < prefixLen {
		if fr.start > 0 {
			fr.end = copy(fr.buf, fr.buf[fr.start:fr.end])
			fr.start = 0
		}
		n, err := fr.r.Read(fr.buf[fr.end:])
		fr.end += n
		if n == 0 && err != nil {
			if err == io.EOF && fr.end > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	prefix := fr.buf[fr.start:]
	n, h := uint64(binary.BigEndian.Uint32(prefix)), uint64(binary.BigEndian.Uint32(prefix[4:]))
	if n < 4 || h > n-4 {
		return violation("a header of %d bytes in a frame of %d", h, n)
	}
	if n > uint64(fr.max) {
		return violation("a frame of %d bytes, where %d are allowed", n, fr.max)
	}
	fr.length, fr.header = int(n-4), int(h)
	fr.start += prefixLen
	have := min(fr.length, fr.end-fr.start)
	fr.frame = make([]byte, have, min(fr.length, max(have, eagerLen)))
	copy(fr.frame, fr.buf[fr.start:])
	fr.start += have
	return nil
}

// extend reads more of a frame. A length that is only claimed costs little
// memory.
func (fr *frameReader) extend() error {
	have := len(fr.frame)
	if have == cap(fr.frame) {
		fr.frame = slices.Grow(fr.frame, min(fr.length, 4*have)-have)
	}
	n, err := fr.r.Read(fr.frame[have:min(cap(fr.frame), fr.length)])
	fr.frame = fr.frame[:have+n]
	if n == 0 && err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
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
