package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Programs are stored in chunks, one item each, under the keys
//
//	p/<upload>/<number>
//
// where the upload is the time it began, in milliseconds since 1970, and 64
// random bits, both in hex, and the number has six hex digits. An item is an
// envelope around the raw bytes. Chunks mean nothing until a record names their
// upload in its program table.
const (
	chunkPrefix  = "p/"
	maxChunkItem = 256 << 10

	// commitAge is the age from which on an upload cannot be committed any
	// more, and orphanAge the one from which on the sweeper removes it if no
	// record names it. A commit under way has the time in between to arrive.
	commitAge = 50 * time.Minute
	orphanAge = time.Hour
)

// upload identifies the bytes of one version of a program.
type upload string

func newUpload() upload {
	return upload(fmt.Sprintf("%012x-%016x", time.Now().UnixMilli(), rand.Uint64()))
}

func (u upload) started() time.Time {
	ms, _ := strconv.ParseInt(string(u[:12]), 16, 64)
	return time.UnixMilli(ms)
}

func (u upload) item(n int64) string { return fmt.Sprintf("%s%s/%06x", chunkPrefix, string(u), n) }

// uploadOf is the upload an item belongs to, if it is a chunk of a program.
func uploadOf(key string) (upload, bool) {
	rest, ok := strings.CutPrefix(key, chunkPrefix)
	u, _, found := strings.Cut(rest, "/")
	return upload(u), ok && found && len(u) == 12+1+16
}

// items returns the keys of the program's chunks.
func (p Program) items() []string {
	keys := make([]string, 0, chunks(p.Size, p.chunk))
	for n := range chunks(p.Size, p.chunk) {
		keys = append(keys, p.upload.item(n))
	}
	return keys
}

func chunks(size, chunk int64) int64 { return (size + chunk - 1) / chunk }

// ProgramOptions describe a program that is written.
type ProgramOptions struct {
	ContentType string
}

// PutProgram reads a program to its end and stores it in the session under a
// name, in place of the one that may have it. The new bytes become visible at
// once and completely, or not at all. It counts as use.
//
// Errors: ErrNotFound for the session, ErrFenced if it was created anew meanwhile,
// ErrInvalid, ErrTooLarge beyond 64 MiB, an error of r, ErrUnavailable,
// ErrUnknown, ErrCorrupt.
func (st *Store) PutProgram(ctx context.Context, id, name string, r io.Reader, opts *ProgramOptions) (Program, error) {
	if opts == nil {
		opts = &ProgramOptions{}
	}
	var program Program
	err := st.do(ctx, OpProgramPut, id, func(ctx context.Context) error {
		read, timer := bound(ctx, st.opts.OperationTimeout)
		s, err := st.live(read, id, nil)
		timer.stop()
		if err != nil {
			return err
		}
		p, err := st.stage(ctx, s, name, opts.ContentType)
		if err != nil {
			return err
		}
		if _, err = io.Copy(stageWriter{p}, r); err == nil {
			err = p.seal()
		}
		if err == nil {
			write, timer := bound(ctx, st.opts.OperationTimeout)
			s, err = st.compareAndSet(write, id, change{apply: p.enter})
			timer.stop()
		}
		if err == nil || errors.Is(err, ErrUnknown) {
			p.keep()
		}
		if err != nil {
			return errors.Join(err, p.discard())
		}
		program, _ = s.Program(name)
		return nil
	})
	return program, err
}

// Programs returns the programs of a session, sorted by name. It does not
// count as use.
func (st *Store) Programs(ctx context.Context, id string) ([]Program, error) {
	var programs []Program
	err := st.do(ctx, OpProgramList, id, func(ctx context.Context) error {
		s, err := st.live(ctx, id, nil)
		if err == nil {
			programs = s.Programs()
		}
		return err
	})
	return programs, err
}

// DeleteProgram removes a program, and says whether there was one. It counts
// as use.
//
// Errors: ErrNotFound for the session; else as those of Update.
func (st *Store) DeleteProgram(ctx context.Context, id, name string) (bool, error) {
	deleted := false
	_, err := st.write(ctx, OpProgramDelete, id, change{apply: func(d *Draft) error {
		deleted = d.dropProgram(name)
		return nil
	}})
	return deleted && err == nil, err
}

// item reads the payload of an item.
func (st *Store) item(ctx context.Context, id, part string, codec byte, key string) ([]byte, error) {
	for again := outages; ; {
		data, err := st.drv.Item(ctx, id, key)
		switch {
		case err == nil:
			payload, err := openEnvelope(data, codec, bind(id).item(key))
			if err != nil {
				return nil, damaged(id, part, err)
			}
			return payload, nil
		case !errors.Is(err, ErrUnavailable) || !again.wait(ctx):
			return nil, corruptRecord(id, part, err)
		}
	}
}

