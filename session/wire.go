package session

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// field is one field of a protobuf message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	// raw is the whole field, tag included.
	raw []byte
	// bytes is the value of a length-delimited field, varint that of a varint.
	bytes  []byte
	varint uint64
}

// nextField splits off the first field of b, which is not empty.
func nextField(b []byte) (f field, rest []byte, err error) {
	num, kind, n := consumeTag(b)
	if n < 0 {
		return f, nil, defect("damaged field tag")
	}
	f.number, f.kind = num, kind
	var m int
	switch kind {
	case protowire.VarintType:
		f.varint, m = consumeVarint(b[n:])
	case protowire.BytesType:
		f.bytes, m = consumeBytes(b[n:])
	default:
		m = protowire.ConsumeFieldValue(num, kind, b[n:])
	}
	if m < 0 {
		return f, nil, defect(fmt.Sprintf("field %d is truncated", num))
	}
	f.raw = b[:n+m]
	return f, b[n+m:], nil
}

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

func (g *gather) add(message []byte, from, to int) {
	switch {
	case g.raw == nil:
		g.start, g.end = from, to
		g.raw = message[from:to:to]
	case g.end == from:
		g.end = to
		g.raw = message[g.start:to:to]
	default:
		g.end = -1
		g.raw = append(g.raw, message[from:to]...)
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
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return nil, nil, err
		}
		switch f.number {
		case pairKey:
			key = f.bytes
		case pairValue:
			value = f.bytes
		}
		b = rest
	}
	if len(key) == 0 {
		return nil, nil, defect("entry without a key")
	}
	return key, value, nil
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
	for rest := message; len(rest) > 0; {
		var f field
		var err error
		if f, rest, err = nextField(rest); err != nil {
			return
		}
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
