package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// MaxCallIDSize is the longest id of a call, in bytes.
const MaxCallIDSize = 256

// MaxAnswerSize is the largest answer of a call that is kept for its
// repetition, in bytes: the value and all attachments.
const MaxAnswerSize = 64 << 10

// NamedCall is a call that was given an id, to be recorded with its commit.
type NamedCall struct {
	// ID is what the caller calls it, within its session.
	ID string
	// Digest is of the tool and its arguments.
	Digest [32]byte
	Answer Answer

	// sum and size are of what AddChunk was given.
	sum  hash.Hash
	size int64
}

// Answer is what a call returned.
type Answer struct {
	// Chunks are what it yielded before, if it is a stream: see AddChunk.
	Chunks      []Chunk
	Value       json.RawMessage
	Attachments [][]byte
	// Worker is the one that ran it.
	Worker string
	// Overwritten is what its commit said in Basis.Overwritten.
	Overwritten []string
}

// Chunk is a part of a stream.
type Chunk struct {
	Value       json.RawMessage
	Attachments [][]byte
}

// AddChunk adds to the answer what the call yields. Chunks are held only as
// long as the answer may still be kept.
func (c *NamedCall) AddChunk(chunk Chunk) {
	c.count(chunk)
	if c.size > MaxAnswerSize {
		c.Answer.Chunks = nil
		return
	}
	c.Answer.Chunks = append(c.Answer.Chunks, chunk)
}

func (c *NamedCall) count(part Chunk) {
	if c.sum == nil {
		c.sum = sha256.New()
	}
	c.sum.Write(part.Value)
	c.size += int64(len(part.Value))
	for _, b := range part.Attachments {
		c.sum.Write(b)
		c.size += int64(len(b))
	}
}

// CallRecord is what is kept of a call that was given an id.
type CallRecord struct {
	ID string
	// Closed says that no call of this id was committed, and none will be.
	Closed bool
	// At is when it was committed, or closed.
	At time.Time
	// Digest is of the tool and its arguments.
	Digest [32]byte
	// Answer is nil if it was larger than MaxAnswerSize, or had to make room
	// for newer ones.
	Answer *Answer
	// AnswerSize and AnswerSHA256 describe the answer: its chunks, its value and
	// its attachments, one after the other.
	AnswerSize   int64
	AnswerSHA256 string
}

// FindCall returns a session and what it keeps of the call of an id, both as
// they were in one instant. The record is nil if nothing is kept: see
// CallsKeptSince for what that says. An empty session id is for calls without
// a session, and gives none. It does not count as use.
//
// Errors: ErrNotFound for the session, ErrInvalid, ErrUnavailable, ErrCorrupt.
func (st *Store) FindCall(ctx context.Context, id, callID string) (*Session, *CallRecord, error) {
	var s *Session
	var rec *CallRecord
	err := st.do(ctx, OpCallFind, id, func(ctx context.Context) (err error) {
		if err := checkCallID(callID); err != nil {
			return err
		}
		s, rec, err = st.findCall(ctx, st.keeperOf(id, callID), callID)
		if id == "" && errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	})
	if id == "" || err != nil {
		s = nil
	}
	return s, rec, err
}

func (st *Store) findCall(ctx context.Context, id, callID string) (*Session, *CallRecord, error) {
	s, err := st.live(ctx, id, nil)
	if err != nil {
		return nil, nil, err
	}
	name := nameCall(callID)
	for {
		now, mark, err := st.lookUp(ctx, s, name)
		switch {
		case err != nil:
			return nil, nil, err
		case now.expired(time.Now().UnixMilli()):
			return nil, nil, ErrNotFound
		case now.head().incarnation != s.head().incarnation:
			s = now // the session was created anew meanwhile
			continue
		case mark == nil:
			return now, nil, nil
		}
		rec := mark.record(callID)
		if rec.Answer, err = st.answer(ctx, now, mark); err != nil {
			return nil, nil, err
		}
		return now, rec, nil
	}
}

// lookUp reads the newest state of the session s and the mark of a call in it,
// nil if there is none, in one instant. If the session was created anew since
// s, the mark is nil.
func (st *Store) lookUp(ctx context.Context, s *Session, name callName) (*Session, *callMark, error) {
	id, key := s.ID(), callItems(s.head().incarnation).mark(name)
	for again := outages; ; {
		rec, data, err := st.drv.GetItems(ctx, id, driver.Read{Level: driver.Strong}, []string{key})
		if errors.Is(err, ErrUnsupported) {
			rec, data, err = st.drv.GetItems(ctx, id, driver.Read{}, []string{key})
		}
		if errors.Is(err, ErrUnavailable) && again.wait(ctx) {
			continue
		}
		if err != nil {
			return nil, nil, corruptRecord(id, "record", err)
		}
		now, err := viewOf(rec)
		if err != nil || data[0] == nil {
			return now, nil, err
		}
		payload, err := openEnvelope(data[0], codecProtobuf, bind(id).item(key))
		if err != nil {
			return nil, nil, damaged(id, callPart, err)
		}
		mark, err := decodeMark(payload)
		if err != nil {
			return nil, nil, damaged(id, callPart, err)
		}
		return now, mark, nil
	}
}