// chunkReader reads single chunks of an upload and keeps the last one.
type chunkReader struct {
	st     *Store
	id     string
	part   string
	upload upload
	chunk  int64
	size   int64

	number int64 // of the chunk in data
	data   []byte
}

// at returns the bytes from offset to the end of their chunk.
func (c *chunkReader) at(ctx context.Context, offset int64) ([]byte, error) {
	n := offset / c.chunk
	if c.data == nil || c.number != n {
		data, err := c.st.item(ctx, c.id, c.part, codecRaw, c.upload.item(n))
		if err != nil {
			return nil, err
		}
		if want := min(c.chunk, c.size-n*c.chunk); int64(len(data)) != want {
			return nil, &CorruptError{c.id, c.part, fmt.Sprintf("chunk %d has %d bytes instead of %d", n, len(data), want)}
		}
		c.number, c.data = n, data
	}
	return c.data[offset-n*c.chunk:], nil
}

// OpenProgram returns a reader of a program. It does not count as use.
//
// Errors: ErrNotFound for the session, ErrProgramNotFound, ErrUnavailable,
// ErrCorrupt.
func (st *Store) OpenProgram(ctx context.Context, id, name string) (*ProgramReader, error) {
	var r *ProgramReader
	err := st.do(ctx, OpProgramOpen, id, func(inner context.Context) error {
		s, err := st.live(inner, id, nil)
		if err != nil {
			return err
		}
		p, ok := s.Program(name)
		if !ok {
			return fmt.Errorf("%w: %q", ErrProgramNotFound, name)
		}
		r = &ProgramReader{
			ctx:     ctx,
			program: p,
			chunks:  chunkReader{st: st, id: id, part: fmt.Sprintf("program %q", name), upload: p.upload, chunk: p.chunk, size: p.Size},
			hash:    sha256.New(),
		}
		return nil
	})
	return r, err
}

// ProgramReader reads a program. It uses the context it was opened with.
//
// Every chunk is verified when it is read, and the whole by its SHA-256 when
// Read reaches the end: damage gives a *CorruptError, in place of io.EOF at the
// latest. If the program is replaced or deleted meanwhile, reading ends with
// ErrConflict.
type ProgramReader struct {
	ctx     context.Context
	program Program
	chunks  chunkReader
	hash    hash.Hash
	offset  int64
	closed  bool
}

// Program describes the program that is read.
func (r *ProgramReader) Program() Program { return r.program }

// Read reads from the start to the end.
func (r *ProgramReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := r.read(b, r.offset)
	r.hash.Write(b[:n])
	r.offset += int64(n)
	if errors.Is(err, io.EOF) {
		if sum := hex.EncodeToString(r.hash.Sum(nil)); sum != r.program.SHA256 {
			return n, r.st().wrap(OpProgramRead, r.chunks.id, &CorruptError{r.chunks.id, r.chunks.part, "SHA-256 does not match"})
		}
	}
	return n, err
}

// ReadAt reads from any offset, as io.ReaderAt says, but from one goroutine at
// a time.
func (r *ProgramReader) ReadAt(b []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, r.st().wrap(OpProgramRead, r.chunks.id, &InvalidError{"offset", "is negative"})
	}
	read := 0
	for read < len(b) {
		n, err := r.read(b[read:], offset+int64(read))
		read += n
		if err != nil {
			return read, err
		}
	}
	return read, nil
}

func (r *ProgramReader) st() *Store { return r.chunks.st }

// read reads what one chunk has.
func (r *ProgramReader) read(b []byte, offset int64) (n int, err error) {
	switch {
	case r.closed:
		return 0, r.st().wrap(OpProgramRead, r.chunks.id, ErrClosed)
	case offset >= r.program.Size:
		return 0, io.EOF
	}
	err = r.st().do(r.ctx, OpProgramRead, r.chunks.id, func(ctx context.Context) error {
		data, err := r.chunks.at(ctx, offset)
		if errors.Is(err, ErrNotFound) {
			return r.vanished(ctx)
		}
		n = copy(b, data)
		return err
	})
	return n, err
}

// vanished says why a chunk is not there.
func (r *ProgramReader) vanished(ctx context.Context) error {
	s, err := r.st().live(ctx, r.chunks.id, []ReadOption{WithLevel(driver.ReadYourWrites)})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil {
		if p, ok := s.Program(r.program.Name); ok && p.upload == r.program.upload {
			return &CorruptError{r.chunks.id, r.chunks.part, "a chunk is missing"}
		}
	}
	return fmt.Errorf("%w: %s was replaced or deleted while it was read", ErrConflict, r.chunks.part)
}

// Close releases the reader.
func (r *ProgramReader) Close() error {
	r.closed = true
	r.chunks.data = nil
	return nil
}
