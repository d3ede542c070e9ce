package frames

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/snakepit-go/snakepit/worker"
)

// encoded returns a frame as it goes over the socket.
func encoded(header string, parts ...[]byte) []byte {
	f := newFrame()
	defer f.free()
	f.text(header)
	f.seal(parts)
	return bytes.Join(f.buffers(), nil)
}

// FuzzDecoder gives the decoder streams of any kind, in pieces of any size:
// whole frames, cut ones, with flipped bits, with lengths that are wrong.
func FuzzDecoder(f *testing.F) {
	answer := encoded(`{"jsonrpc":"2.0","id":7,"result":{"value":{"$bytes":0},"parts":[3],"change":{"set":{"a":1},"unset":["b"]},"local":true}}`, []byte("abc"))
	chunk := encoded(`{"jsonrpc":"2.0","method":"chunk","params":{"call":7,"value":[1,2],"parts":[]}}`)
	failure := encoded(`{"jsonrpc":"2.0","id":7,"error":{"code":-32001,"message":"m","data":{"type":"T","traceback":"t"}}}`)
	f.Add(answer, 1)
	f.Add(append(append(bytes.Clone(chunk), answer...), failure...), 1000)
	f.Add(answer[:len(answer)-1], 3)
	f.Add(failure[:5], 2)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1}, 8)      // oversized
	f.Add([]byte{0, 0, 0, 5, 0, 0, 0, 2, '{', '}'}, 8)        // H > N-4
	f.Add([]byte{0, 0, 0, 3, 0, 0, 0, 0}, 8)                  // N < 4
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4}, 1)      // empty header
	f.Add([]byte{0, 9, 0, 0, 0, 0, 0, 2, '{', '}', 'x'}, 100) // claims more than comes
	for _, flip := range []int{3, 7, 12, 40, 80} {
		flipped := bytes.Clone(answer)
		flipped[flip%len(flipped)] ^= 0x10
		f.Add(flipped, 7)
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		const limit = 1 << 20
		fr := newFrameReader(&pieces{stream, max(1, piece)}, limit)
		rest := stream
		for {
			header, body, err := fr.next()
			if err != nil {
				checkEnd(t, rest, limit, err)
				return
			}
			n, h := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
			if frame := rest[8 : 4+n]; !bytes.Equal(header, frame[:h]) || !bytes.Equal(body, frame[h:]) {
				t.Fatalf("header %q and body %q of %q", header, body, frame)
			}
			rest = rest[4+n:]
			checkMessage(t, header, body)
		}
	})
}

// checkEnd checks that the stream really ends or is broken where the reader
// says so.
func checkEnd(t *testing.T, rest []byte, limit uint32, err error) {
	var n, h uint32
	if len(rest) >= 8 {
		n, h = binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
	}
	broken := len(rest) >= 8 && (n < 4 || h > n-4 || n > limit)
	var violated *protocolError
	switch {
	case errors.As(err, &violated):
		if !broken {
			t.Fatalf("%v at %q", err, rest)
		}
	case err == io.EOF:
		if len(rest) != 0 {
			t.Fatalf("end of the stream before %q", rest)
		}
	case err == io.ErrUnexpectedEOF:
		if broken || len(rest) == 0 || len(rest) >= 8 && uint64(len(rest)) >= 4+uint64(n) {
			t.Fatalf("%v at %q", err, rest)
		}
	default:
		t.Fatal(err)
	}
}

// checkMessage checks that what goes on is JSON, whatever came.
func checkMessage(t *testing.T, header, body []byte) {
	m, err := parse(header, body)
	valid := json.Valid(header) && utf8.Valid(header)
	if err == nil && !valid {
		t.Fatalf("%q was accepted", header)
	}
	if err != nil {
		return
	}
	if m.method == "" {
		res, err := m.result()
		if (res == nil) == (err == nil) {
			t.Fatalf("%q: result %v, error %v", header, res, err)
		}
		if res != nil {
			checkResult(t, header, res)
		}
	}
	if _, err := m.attachments(); err == nil {
		sum := 0
		for _, n := range m.payload.parts {
			sum += n
		}
		if sum != len(body) {
			t.Fatalf("%q: parts %v of %d bytes", header, m.payload.parts, len(body))
		}
	}
}

