package session

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// fields steps through the fields of a protobuf message.
type fields struct {
	message []byte
	// The current field is message[from:to], tag included.
	from, to int
	number   protowire.Number
	kind     protowire.Type
	// bytes is the value of a length-delimited field, varint that of a varint.
	bytes  []byte
	varint uint64
	// err says why there is no next field; nil at the end.
	err error
}

// next goes to the next field, if there is one.
func (f *fields) next() bool {
	f.from = f.to
	rest := f.message[f.from:]
	if len(rest) == 0 || f.err != nil {
		return false
	}
	var n, m int
	f.number, f.kind, n = consumeTag(rest)
	if n < 0 {
		f.err = defect("damaged field tag")
		return false
	}
	f.bytes, f.varint = nil, 0
	switch rest = rest[n:]; f.kind {
	case protowire.VarintType:
		f.varint, m = consumeVarint(rest)
	case protowire.BytesType:
		f.bytes, m = consumeBytes(rest)
	default:
		m = protowire.ConsumeFieldValue(f.number, f.kind, rest)
	}
	if m < 0 {
		f.err = defect(fmt.Sprintf("field %d is truncated", f.number))
		return false
	}
	f.to += n + m
	return true
}

// raw is the current field, tag included.
func (f *fields) raw() []byte { return f.message[f.from:f.to] }

// Records are decoded at every update, and most tags and lengths have one
// byte, so that case is not left to a call.

func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	if c := b[0]; c >= 1<<3 && c < 0x80 {
		return protowire.Number(c >> 3), protowire.Type(c & 7), 1
	}
	return protowire.ConsumeTag(b)
}

func consumeVarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}

func consumeBytes(b []byte) ([]byte, int) {
	if len(b) > 0 && b[0] < 0x80 && len(b) > int(b[0]) {
		n := 1 + int(b[0])
		return b[1:n:n], n
	}
	return protowire.ConsumeBytes(b)
}

// gather collects fields that are kept as they are. Adjacent fields, the usual
// case, are not copied.
type gather struct {
	raw        []byte
	start, end int
}

func (g *gather) add(f *fields) {
	switch {
	case g.raw == nil:
		g.start, g.end = f.from, f.to
		g.raw = f.message[f.from:f.to:f.to]
	case g.end == f.from:
		g.end = f.to
		g.raw = f.message[g.start:f.to:f.to]
	default:
		g.end = -1
		g.raw = append(g.raw, f.raw()...)
	}
}

func appendVarint(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

func appendBytes[T ~[]byte | ~string](dst []byte, num protowire.Number, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func sizeVarint(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

func sizeBytes[T ~[]byte | ~string](num protowire.Number, v T) int {
	if len(v) == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(v))
}

// appendPair appends a field that holds a key and a value.
func appendPair[T ~[]byte | ~string](dst []byte, num protowire.Number, key string, value T) []byte {
	size := sizeBytes(pairKey, key) + sizeBytes(pairValue, value)
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendBytes(dst, pairKey, key)
	return appendBytes(dst, pairValue, value)
}

func decodePair(b []byte) (key, value []byte, err error) {
	if key, value, ok := decodeShortPair(b); ok {
		return key, value, nil
	}
	f := fields{message: b}
	for f.next() {
		switch f.number {
		case pairKey:
			key = f.bytes
		case pairValue:
			value = f.bytes
		}
	}
	if f.err == nil && len(key) == 0 {
		f.err = defect("entry without a key")
	}
	return key, value, f.err
}

// decodeShortPair decodes what appendPair writes for short keys and values: the
// usual case, and the innermost loop of every update.
func decodeShortPair(b []byte) (key, value []byte, ok bool) {
	const keyTag, valueTag = byte(pairKey)<<3 | byte(protowire.BytesType), byte(pairValue)<<3 | byte(protowire.BytesType)
	if len(b) < 5 || b[0] != keyTag || b[1] == 0 || b[1] >= 0x80 {
		return nil, nil, false
	}
	at := 2 + int(b[1]) // where the value's field begins
	if len(b) < at+2 || b[at] != valueTag || b[at+1] >= 0x80 || len(b) != at+2+int(b[at+1]) {
		return nil, nil, false
	}
	return b[2:at:at], b[at+2:], true
}

// appendPairs appends m as fields of that number, sorted by key so that equal
// content has equal bytes.
func appendPairs(dst []byte, num protowire.Number, m map[string]string) []byte {
	for _, key := range sortedKeys(m) {
		dst = appendPair(dst, num, key, m[key])
	}
	return dst
}

// pairs calls yield for each pair of that number in a message that has been
// checked, until it returns false.
func pairs(message []byte, num protowire.Number, yield func(key, value []byte) bool) {
	for f := (fields{message: message}); f.next(); {
		if f.number != num {
			continue
		}
		key, value, err := decodePair(f.bytes)
		if err != nil || !yield(key, value) {
			return
		}
	}
}

func pairMap(message []byte, num protowire.Number) map[string]string {
	var m map[string]string
	pairs(message, num, func(key, value []byte) bool {
		if m == nil {
			m = make(map[string]string)
		}
		m[string(key)] = string(value)
		return true
	})
	return m
}

func findPair(message []byte, num protowire.Number, want string) (found []byte, ok bool) {
	pairs(message, num, func(key, value []byte) bool {
		if string(key) != want {
			return true
		}
		found, ok = value, true
		return false
	})
	return found, ok
}