// answer reads the answer of a committed call, nil if it is not kept.
func (st *Store) answer(ctx context.Context, s *Session, mark *callMark) (*Answer, error) {
	if mark.closed {
		return nil, nil
	}
	e, err := st.logEntry(ctx, s.ID(), s.head().incarnation, mark.seq)
	if errors.Is(err, ErrNotFound) || err == nil && e.name != mark.name {
		return nil, nil // forgotten since the mark was read
	}
	if err != nil {
		return nil, err
	}
	return e.answer, nil
}

// CallsKeptSince is from when on every call that was given an id and committed
// in the session is known. It is later than the retention of ids if they took
// more room than they may; then complete is false, and what is said of calls
// before is nothing.
//
// The session is nil for calls without one.
func (st *Store) CallsKeptSince(ctx context.Context, s *Session, callID string) (since time.Time, complete bool, err error) {
	if s == nil {
		err = st.do(ctx, OpCallFind, "", func(ctx context.Context) (err error) {
			s, err = st.live(ctx, st.keeperOf("", callID), nil)
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return time.Time{}, false, err
		}
	}
	retained := time.Now().Add(-st.opts.CallRetention)
	if s == nil {
		return retained, true, nil
	}
	if log := decodeCallLog(s.head().calls); log.lost >= retained.UnixMilli() {
		return time.UnixMilli(log.lost + 1), false, nil
	}
	return retained, true, nil
}

// CloseCall makes sure that no call of an id is committed any more, if none
// was, and returns what is kept of the id then. An empty session id is for
// calls without a session.
//
// Errors: ErrNotFound for the session, ErrInvalid, ErrUnavailable, ErrUnknown,
// ErrCorrupt.
func (st *Store) CloseCall(ctx context.Context, id, callID string) (*CallRecord, error) {
	var rec *CallRecord
	err := st.do(ctx, OpCallClose, id, func(ctx context.Context) error {
		if err := checkCallID(callID); err != nil {
			return err
		}
		keeper := st.keeperOf(id, callID)
		err := st.keepCall(ctx, keeper, &callMark{name: nameCall(callID), closed: true}, nil)
		if err != nil && !errors.Is(err, ErrAlreadyCommitted) {
			return err
		}
		_, rec, err = st.findCall(ctx, keeper, callID)
		return err
	})
	return rec, err
}

// KeepCall records a call without a session that has been executed.
//
// Errors: ErrAlreadyCommitted if the id is recorded already, ErrInvalid,
// ErrUnavailable, ErrUnknown, ErrCorrupt.
func (st *Store) KeepCall(ctx context.Context, call NamedCall) error {
	return st.do(ctx, OpCallKeep, "", func(ctx context.Context) error {
		if err := checkCallID(call.ID); err != nil {
			return err
		}
		mark, answer := call.mark()
		return st.keepCall(ctx, st.keeperOf("", call.ID), mark, answer)
	})
}

// keepCall records a call beside a session, which is created if it is a keeper
// of calls that have none.
func (st *Store) keepCall(ctx context.Context, id string, mark *callMark, answer *Answer) error {
	for {
		_, err := st.compareAndSet(ctx, id, change{mark: mark, answer: answer, apply: func(*Draft) error { return nil }})
		if !errors.Is(err, ErrNotFound) || !isKeeper(id) {
			return err
		}
		if err := st.createKeeper(ctx, id); err != nil {
			return err
		}
	}
}

// mark is what is kept of the call for certain, and its answer if that is small
// enough. It is the end of the call: nothing can be added afterwards.
func (c *NamedCall) mark() (*callMark, *Answer) {
	c.count(Chunk{c.Answer.Value, c.Answer.Attachments})
	m := &callMark{name: nameCall(c.ID), args: c.Digest, answerSize: c.size}
	c.sum.Sum(m.answerSum[:0])
	if m.answerSize > MaxAnswerSize {
		return m, nil
	}
	return m, &c.Answer
}

func (m *callMark) record(callID string) *CallRecord {
	r := &CallRecord{ID: callID, Closed: m.closed, At: time.UnixMilli(m.at), Digest: m.args, AnswerSize: m.answerSize}
	if !m.closed {
		r.AnswerSHA256 = hex.EncodeToString(m.answerSum[:])
	}
	return r
}

func checkCallID(id string) error { return text("call id", id, 1, MaxCallIDSize) }

// callOutcome finds out by its mark what became of the commit of a call whose
// outcome is unknown: see outcome. Every attempt at it has the same op.
func (st *Store) callOutcome(ctx context.Context, base *Session, name callName, op OpID) (made, known bool, err error) {
	now, mark, err := st.lookUp(ctx, base, name)
	if err != nil {
		return false, false, err
	}
	before, after := base.head(), now.head()
	if before.incarnation != after.incarnation {
		return false, false, nil
	}
	if mark != nil {
		return mark.op == op, true, nil
	}
	// It is not there; it was, and is forgotten, only if what came before it is.
	return false, decodeCallLog(after.calls).first <= decodeCallLog(before.calls).next, nil
}

var errAnotherCall = fmt.Errorf("%w: a call of this id", ErrAlreadyCommitted)
