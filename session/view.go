package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Session is one state of one session: an immutable view of the bytes the
// driver gave, decoded only as far as it is asked. It is safe for concurrent
// use and shared between callers.
//
// Views that come from List and All hold the head only: they have no
// variables, metadata and programs.
type Session struct {
	rec *driver.Record
	// What every read needs is decoded once; the struct is small because a
	// driver that keeps records in memory keeps their views as well.
	deadline int64
	ttl      int64
	// vars finds variables by key. It is made when it pays.
	vars atomic.Pointer[map[string]json.RawMessage]
}

// viewOf returns the view of a record, which it verifies unless that was done
// before.
func viewOf(rec *driver.Record) (*Session, error) {
	if s, ok := rec.Memo.Load().(*Session); ok {
		return s, nil
	}
	if rec.Body == nil {
		return nil, damaged(rec.ID, "body", defect("there is none"))
	}
	return makeView(rec)
}

// headOf is viewOf for records of a listing, which have no body.
func headOf(rec *driver.Record) (*Session, error) {
	if s, ok := rec.Memo.Load().(*Session); ok {
		return s, nil
	}
	return makeView(rec)
}

func makeView(rec *driver.Record) (*Session, error) {
	session := bind(rec.ID)
	payload, err := openEnvelope(rec.Head, codecProtobuf, session.head())
	if err != nil {
		return nil, damaged(rec.ID, "head", err)
	}
	h, err := decodeHead(payload)
	if err != nil {
		return nil, damaged(rec.ID, "head", err)
	}
	if rec.Body != nil {
		payload, err := openEnvelope(rec.Body, codecProtobuf, session.body(&h))
		if err == nil {
			err = checkBody(payload)
		}
		if err != nil {
			return nil, damaged(rec.ID, "body", err)
		}
	}
	s := &Session{rec: rec, deadline: h.deadline, ttl: h.ttl}
	rec.Memo.Store(s)
	return s, nil
}

// damaged gives a defect its session; other errors say why a sound record
// cannot be read.
func damaged(id, part string, err error) error {
	if d, ok := errors.AsType[defect](err); ok {
		return &CorruptError{ID: id, Part: part, Reason: string(d)}
	}
	return fmt.Errorf("read %s: %w", part, err)
}

// head decodes the head, which viewOf has checked.
func (s *Session) head() head {
	h, _ := decodeHead(s.rec.Head[envelopeSize:])
	return h
}

// body is the payload of the body, which viewOf has checked.
func (s *Session) body() []byte {
	if s.rec.Body == nil {
		return nil
	}
	return s.rec.Body[envelopeSize:]
}

func (s *Session) expired(now int64) bool { return s.deadline < now }

// ID returns the session's id.
func (s *Session) ID() string { return s.rec.ID }

// Incarnation tells this session from all others, also from earlier and later
// ones of the same id: 32 hex digits.
func (s *Session) Incarnation() string { return s.head().incarnation.String() }

// Revision identifies the content. It changes with every change of variables,
// programs, labels, metadata and time to live, but not when the session is
// read or changes its owner. Only equality means anything.
func (s *Session) Revision() string {
	h := s.head()
	return h.revision()
}

func (h *head) revision() string {
	return h.incarnation.String() + "-" + strconv.FormatUint(h.content, 10)
}

// StateVersion advances whenever variables or programs change.
func (s *Session) StateVersion() uint64 { return s.head().state }

// Position is a token for WithPosition: a read with it includes this state,
// on whatever node it is made.
func (s *Session) Position() string {
	return strconv.FormatUint(uint64(s.rec.Revision), positionBase)
}

// Created is when the session was created.
func (s *Session) Created() time.Time { return time.UnixMilli(s.head().created) }

// LastAccessed is when the session was last used, as far as it was written
// down: reading writes only about once in a tenth of the time to live.
func (s *Session) LastAccessed() time.Time { return time.UnixMilli(s.head().accessed) }

// TTL is how long the session lives without being used, at least.
func (s *Session) TTL() time.Duration { return time.Duration(s.ttl) * time.Millisecond }

// Deadline is when the session expires unless it is used.
func (s *Session) Deadline() time.Time { return time.UnixMilli(s.deadline) }

// AbsoluteDeadline is when the session expires even if it is used.
func (s *Session) AbsoluteDeadline() (t time.Time, ok bool) {
	ms := s.head().absolute
	return time.UnixMilli(ms), ms != 0
}

