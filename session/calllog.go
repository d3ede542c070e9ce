package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/snakepit-go/snakepit/session/driver"
)

// What is kept of calls that were given an id stands in items beside the
// record, under the session's incarnation, so that those of an earlier session
// of the same id are nobody's:
//
//	call/<incarnation>/id/<hash of the id>  the mark: that there was such a call
//	call/<incarnation>/log/<number>         the log: its answer, in the order of
//	                                        commits
//
// Both are written in the batch of the commit, which requires the absence of
// the mark. The head knows where the log begins and ends, so that the oldest
// entries are found without looking at the others.
//
// When the items take more room than they may, answers go first, the oldest
// before the newer ones, and ids only when there are none left: an id costs
// some 375 bytes, and what it promises is more. The payloads are
// protobuf messages:
//
//	mark  1 hash of the id, 2 operation id, 3 digest of tool and arguments,
//	      4 time, 5 number in the log, 6 closed, 7 size of the answer,
//	      8 SHA-256 of the answer
//	log   1 hash of the id, 2 time, 3 size of the mark's item, 4 value,
//	      5 attachment, repeated, 6 worker, 7 there is an answer, 8 chunk
//	      {4 value, 5 attachment, repeated}, repeated, 9 variable that was
//	      overwritten, repeated
const (
	callPrefix = "call/"
	// callPart names them in errors.
	callPart = "record of a call"

	markName   protowire.Number = 1
	markOp     protowire.Number = 2
	markArgs   protowire.Number = 3
	markAt     protowire.Number = 4
	markSeq    protowire.Number = 5
	markClosed protowire.Number = 6
	markSize   protowire.Number = 7
	markSum    protowire.Number = 8

	logName       protowire.Number = 1
	logAt         protowire.Number = 2
	logMarkSize   protowire.Number = 3
	logValue      protowire.Number = 4
	logAttachment protowire.Number = 5
	logWorker     protowire.Number = 6
	logAnswered   protowire.Number = 7
	logChunk      protowire.Number = 8
	logOverwrite  protowire.Number = 9
)

const (
	// smallAnswer is not worth being removed apart from its id.
	smallAnswer = 256
	// maxForget bounds the entries that one write looks at to make room. Each
	// write adds one entry, so that it is rarely more than two.
	maxForget = 128
	// callOverhead is what the names of an entry's items take.
	callOverhead = 160
)

// callName is the hash of a call's id: ids can be of any text, keys cannot.
type callName [16]byte

func nameCall(id string) callName {
	sum := sha256.Sum256([]byte(id))
	return callName(sum[:len(callName{})])
}

// callItems names the items of an incarnation.
type callItems incarnation

func (i callItems) prefix() string { return callPrefix + hex.EncodeToString(i[:]) + "/" }

func (i callItems) mark(name callName) string {
	return i.prefix() + "id/" + hex.EncodeToString(name[:])
}

func (i callItems) log(seq uint64) string { return i.prefix() + fmt.Sprintf("log/%016x", seq) }

// callItemOf is the incarnation of a call's item, in hex.
func callItemOf(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, callPrefix)
	inc, _, found := strings.Cut(rest, "/")
	return inc, ok && found
}

// callLog is what the head says of the log.
type callLog struct {
	// first is the number of the oldest entry, next that of the next one, bare
	// the first one whose answer may have to be removed.
	first, next, bare uint64
	// size is the bytes of all items.
	size int64
	// oldest is the time of the first entry; lost that of the newest one that
	// was removed before its time.
	oldest, lost int64
}

func decodeCallLog(message []byte) (l callLog) {
	for f := (fields{message: message}); f.next(); {
		switch f.number {
		case 1:
			l.first = f.varint
		case 2:
			l.next = f.varint
		case 3:
			l.bare = f.varint
		case 4:
			l.size = int64(f.varint)
		case 5:
			l.oldest = int64(f.varint)
		case 6:
			l.lost = int64(f.varint)
		}
	}
	return l
}