func checkResult(t *testing.T, header []byte, res *worker.Result) {
	if !json.Valid(res.Value) {
		t.Fatalf("%q: value %q", header, res.Value)
	}
	if res.Change == nil {
		return
	}
	for name, value := range res.Change.Set {
		if !json.Valid(value) {
			t.Fatalf("%q: variable %q is %q", header, name, value)
		}
	}
}

// pieces is a stream that comes in pieces.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.data)
	p.data = p.data[n:]
	return n, nil
}

func TestFramesComeAsTheyWent(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	var stream bytes.Buffer
	for _, body := range [][][]byte{nil, {[]byte("a")}, {big, nil, []byte("b")}, {big[:copyLen], big[:copyLen+1]}} {
		stream.Write(encoded(`{"id":1}`, body...))
	}
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream.Bytes()),
		"in halves":    iotest.HalfReader(bytes.NewReader(stream.Bytes())),
		"with the end": iotest.DataErrReader(bytes.NewReader(stream.Bytes())),
	} {
		fr := newFrameReader(r, DefaultMaxFrame)
		for i, want := range []int{0, 1, len(big) + 1, 2*copyLen + 1} {
			header, body, err := fr.next()
			if err != nil || string(header) != `{"id":1}` || len(body) != want {
				t.Fatalf("%s: frame %d: %q, %d bytes, %v", name, i, header, len(body), err)
			}
			if want > 1 && !bytes.Equal(body[:copyLen], big[:copyLen]) {
				t.Errorf("%s: frame %d has other bytes", name, i)
			}
		}
		if _, _, err := fr.next(); err != io.EOF {
			t.Errorf("%s: the end: %v", name, err)
		}
	}
}

// A reader may be interrupted anywhere and go on.
func TestReadingGoesOnAfterAnInterrupt(t *testing.T) {
	stream := bytes.Repeat(encoded(`{"id":1}`, []byte("body")), 3)
	fr := newFrameReader(&interrupted{r: iotest.OneByteReader(bytes.NewReader(stream))}, 1<<20)
	for got := 0; got < 3; {
		header, body, err := fr.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil || string(header) != `{"id":1}` || string(body) != "body":
			t.Fatalf("%q, %q, %v", header, body, err)
		default:
			got++
		}
	}
}

// interrupted fails every second time.
type interrupted struct {
	r   io.Reader
	odd bool
}

func (i *interrupted) Read(b []byte) (int, error) {
	if i.odd = !i.odd; i.odd {
		return 0, os.ErrDeadlineExceeded
	}
	return i.r.Read(b)
}

// A length that is only claimed must not cost its memory.
func TestClaimedLengthsCostLittle(t *testing.T) {
	claim := []byte{0x07, 0xff, 0xff, 0xff, 0, 0, 0, 2, '{', '}'}
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := newFrameReader(bytes.NewReader(claim), DefaultMaxFrame).next(); err != io.ErrUnexpectedEOF {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 4*eagerLen {
		t.Errorf("a claim of 128 MiB costs %d bytes", allocated)
	}
}

func TestRefusals(t *testing.T) {
	seen := make(map[error]bool)
	for _, r := range refusals {
		if seen[r.err] {
			t.Errorf("%v has two reasons", r.err)
		}
		seen[r.err] = true
		e := refusal(errors.Join(errors.New("context"), r.err))
		if e.Code != codeRefused || e.Data.Reason != r.reason || !strings.Contains(e.Message, r.err.Error()) {
			t.Errorf("%v: %+v", r.err, e)
		}
	}
	if e := refusal(errors.New("disk full")); e.Data.Reason != "failed" || e.Message != "disk full" {
		t.Errorf("another error: %+v", e)
	}
}
