package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/snakepit-go/snakepit/internal/jsontext"
	"github.com/snakepit-go/snakepit/session/driver"
)

// Draft is a session while it is changed. It starts as the stored session and
// collects changes; the stored one is not affected until the function that got
// the draft has returned. It belongs to that function and must not be kept.
//
// Setters without a result note what is wrong, and the update fails with it.
type Draft struct {
	base *Session // nil while a session is created
	// before is the size of what the draft replaces.
	before Size
	id     string
	head   head
	body   bodyChange
	// labels, if not nil, replace all labels.
	labels map[string]string
	// settings says that the time to live or the absolute deadline was set.
	settings bool
	// state says that variables or programs count as changed.
	state bool
	// rewrite asks for a write even if no content has changed.
	rewrite bool
	// unused says that the write is no use of the session.
	unused bool
	err    error
	// hold, if not nil, is about to end and does not count; heldUntil is when
	// the last of the others ends, and moved that the deadline is later for it.
	hold      *Hold
	heldUntil int64
	moved     bool

	// Most drafts change one variable. Its edit and the batch are kept here,
	// so that one allocation serves for all three.
	edit  [1]edit[json.RawMessage]
	batch driver.Batch
}

func newDraft(base *Session) *Draft {
	d := &Draft{base: base, id: base.ID()}
	d.head, _ = decodeHead(base.rec.Head[envelopeSize:]) // checked by viewOf
	d.before = d.head.size()
	d.body.vars.list = d.edit[:0]
	return d
}

func (d *Draft) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// ID returns the session's id.
func (d *Draft) ID() string { return d.id }

// Base returns the session as it was before the draft.
func (d *Draft) Base() *Session { return d.base }

// Var returns the JSON text of a variable. It must not be modified.
func (d *Draft) Var(key string) (json.RawMessage, bool) {
	if e := d.body.vars.find(key); e != nil {
		return e.value, !e.removed
	}
	return d.baseVar(key)
}

func (d *Draft) baseVar(key string) (json.RawMessage, bool) {
	if d.base == nil {
		return nil, false
	}
	return d.base.Var(key)
}

// SetVar sets a variable to the JSON encoding of value. If it fails, the draft
// is unchanged.
func (d *Draft) SetVar(key string, value any) error {
	switch v := value.(type) {
	case json.RawMessage:
		return d.SetVarJSON(key, v)
	case *json.RawMessage:
		if v != nil {
			return d.SetVarJSON(key, *v)
		}
	}
	if err := checkKey(key); err != nil {
		return err
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return &InvalidError{fmt.Sprintf("variable %q", key), "cannot be encoded as JSON: " + err.Error()}
	}
	if _, err := jsontext.Check(encoded); err != nil {
		return invalidVar(key, err)
	}
	d.body.vars.put(key, encoded, false)
	return nil
}

// SetVarJSON sets a variable to a JSON text, which is compacted and must not be
// modified until the update has ended. If it fails, the draft is unchanged.
func (d *Draft) SetVarJSON(key string, value json.RawMessage) error {
	if err := checkKey(key); err != nil {
		return err
	}
	compact, err := compactJSON(key, value)
	if err != nil {
		return err
	}
	d.body.vars.put(key, compact, false)
	return nil
}

// UnsetVar removes a variable.
func (d *Draft) UnsetVar(key string) { d.body.vars.put(key, nil, true) }

// Label returns a label.
func (d *Draft) Label(key string) (string, bool) {
	if d.labels != nil {
		value, ok := d.labels[key]
		return value, ok
	}
	value, ok := findPair(d.head.labels, headLabel, key)
	return string(value), ok
}

// SetLabel sets a label.
func (d *Draft) SetLabel(key, value string) {
	d.editLabels()
	d.labels[key] = value
}

// UnsetLabel removes a label.
func (d *Draft) UnsetLabel(key string) {
	d.editLabels()
	delete(d.labels, key)
}

func (d *Draft) editLabels() {
	if d.labels == nil {
		d.replaceLabels(d.head.labelMap())
	}
}

// replaceLabels replaces all labels by a map that becomes the draft's.
func (d *Draft) replaceLabels(labels map[string]string) {
	if labels == nil {
		labels = make(map[string]string)
	}
	d.labels = labels
}

// Metadata returns an entry of the metadata.
func (d *Draft) Metadata(key string) (string, bool) {
	if d.body.metadata != nil {
		value, ok := d.body.metadata[key]
		return value, ok
	}
	value, ok := findPair(d.baseBody(), bodyMetadata, key)
	return string(value), ok
}

// SetMetadata sets an entry of the metadata.
func (d *Draft) SetMetadata(key, value string) {
	d.editMetadata()
	d.body.metadata[key] = value
}

// UnsetMetadata removes an entry of the metadata.
func (d *Draft) UnsetMetadata(key string) {
	d.editMetadata()
	delete(d.body.metadata, key)
}

func (d *Draft) editMetadata() {
	if d.body.metadata == nil {
		d.replaceMetadata(pairMap(d.baseBody(), bodyMetadata))
	}
}