// Labels returns a copy of the labels, or nil if there are none.
func (s *Session) Labels() map[string]string { return pairMap(s.head().labels, headLabel) }

// Label returns one label.
func (s *Session) Label(key string) (value string, ok bool) {
	v, ok := findPair(s.head().labels, headLabel, key)
	return string(v), ok
}

// Metadata returns a copy of the metadata, or nil if there is none.
func (s *Session) Metadata() map[string]string { return pairMap(s.body(), bodyMetadata) }

// Vars returns all variables as a JSON object, in the order in which they were
// first set, or nil if the view holds the head only.
func (s *Session) Vars() json.RawMessage {
	if s.rec.Body == nil {
		return nil
	}
	body := s.body()
	object := append(make([]byte, 0, len(body)+16), '{')
	pairs(body, bodyVar, func(key, value []byte) bool {
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = append(appendJSONString(object, key), ':')
		object = append(object, value...)
		return true
	})
	return append(object, '}')
}

// appendJSONString quotes a key, which is valid UTF-8.
func appendJSONString(dst, key []byte) []byte {
	for _, c := range key {
		if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(string(key))
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"')
}

// DecodeVar decodes one variable into what v points to, as encoding/json does,
// and reports whether there is one.
func (s *Session) DecodeVar(key string, v any) (ok bool, err error) {
	text, ok := s.Var(key)
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return true, fmt.Errorf("decode variable %q of session %q: %w", key, s.ID(), err)
	}
	return true, nil
}

// Var returns the JSON text of one variable. It is shared and must not be
// modified.
func (s *Session) Var(key string) (value json.RawMessage, ok bool) {
	if index := s.vars.Load(); index != nil {
		value, ok = (*index)[key]
		return value, ok
	}
	seen := 0
	pairs(s.body(), bodyVar, func(k, v []byte) bool {
		seen++
		if string(k) == key {
			value, ok = slices.Clip(v), true
		}
		return !ok
	})
	if seen >= indexFrom {
		s.indexVars()
	}
	return value, ok
}

func (s *Session) indexVars() {
	index := make(map[string]json.RawMessage)
	pairs(s.body(), bodyVar, func(k, v []byte) bool {
		index[string(k)] = slices.Clip(v)
		return true
	})
	s.vars.Store(&index)
}

// VarKeys returns the keys of all variables in the order in which they were
// first set.
func (s *Session) VarKeys() []string {
	var keys []string
	pairs(s.body(), bodyVar, func(k, _ []byte) bool {
		keys = append(keys, string(k))
		return true
	})
	return keys
}

// Programs returns the programs, sorted by name.
func (s *Session) Programs() []Program { return programsOf(s.body()) }

// Program returns one program.
func (s *Session) Program(name string) (Program, bool) {
	for _, p := range s.Programs() {
		if p.Name == name {
			return p, true
		}
	}
	return Program{}, false
}

// Owner returns the process that may run calls in the session, if any has
// claimed it.
func (s *Session) Owner() (Owner, bool) {
	h := s.head()
	return h.owner(), len(h.process) > 0
}

func (h *head) owner() Owner {
	return Owner{Node: string(h.node), Process: string(h.process), Epoch: h.epoch}
}

// Fence is what a commit of a call that starts now must match.
func (s *Session) Fence() Fence {
	h := s.head()
	return Fence{Incarnation: h.incarnation.String(), Epoch: h.epoch}
}

// WorkerHint is the worker that served the last commit.
func (s *Session) WorkerHint() string { return string(s.head().hint) }

// Size says how much a session holds.
type Size struct {
	// VarsBytes is the sum of the keys and JSON texts of all variables.
	VarsBytes int64
	Programs  int
	// ProgramBytes is the sum of the sizes of all programs.
	ProgramBytes int64
}

// Size says how much the session holds. Views of heads know it, too.
func (s *Session) Size() Size {
	h := s.head()
	return h.size()
}

func (h *head) size() Size {
	return Size{VarsBytes: h.varsBytes, Programs: int(h.programs), ProgramBytes: h.programBytes}
}

// HasOperation says whether op is among the last 16 writes of the session.
func (s *Session) HasOperation(op OpID) bool {
	h := s.head()
	return h.remembers(op)
}