func (l *callLog) encode() []byte {
	b := appendVarint(nil, 1, l.first)
	b = appendVarint(b, 2, l.next)
	b = appendVarint(b, 3, l.bare)
	b = appendVarint(b, 4, uint64(max(l.size, 0)))
	b = appendVarint(b, 5, uint64(l.oldest))
	return appendVarint(b, 6, uint64(l.lost))
}

// callMark says that there was a call of an id.
type callMark struct {
	name       callName
	op         OpID
	args       [32]byte
	at         int64
	seq        uint64
	closed     bool
	answerSize int64
	answerSum  [32]byte
}

func (m *callMark) append(dst []byte) []byte {
	dst = appendBytes(dst, markName, m.name[:])
	dst = appendBytes(dst, markOp, m.op[:])
	dst = appendVarint(dst, markAt, uint64(m.at))
	dst = appendVarint(dst, markSeq, m.seq)
	if m.closed {
		return appendVarint(dst, markClosed, 1)
	}
	dst = appendBytes(dst, markArgs, m.args[:])
	dst = appendVarint(dst, markSize, uint64(m.answerSize))
	return appendBytes(dst, markSum, m.answerSum[:])
}

func decodeMark(payload []byte) (*callMark, error) {
	m := new(callMark)
	f := fields{message: payload}
	for f.next() {
		switch f.number {
		case markName:
			copy(m.name[:], f.bytes)
		case markOp:
			copy(m.op[:], f.bytes)
		case markArgs:
			copy(m.args[:], f.bytes)
		case markAt:
			m.at = int64(f.varint)
		case markSeq:
			m.seq = f.varint
		case markClosed:
			m.closed = f.varint != 0
		case markSize:
			m.answerSize = int64(f.varint)
		case markSum:
			copy(m.answerSum[:], f.bytes)
		}
	}
	return m, f.err
}

// logEntry is an entry of the log.
type logEntry struct {
	name     callName
	at       int64
	markSize int64
	answer   *Answer // nil if it is not kept
	size     int64   // of the item
}

func (e *logEntry) append(dst []byte) []byte {
	dst = appendBytes(dst, logName, e.name[:])
	dst = appendVarint(dst, logAt, uint64(e.at))
	dst = appendVarint(dst, logMarkSize, uint64(e.markSize))
	if e.answer == nil {
		return dst
	}
	dst = appendVarint(dst, logAnswered, 1)
	for _, c := range e.answer.Chunks {
		dst = protowire.AppendTag(dst, logChunk, protowire.BytesType)
		dst = protowire.AppendBytes(dst, c.append(nil))
	}
	dst = (&Chunk{e.answer.Value, e.answer.Attachments}).append(dst)
	for _, key := range e.answer.Overwritten {
		dst = appendBytes(dst, logOverwrite, key)
	}
	return appendBytes(dst, logWorker, e.answer.Worker)
}

func (c *Chunk) append(dst []byte) []byte {
	dst = appendBytes(dst, logValue, c.Value)
	for _, part := range c.Attachments {
		dst = protowire.AppendTag(dst, logAttachment, protowire.BytesType)
		dst = protowire.AppendBytes(dst, part) // empty ones count, too
	}
	return dst
}

// decode takes a field of a chunk, or of an answer.
func (c *Chunk) decode(f *fields) {
	switch f.number {
	case logValue:
		c.Value = bytes.Clone(f.bytes)
	case logAttachment:
		c.Attachments = append(c.Attachments, bytes.Clone(f.bytes))
	}
}

func decodeLogEntry(payload []byte) (*logEntry, error) {
	e := &logEntry{size: int64(envelopeSize + len(payload))}
	var answer Answer
	var whole Chunk
	f := fields{message: payload}
	for f.next() {
		switch f.number {
		case logName:
			copy(e.name[:], f.bytes)
		case logAt:
			e.at = int64(f.varint)
		case logMarkSize:
			e.markSize = int64(f.varint)
		case logChunk:
			var c Chunk
			part := fields{message: f.bytes}
			for part.next() {
				c.decode(&part)
			}
			if part.err != nil {
				return nil, part.err
			}
			answer.Chunks = append(answer.Chunks, c)
		case logWorker:
			answer.Worker = string(f.bytes)
		case logOverwrite:
			answer.Overwritten = append(answer.Overwritten, string(f.bytes))
		case logAnswered:
			e.answer = &answer
		default:
			whole.decode(&f)
		}
	}
	answer.Value, answer.Attachments = whole.Value, whole.Attachments
	return e, f.err
}

