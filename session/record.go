package session

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The payload of a head is a protobuf message. All times are wall clock, in
// milliseconds since 1970. A field that is zero or empty is absent.
//
//	 1  bytes   incarnation, 16 bytes
//	 2  varint  created
//	 3  varint  last accessed
//	 4  varint  time to live in milliseconds
//	 5  varint  deadline
//	 6  varint  absolute deadline
//	 7  message label {1 key, 2 value}, repeated, sorted by key
//	 8  message owner {1 node, 2 process, 3 epoch}
//	 9  varint  bytes of the keys and values of all variables
//	10  varint  number of programs
//	11  varint  bytes of all programs
//	12  varint  state version
//	13  varint  content version
//	14  varint  schema version of the record; absent is 1
//	15  bytes   operation ids of the last 16 writes, 16 bytes each, oldest first
//	16  bytes   worker hint
//	17  message log of the calls that were given an id {1 first, 2 next, 3 first
//	            whose answer may be kept, 4 bytes, 5 time of the first, 6 time of
//	            the newest that was removed before its time}: see calllog.go
//
// Fields 32 to 47 are reserved for clocks. Unknown fields are kept when a
// record is rewritten.
const (
	headIncarnation  protowire.Number = 1
	headCreated      protowire.Number = 2
	headAccessed     protowire.Number = 3
	headTTL          protowire.Number = 4
	headDeadline     protowire.Number = 5
	headAbsolute     protowire.Number = 6
	headLabel        protowire.Number = 7
	headOwner        protowire.Number = 8
	headVarsBytes    protowire.Number = 9
	headPrograms     protowire.Number = 10
	headProgramBytes protowire.Number = 11
	headState        protowire.Number = 12
	headContent      protowire.Number = 13
	headSchema       protowire.Number = 14
	headRing         protowire.Number = 15
	headHint         protowire.Number = 16
	headCalls        protowire.Number = 17

	ownerNode    protowire.Number = 1
	ownerProcess protowire.Number = 2
	ownerEpoch   protowire.Number = 3

	pairKey   protowire.Number = 1
	pairValue protowire.Number = 2
)

const (
	schemaVersion = 1
	ringSize      = 16
	opSize        = len(OpID{})
)

// head is a decoded head. Its slices are parts of the encoded one.
type head struct {
	incarnation incarnation
	created     int64
	accessed    int64
	ttl         int64
	deadline    int64
	absolute    int64
	// labels and unknown are whole fields as they are stored.
	labels  []byte
	unknown []byte
	node    []byte
	process []byte
	epoch   uint64

	varsBytes    int64
	programs     int64
	programBytes int64

	state   uint64
	content uint64

	ring []byte
	hint []byte
	// calls is the encoded callLog.
	calls []byte
}

// decodeHead decodes the payload of a head. The error is a defect, or wraps
// ErrUnsupported.
func decodeHead(payload []byte) (h head, err error) {
	var labels, unknown gather
	f := fields{message: payload}
	for f.next() {
		want := protowire.VarintType
		switch f.number {
		case headIncarnation:
			want = protowire.BytesType
			if len(f.bytes) != len(h.incarnation) {
				return h, defect(fmt.Sprintf("incarnation of %d bytes", len(f.bytes)))
			}
			h.incarnation = incarnation(f.bytes)
		case headCreated:
			h.created, err = amount(&f, math.MaxInt64/4)
		case headAccessed:
			h.accessed, err = amount(&f, math.MaxInt64/4)
		case headTTL:
			h.ttl, err = amount(&f, MaxTTL.Milliseconds())
		case headDeadline:
			h.deadline, err = amount(&f, math.MaxInt64/4)
		case headAbsolute:
			h.absolute, err = amount(&f, math.MaxInt64/4)
		case headLabel:
			want = protowire.BytesType
			_, _, err = decodePair(f.bytes)
			labels.add(&f)
		case headOwner:
			want = protowire.BytesType
			err = h.decodeOwner(f.bytes)
		case headVarsBytes:
			h.varsBytes, err = amount(&f, math.MaxInt64)
		case headPrograms:
			h.programs, err = amount(&f, math.MaxInt32)
		case headProgramBytes:
			h.programBytes, err = amount(&f, math.MaxInt64)
		case headState:
			h.state = f.varint
		case headContent:
			h.content = f.varint
		case headSchema:
			if f.varint > schemaVersion {
				return h, fmt.Errorf("%w: schema version %d is unknown: written by a newer version of Snakepit",
					ErrUnsupported, f.varint)
			}
		case headRing:
			want = protowire.BytesType
			if len(f.bytes)%opSize != 0 || len(f.bytes) > ringSize*opSize {
				return h, defect(fmt.Sprintf("operation ids of %d bytes", len(f.bytes)))
			}
			h.ring = f.bytes
		case headHint:
			want = protowire.BytesType
			h.hint = f.bytes
		case headCalls:
			want = protowire.BytesType
			h.calls = f.bytes
		default:
			want = f.kind
			unknown.add(&f)
		}
		if err != nil {
			return h, err
		}
		if f.kind != want {
			return h, defect(fmt.Sprintf("field %d has another type", f.number))
		}
	}
	if f.err != nil {
		return h, f.err
	}
	if h.incarnation == (incarnation{}) {
		return h, defect("no incarnation")
	}
	h.labels, h.unknown = labels.raw, unknown.raw
	return h, nil
}

