package session

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Everything stored is wrapped in an envelope:
//
//	1 byte   version of the envelope, 1
//	1 byte   codec of the payload, 1 (protobuf, see record.go) or 0 (raw bytes)
//	1 byte   compression of the payload, 0 (none)
//	1 byte   length of the key id, 0 (not encrypted)
//	         key id
//	4 bytes  CRC-32C, little-endian
//	         payload
//
// The checksum covers what the part is bound to, then everything before it in
// the envelope, then the payload as stored. A part is bound to the session id
// and its kind; a body also to the incarnation and the content version of its
// head, an item to its key. So a part that was swapped with another session's,
// or a body that does not belong to its head, is noticed like a damaged one.
const (
	envelopeVersion = 1

	codecRaw      = 0
	codecProtobuf = 1

	compressionNone = 0

	// envelopeSize is the size of an envelope without key id and payload.
	envelopeSize = 8
)

// Kinds of parts.
const (
	kindHead = 'h'
	kindBody = 'b'
	kindItem = 'i'
)

// defect says how stored bytes are damaged. It becomes a CorruptError where
// the session is known.
type defect string

func (d defect) Error() string { return string(d) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// binding is the CRC-32C of what a part is bound to. It is computed bytewise,
// so that nothing has to be copied into one slice first.
type binding uint32

// bind is what all parts of a session are bound to.
func bind(id string) binding {
	return binding(0).uvarint(uint64(len(id))).text(id)
}

// head binds the head of a session.
func (b binding) head() binding { return b.octet(kindHead) }

// body binds a body to its head.
func (b binding) body(h *head) binding {
	return b.octet(kindBody).incarnation(h.incarnation).uvarint(h.content)
}

// item binds an item to its key.
func (b binding) item(key string) binding { return b.octet(kindItem).text(key) }

func (b binding) octet(v byte) binding {
	c := ^uint32(b)
	return binding(^(castagnoli[byte(c)^v] ^ c>>8))
}

func (b binding) uvarint(v uint64) binding {
	for ; v >= 0x80; v >>= 7 {
		b = b.octet(byte(v) | 0x80)
	}
	return b.octet(byte(v))
}

func (b binding) text(s string) binding {
	c := ^uint32(b)
	for i := range len(s) {
		c = castagnoli[byte(c)^s[i]] ^ c>>8
	}
	return binding(^c)
}

func (b binding) incarnation(inc incarnation) binding {
	c := ^uint32(b)
	for _, v := range inc {
		c = castagnoli[byte(c)^v] ^ c>>8
	}
	return binding(^c)
}

// appendEnvelope appends the envelope of a payload that is appended next;
// sealEnvelope completes it.
func appendEnvelope(dst []byte, codec byte) []byte {
	return append(dst, envelopeVersion, codec, compressionNone, 0, 0, 0, 0, 0)
}

// sealEnvelope writes the checksum into env, which ends with its payload.
func sealEnvelope(env []byte, b binding) {
	sum := crc32.Update(uint32(b), castagnoli, env[:envelopeSize-4])
	sum = crc32.Update(sum, castagnoli, env[envelopeSize:])
	binary.LittleEndian.PutUint32(env[envelopeSize-4:], sum)
}

// openEnvelope verifies env and returns its payload. The error is a defect, or
// wraps ErrUnsupported if a newer version wrote it.
func openEnvelope(env []byte, codec byte, b binding) ([]byte, error) {
	if len(env) < envelopeSize {
		return nil, defect(fmt.Sprintf("%d bytes are no envelope", len(env)))
	}
	if env[0] == 0 {
		return nil, defect("no envelope")
	}
	if env[0] > envelopeVersion {
		return nil, newer("envelope version", env[0])
	}
	start := envelopeSize + int(env[3])
	if len(env) < start {
		return nil, defect("envelope is truncated")
	}
	sum := crc32.Update(uint32(b), castagnoli, env[:start-4])
	sum = crc32.Update(sum, castagnoli, env[start:])
	if sum != binary.LittleEndian.Uint32(env[start-4:]) {
		return nil, defect("checksum does not match")
	}
	switch {
	case env[1] != codec:
		return nil, newer("codec", env[1])
	case env[2] != compressionNone:
		return nil, newer("compression", env[2])
	case env[3] != 0:
		return nil, fmt.Errorf("%w: encrypted with key %q, and this version of Snakepit has no encryption",
			ErrUnsupported, env[4:4+int(env[3])])
	}
	return env[start:], nil
}

func newer(what string, value byte) error {
	return fmt.Errorf("%w: %s %d is unknown: written by a newer version of Snakepit", ErrUnsupported, what, value)
}
