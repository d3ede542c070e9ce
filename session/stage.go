package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// StagedProgram is a program that is written but not yet part of its session:
// Close completes it and Commit makes it visible. One that is never committed
// is to be aborted; the sweeper removes what is forgotten. It belongs to one
// goroutine.
type StagedProgram struct {
	st *Store
	// ctx is that of StageProgram: Write, Close and Abort have none.
	ctx         context.Context
	id          string
	incarnation incarnation
	program     Program
	part        string

	hash hash.Hash
	// buf is the item of the chunk being filled: space for the envelope, then
	// its bytes.
	buf    []byte
	stored int64 // chunks
	sealed bool
	err    error
	// staged is the room that is taken until the program is committed or given
	// up.
	staged int64
	// kept says that a record names, or may name, the chunks.
	kept bool
}

// StageProgram begins to write a program of a session whose newest state need
// not be base any more. It uses ctx until the program is closed or aborted.
//
// Errors: ErrInvalid.
func (st *Store) StageProgram(ctx context.Context, base *Session, name, contentType string) (*StagedProgram, error) {
	var p *StagedProgram
	err := st.do(ctx, OpProgramStage, base.ID(), func(context.Context) (err error) {
		p, err = st.stage(ctx, base, name, contentType)
		return err
	})
	return p, err
}

func (st *Store) stage(ctx context.Context, base *Session, name, contentType string) (*StagedProgram, error) {
	if err := checkProgramName(name); err != nil {
		return nil, err
	}
	if err := checkContentType(contentType); err != nil {
		return nil, err
	}
	return &StagedProgram{
		st: st, ctx: ctx, id: base.ID(), incarnation: base.head().incarnation,
		program: Program{
			Name: name, ContentType: contentType,
			upload: newUpload(), chunk: int64(min(st.info.Limits.Item, maxChunkItem) - envelopeSize),
		},
		part: fmt.Sprintf("program %q", name),
		hash: sha256.New(),
	}, nil
}

// Write appends to the program. After an error the program can only be
// aborted.
//
// Errors: ErrTooLarge beyond 64 MiB, ErrUnavailable.
func (p *StagedProgram) Write(b []byte) (n int, err error) {
	err = p.st.do(p.ctx, OpProgramStage, p.id, func(context.Context) error {
		n, err = p.write(b)
		return err
	})
	return n, err
}

// stageWriter is Write for use inside another operation.
type stageWriter struct{ p *StagedProgram }

func (w stageWriter) Write(b []byte) (int, error) { return w.p.write(b) }

func (p *StagedProgram) write(b []byte) (n int, err error) {
	switch {
	case p.err != nil:
		return 0, p.err
	case p.sealed:
		return 0, &InvalidError{p.part, "is closed"}
	case p.program.Size+int64(len(b)) > MaxProgramSize:
		p.err = tooLarge(p.part, p.program.Size+int64(len(b)), MaxProgramSize)
		return 0, p.err
	}
	for len(b) > 0 {
		if p.buf == nil {
			p.buf = appendEnvelope(nil, codecRaw)
		}
		room := int(p.program.chunk) - (len(p.buf) - envelopeSize)
		part := b[:min(room, len(b))]
		if need := len(p.buf) + len(part); need > cap(p.buf) {
			// The driver may keep the buffer, so it is never larger than an item.
			grown := make([]byte, len(p.buf), min(max(need, 2*cap(p.buf)), envelopeSize+int(p.program.chunk)))
			copy(grown, p.buf)
			p.buf = grown
		}
		p.buf = append(p.buf, part...)
		p.hash.Write(part)
		p.program.Size += int64(len(part))
		n += len(part)
		b = b[len(part):]
		if len(part) == room {
			if p.err = p.flush(); p.err != nil {
				return n, p.err
			}
		}
	}
	return n, nil
}

// flush stores the chunk in buf. Its key is new, so repeating a write whose
// outcome is unknown does no harm.
func (p *StagedProgram) flush() error {
	ctx, timer := bound(p.ctx, p.st.opts.OperationTimeout)
	defer timer.stop()
	if err := p.st.usage.stage(ctx, int64(len(p.buf)-envelopeSize)); err != nil {
		return err
	}
	p.staged += int64(len(p.buf) - envelopeSize)
	key := p.program.upload.item(p.stored)
	sealEnvelope(p.buf, bind(p.id).item(key))
	batch := &driver.Batch{Put: []driver.Item{{Key: key, Data: p.buf}}, Op: NewOperation()}
	for again := doubts; ; {
		_, err := p.st.apply(ctx, p.id, batch)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrUnknown) || !again.wait(ctx) {
			return err
		}
	}
	p.stored++
	p.buf = nil
	return nil
}