// amount is a varint that is at most limit.
func amount(f *fields, limit int64) (int64, error) {
	if f.varint > uint64(limit) {
		return 0, defect(fmt.Sprintf("field %d is out of range", f.number))
	}
	return int64(f.varint), nil
}

func (h *head) decodeOwner(b []byte) error {
	f := fields{message: b}
	for f.next() {
		switch f.number {
		case ownerNode:
			h.node = f.bytes
		case ownerProcess:
			h.process = f.bytes
		case ownerEpoch:
			h.epoch = f.varint
		}
	}
	return f.err
}

// append encodes h, with op, if it is not zero, as its newest operation.
func (h *head) append(dst []byte, op OpID) []byte {
	dst = appendBytes(dst, headIncarnation, h.incarnation[:])
	dst = appendVarint(dst, headCreated, uint64(h.created))
	dst = appendVarint(dst, headAccessed, uint64(h.accessed))
	dst = appendVarint(dst, headTTL, uint64(h.ttl))
	dst = appendVarint(dst, headDeadline, uint64(h.deadline))
	dst = appendVarint(dst, headAbsolute, uint64(h.absolute))
	dst = append(dst, h.labels...)
	if len(h.process) > 0 {
		size := sizeBytes(ownerNode, h.node) + sizeBytes(ownerProcess, h.process) + sizeVarint(ownerEpoch, h.epoch)
		dst = protowire.AppendTag(dst, headOwner, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(size))
		dst = appendBytes(dst, ownerNode, h.node)
		dst = appendBytes(dst, ownerProcess, h.process)
		dst = appendVarint(dst, ownerEpoch, h.epoch)
	}
	dst = appendVarint(dst, headVarsBytes, uint64(h.varsBytes))
	dst = appendVarint(dst, headPrograms, uint64(h.programs))
	dst = appendVarint(dst, headProgramBytes, uint64(h.programBytes))
	dst = appendVarint(dst, headState, h.state)
	dst = appendVarint(dst, headContent, h.content)
	ring := h.ring
	if op == (OpID{}) {
		dst = appendBytes(dst, headRing, ring)
	} else {
		if len(ring) == ringSize*opSize {
			ring = ring[opSize:]
		}
		dst = protowire.AppendTag(dst, headRing, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(len(ring)+opSize))
		dst = append(dst, ring...)
		dst = append(dst, op[:]...)
	}
	dst = appendBytes(dst, headHint, h.hint)
	dst = appendBytes(dst, headCalls, h.calls)
	return append(dst, h.unknown...)
}

// remembers says whether op is among the last writes.
func (h *head) remembers(op OpID) bool {
	for ring := h.ring; len(ring) > 0; ring = ring[opSize:] {
		if OpID(ring) == op {
			return true
		}
	}
	return false
}

// newest is the last write that is remembered.
func (h *head) newest() (op OpID) {
	if n := len(h.ring); n > 0 {
		copy(op[:], h.ring[n-opSize:])
	}
	return op
}

func (h *head) expired(now int64) bool { return h.deadline < now }

// use makes now the time of the last access of a session that is held until
// held. It says whether the deadline is later for that.
func (h *head) use(now, held int64) (moved bool) {
	h.accessed = now
	h.deadline = now + h.ttl + h.ttl/10
	if moved = held > h.deadline; moved {
		h.deadline = held
	}
	if h.absolute != 0 {
		h.deadline = min(h.deadline, h.absolute)
	}
	return moved
}

// touchDue says whether less than a full time to live is left, or less than to
// the end of its holds.
func (h *head) touchDue(now, held int64) bool {
	full := max(now+h.ttl, held)
	if h.absolute != 0 {
		full = min(full, h.absolute)
	}
	return h.deadline < full
}

func (h *head) labelMap() map[string]string {
	return pairMap(h.labels, headLabel)
}

func (h *head) setLabels(labels map[string]string) {
	h.labels = appendPairs(nil, headLabel, labels)
}