// replaceMetadata replaces all metadata by a map that becomes the draft's.
func (d *Draft) replaceMetadata(metadata map[string]string) {
	if metadata == nil {
		metadata = make(map[string]string)
	}
	d.body.metadata = metadata
}

// SetTTL sets the idle time to live, between 0 and 10 years.
func (d *Draft) SetTTL(ttl time.Duration) {
	ms, err := ttlMillis(ttl)
	if err != nil {
		d.fail(err)
		return
	}
	d.head.ttl, d.settings = ms, true
}

// SetAbsoluteDeadline sets when the session expires even if it is used; the
// zero time removes that deadline.
func (d *Draft) SetAbsoluteDeadline(t time.Time) {
	ms, err := absoluteMillis(t, time.Now().UnixMilli())
	if err != nil {
		d.fail(err)
		return
	}
	d.head.absolute, d.settings = ms, true
}

func (d *Draft) baseBody() []byte {
	if d.base == nil {
		return nil
	}
	return d.base.body()
}

// putProgram enters a program into the table.
func (d *Draft) putProgram(p Program) {
	d.dropChunksOf(p.Name)
	d.body.programs.put(p.Name, p, false)
}

// dropProgram removes a program and says whether there was one.
func (d *Draft) dropProgram(name string) bool {
	if !d.dropChunksOf(name) {
		return false
	}
	d.body.programs.put(name, Program{}, true)
	return true
}

// dropChunksOf says whether the stored session has that program, whose items
// go when the record no longer names them.
func (d *Draft) dropChunksOf(name string) bool {
	if d.base == nil {
		return false
	}
	old, ok := d.base.Program(name)
	if ok && d.body.programs.find(name) == nil {
		d.batch.Drop = append(d.batch.Drop, old.items()...)
	}
	return ok
}

// settle reduces the draft to what differs from its base, and checks it. It
// says whether there is anything to write.
func (d *Draft) settle() (bool, error) {
	if d.err != nil {
		return false, d.err
	}
	d.body.vars.keep(func(e *edit[json.RawMessage]) bool {
		old, had := d.baseVar(e.key)
		return had == e.removed || had && !bytes.Equal(old, e.value)
	})
	if d.settings {
		base := d.base.head()
		d.settings = d.head.ttl != base.ttl || d.head.absolute != base.absolute
	}
	if d.labels != nil {
		if maps.Equal(d.labels, d.head.labelMap()) {
			d.labels = nil
		} else if err := checkLabels(d.labels); err != nil {
			return false, err
		}
	}
	if d.body.metadata != nil {
		if maps.Equal(d.body.metadata, pairMap(d.baseBody(), bodyMetadata)) {
			d.body.metadata = nil
		} else if err := checkMetadata(d.body.metadata); err != nil {
			return false, err
		}
	}
	return d.rewrite || d.changed(), nil
}

func (d *Draft) stateChanged() bool {
	return d.state || len(d.body.vars.list) > 0 || len(d.body.programs.list) > 0
}

func (d *Draft) changed() bool {
	return d.settings || d.labels != nil || d.body.metadata != nil || d.stateChanged()
}

// scratch holds buffers in which records are encoded before they are copied
// into one slice of their exact size: records may stay in memory for long.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch keeps single large records from occupying memory for ever.
const maxScratch = 1 << 20

// encode completes the draft as of now, with op as its newest operation unless
// that is zero, and returns the head and the body. The body is nil if the
// stored one stays.
func (d *Draft) encode(now int64, op OpID) (headBytes, bodyBytes []byte) {
	h := &d.head
	if !d.unused {
		d.moved = h.use(now, d.heldUntil)
	}
	newBody := d.base == nil || d.changed()
	if d.stateChanged() {
		h.state++
	}
	if newBody {
		h.content++
	}
	if d.labels != nil {
		h.setLabels(d.labels)
	}

	session := bind(d.id)
	buf := scratch.Get().(*[]byte)
	b := (*buf)[:0]
	if newBody {
		b = appendEnvelope(b, codecProtobuf)
		b = d.body.append(b, d.baseBody(), h)
		sealEnvelope(b, session.body(h))
	}
	split := len(b)
	b = appendEnvelope(b, codecProtobuf)
	b = h.append(b, op)
	sealEnvelope(b[split:], session.head())

	both := append(make([]byte, 0, len(b)), b...)
	headBytes = both[split:]
	if newBody {
		bodyBytes = both[:split:split]
	}
	if cap(b) <= maxScratch {
		*buf = b
		scratch.Put(buf)
	}
	return headBytes, bodyBytes
}

// seal encodes the draft into its batch, and returns the view of what it will
// have become: a driver that keeps records may take it over with the record.
func (d *Draft) seal(now int64, op OpID) *Session {
	b := &d.batch
	b.Op = op
	b.Head, b.Body = d.encode(now, op)
	both := &struct {
		view Session
		rec  driver.Record
	}{}
	s, rec := &both.view, &both.rec
	s.rec, s.deadline, s.ttl = rec, d.head.deadline, d.head.ttl
	rec.ID, rec.Head, rec.Body = d.id, b.Head, b.Body
	if rec.Body == nil {
		rec.Body = d.base.rec.Body
	}
	rec.Memo.Store(s)
	b.Record = rec
	return s
}