// Close completes the program; only then it can be committed. A second Close
// does nothing.
func (p *StagedProgram) Close() error {
	return p.st.do(p.ctx, OpProgramStage, p.id, func(context.Context) error { return p.seal() })
}

func (p *StagedProgram) seal() error {
	if p.err != nil || p.sealed {
		return p.err
	}
	if p.buf != nil {
		if p.err = p.flush(); p.err != nil {
			return p.err
		}
	}
	p.program.SHA256 = hex.EncodeToString(p.hash.Sum(nil))
	p.program.Created = time.UnixMilli(time.Now().UnixMilli())
	p.program.Updated = p.program.Created
	p.sealed = true
	return nil
}

// Program describes the program as far as it is written; complete after Close.
func (p *StagedProgram) Program() Program { return p.program }

// ReadAt reads what was written, as io.ReaderAt says, but from one goroutine
// at a time.
func (p *StagedProgram) ReadAt(b []byte, offset int64) (read int, err error) {
	err = p.st.do(p.ctx, OpProgramRead, p.id, func(ctx context.Context) error {
		switch {
		case p.err != nil:
			return p.err
		case offset < 0:
			return &InvalidError{"offset", "is negative"}
		}
		flushed := p.stored * p.program.chunk
		chunks := chunkReader{
			st: p.st, id: p.id, part: p.part, upload: p.program.upload, chunk: p.program.chunk,
			size: min(flushed, p.program.Size),
		}
		for read < len(b) && offset < p.program.Size {
			var data []byte
			if offset < chunks.size {
				if data, err = chunks.at(ctx, offset); err != nil {
					return err
				}
			} else {
				data = p.buf[envelopeSize+offset-chunks.size:]
			}
			n := copy(b[read:], data)
			read += n
			offset += int64(n)
		}
		return nil
	})
	if err == nil && read < len(b) {
		err = io.EOF
	}
	return read, err
}

// Abort removes what was written, unless it was committed.
func (p *StagedProgram) Abort() error {
	return p.st.do(p.ctx, OpProgramStage, p.id, func(context.Context) error { return p.discard() })
}

// discard removes the chunks also when the context has ended: that is when
// most uploads are given up.
func (p *StagedProgram) discard() error {
	if p.kept {
		return nil
	}
	p.unstage()
	if p.err == nil {
		p.err = &InvalidError{p.part, "was aborted"}
	}
	p.sealed, p.buf = false, nil
	ctx, timer := bound(context.WithoutCancel(p.ctx), p.st.opts.OperationTimeout)
	defer timer.stop()
	written := Program{Size: p.stored * p.program.chunk, upload: p.program.upload, chunk: p.program.chunk}
	for keys := written.items(); len(keys) > 0; {
		batch := &driver.Batch{Drop: p.st.firstItems(keys, 0), Op: NewOperation()}
		if _, err := p.st.apply(ctx, p.id, batch); err != nil && !errors.Is(err, ErrUnknown) {
			return fmt.Errorf("remove what was written of %s: %w", p.part, err)
		}
		keys = keys[len(batch.Drop):]
	}
	p.stored = 0
	return nil
}

// keep notes that a record names the program, or may name it.
func (p *StagedProgram) keep() {
	p.kept = true
	p.unstage()
}

func (p *StagedProgram) unstage() {
	p.st.usage.staged.Add(-p.staged)
	p.staged = 0
}

// enter puts the program into the table of the draft.
func (p *StagedProgram) enter(d *Draft) error {
	invalid := func(reason string) error { return &InvalidError{p.part, reason} }
	switch {
	case p.err != nil:
		return fmt.Errorf("%s: %w", p.part, p.err)
	case !p.sealed:
		return invalid("is not closed")
	case p.id != d.id:
		return invalid(fmt.Sprintf("was written for session %q", p.id))
	case p.incarnation != d.head.incarnation:
		return fmt.Errorf("%w: %s was written for a former session of this id", ErrFenced, p.part)
	case time.Since(p.program.upload.started()) > commitAge:
		return invalid(fmt.Sprintf("was written more than %v ago; write it again", commitAge))
	}
	d.putProgram(p.program)
	return nil
}