// logEntry reads an entry of the log.
func (st *Store) logEntry(ctx context.Context, id string, inc incarnation, seq uint64) (*logEntry, error) {
	payload, err := st.item(ctx, id, callPart, codecProtobuf, callItems(inc).log(seq))
	if err != nil {
		return nil, err
	}
	e, err := decodeLogEntry(payload)
	if err != nil {
		return nil, damaged(id, callPart, err)
	}
	return e, nil
}

// enterCall adds a call to the draft of its commit, which then requires that
// there is none of that id yet, and makes room for it. It comes before what
// else the draft removes: what has no place in the batch is swept.
func (st *Store) enterCall(ctx context.Context, d *Draft, mark *callMark, answer *Answer) error {
	now := time.Now().UnixMilli()
	w := st.rewriteLog(ctx, d)
	w.enters, mark.at, mark.seq = mark, now, w.next
	items := callItems(d.head.incarnation)
	session := bind(d.id)
	item := func(key string, encode func([]byte) []byte) driver.Item {
		b := encode(appendEnvelope(nil, codecProtobuf))
		sealEnvelope(b, session.item(key))
		return driver.Item{Key: key, Data: b}
	}
	markItem := item(items.mark(mark.name), mark.append)
	e := &logEntry{name: mark.name, at: now, markSize: int64(len(markItem.Data)), answer: answer}
	logItem := item(items.log(mark.seq), e.append)
	w.size += callOverhead + e.markSize + int64(len(logItem.Data))
	if err := w.forgetOld(now); err != nil {
		return err
	}
	if err := w.makeRoom(); err != nil {
		return err
	}
	if answer != nil && len(logItem.Data) > smallAnswer && (w.size > int64(st.opts.MaxCallBytes) || len(logItem.Data) > st.info.Limits.Item) {
		w.size -= int64(len(logItem.Data))
		e.answer = nil
		logItem = item(items.log(mark.seq), e.append)
		w.size += int64(len(logItem.Data))
	}
	if w.first == w.next {
		w.oldest = now
	}
	w.next++
	w.done()
	d.batch.Put = append(d.batch.Put, markItem, logItem)
	d.batch.Absent = append(d.batch.Absent, markItem.Key)
	return nil
}

// logRewrite removes from the log of a draft.
type logRewrite struct {
	callLog
	st    *Store
	ctx   context.Context
	d     *Draft
	items callItems
	// enters, if not nil, is the mark of the call for which there is to be room.
	enters *callMark
	// looked counts the entries that were read, of which there may be most.
	looked, most int
	// stripped has the new size of each entry that loses its answer.
	stripped map[uint64]int64
}

func (st *Store) rewriteLog(ctx context.Context, d *Draft) *logRewrite {
	return &logRewrite{
		callLog: decodeCallLog(d.head.calls),
		st:      st, ctx: ctx, d: d,
		items:    callItems(d.head.incarnation),
		most:     min(maxForget, st.info.Limits.BatchItems/4), // an entry has two items
		stripped: make(map[uint64]int64),
	}
}

func (w *logRewrite) done() {
	w.d.head.calls = w.encode()
	w.d.rewrite = true
}

// entry reads an entry, nil if it is damaged or missing: it is removed without
// being known, and its mark, if there is one, stays until the session ends.
func (w *logRewrite) entry(seq uint64) (*logEntry, error) {
	w.looked++
	e, err := w.st.logEntry(w.ctx, w.d.id, w.d.head.incarnation, seq)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return nil, nil
	}
	return e, err
}

// forgetOld removes what is older than the retention.
func (w *logRewrite) forgetOld(now int64) error {
	limit := now - w.st.opts.CallRetention.Milliseconds()
	for w.first < w.next && w.oldest < limit && w.looked < w.most {
		e, err := w.entry(w.first)
		if err != nil {
			return err
		}
		if e != nil && e.at >= limit {
			w.oldest = e.at
			return nil
		}
		if err := w.forget(e); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom removes answers, the oldest first, and ids when there are no
// answers left, until the log is within its bound.
func (w *logRewrite) makeRoom() error {
	limit := int64(w.st.opts.MaxCallBytes)
	for w.size > limit && w.first < w.next && w.looked < w.most {
		w.bare = max(w.bare, w.first)
		if w.bare < w.next {
			e, err := w.entry(w.bare)
			if err != nil {
				return err
			}
			if e != nil && e.answer != nil && e.size > smallAnswer {
				w.strip(e)
			}
			w.bare++
			continue
		}
		e, err := w.entry(w.first)
		if err != nil {
			return err
		}
		if e != nil {
			w.lost = max(w.lost, e.at)
			w.oldest = e.at // the next one is not older
		}
		if err := w.forget(e); err != nil {
			return err
		}
	}
	return nil
}

// strip removes the answer of the entry at bare.
func (w *logRewrite) strip(e *logEntry) {
	key := w.items.log(w.bare)
	short := *e
	short.answer = nil
	b := short.append(appendEnvelope(nil, codecProtobuf))
	sealEnvelope(b, bind(w.d.id).item(key))
	w.d.batch.Put = append(w.d.batch.Put, driver.Item{Key: key, Data: b})
	w.size -= e.size - int64(len(b))
	w.stripped[w.bare] = int64(len(b))
}

// forget removes the first entry.
func (w *logRewrite) forget(e *logEntry) error {
	if e != nil && w.enters != nil && e.name == w.enters.name {
		return errAnotherCall // it is old, and as long as it is there it counts
	}
	key := w.items.log(w.first)
	w.d.batch.Drop = append(w.d.batch.Drop, key)
	if e != nil {
		size := e.size
		if now, ok := w.stripped[w.first]; ok {
			size = now
			w.d.batch.Put = slices.DeleteFunc(w.d.batch.Put, func(item driver.Item) bool { return item.Key == key })
		}
		w.d.batch.Drop = append(w.d.batch.Drop, w.items.mark(e.name))
		w.size -= callOverhead + e.markSize + size
	}
	w.first++
	return nil
}

// forgetOldCalls removes what is older than the retention from a session that
// is not used for it.
func (st *Store) forgetOldCalls(ctx context.Context, id string) error {
	_, err := st.compareAndSet(ctx, id, change{unrecorded: true, apply: func(d *Draft) error {
		d.unused = true
		w := st.rewriteLog(ctx, d)
		if err := w.forgetOld(time.Now().UnixMilli()); err != nil {
			return err
		}
		if w.looked > 0 {
			w.done()
		}
		return nil
	}})
	return err
}

// oldCalls says whether there is something for forgetOldCalls to do.
func (st *Store) oldCalls(s *Session, now int64) bool {
	h := s.head()
	if len(h.calls) == 0 {
		return false
	}
	log := decodeCallLog(h.calls)
	return log.first < log.next && log.oldest < now-st.opts.CallRetention.Milliseconds()
}

// callItemKeys lists the items of a session's calls, at most as many as one
// batch may drop; the sweeper removes the others.
func (st *Store) callItemKeys(ctx context.Context, s *Session) ([]string, error) {
	h := s.head()
	if len(h.calls) == 0 {
		return nil, nil
	}
	prefix := callItems(h.incarnation).prefix()
	var keys []string
	after := driver.ItemRef{ID: s.ID(), Key: prefix}
	for {
		infos, err := st.items(ctx, after)
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			if info.ID != s.ID() || !strings.HasPrefix(info.Key, prefix) || len(keys) == st.info.Limits.BatchItems {
				return keys, nil
			}
			keys = append(keys, info.Key)
			after = info.ItemRef
		}
		if len(infos) == 0 {
			return keys, nil
		}
	}
}
