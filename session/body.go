package session

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The payload of a body is a protobuf message, too:
//
//	1  message variable {1 key, 2 JSON text}, repeated, in the order in which
//	           they were first set
//	2  message metadata {1 key, 2 value}, repeated, sorted by key
//	3  message program  {1 name, 2 size, 3 SHA-256, 4 content type, 5 created,
//	           6 updated, 7 upload id, 8 bytes of a chunk}, repeated
//
// Unknown fields are kept when a record is rewritten.
const (
	bodyVar      protowire.Number = 1
	bodyMetadata protowire.Number = 2
	bodyProgram  protowire.Number = 3

	programName    protowire.Number = 1
	programSize    protowire.Number = 2
	programDigest  protowire.Number = 3
	programType    protowire.Number = 4
	programCreated protowire.Number = 5
	programUpdated protowire.Number = 6
	programUpload  protowire.Number = 7
	programChunk   protowire.Number = 8
)

// Program describes a program of a session: a named piece of bytes, such as
// source code, a model or an index.
type Program struct {
	Name string
	Size int64
	// SHA256 is the hash of the bytes, in hex.
	SHA256      string
	ContentType string
	// Created is when the name was first used, Updated when its bytes were
	// last replaced.
	Created time.Time
	Updated time.Time

	upload upload
	// chunk is the number of the program's bytes in each item but the last.
	chunk int64
}

// checkBody verifies the structure of the payload of a body, so that what
// reads it afterwards needs no errors.
func checkBody(payload []byte) error {
	f := fields{message: payload}
	for f.next() {
		var err error
		switch f.number {
		case bodyVar, bodyMetadata:
			_, _, err = decodePair(f.bytes)
		case bodyProgram:
			_, err = decodeProgram(f.bytes)
		default:
			continue
		}
		if err != nil {
			return err
		}
		if f.kind != protowire.BytesType {
			return defect(fmt.Sprintf("field %d has another type", f.number))
		}
	}
	return f.err
}

func decodeProgram(b []byte) (p Program, err error) {
	f := fields{message: b}
	for f.next() {
		var ms int64
		switch f.number {
		case programName:
			p.Name = string(f.bytes)
		case programSize:
			p.Size, err = amount(&f, MaxProgramSize)
		case programDigest:
			p.SHA256 = hex.EncodeToString(f.bytes)
		case programType:
			p.ContentType = string(f.bytes)
		case programCreated:
			ms, err = amount(&f, math.MaxInt64/4)
			p.Created = time.UnixMilli(ms)
		case programUpdated:
			ms, err = amount(&f, math.MaxInt64/4)
			p.Updated = time.UnixMilli(ms)
		case programUpload:
			p.upload = upload(f.bytes)
		case programChunk:
			p.chunk, err = amount(&f, math.MaxInt32)
		}
		if err != nil {
			return p, err
		}
	}
	switch {
	case f.err != nil:
		return p, f.err
	case p.Name == "":
		return p, defect("program without a name")
	case p.chunk == 0:
		return p, defect("program without a chunk size")
	}
	return p, nil
}

func appendProgram(dst []byte, p Program) []byte {
	digest, _ := hex.DecodeString(p.SHA256)
	msg := appendBytes(nil, programName, p.Name)
	msg = appendVarint(msg, programSize, uint64(p.Size))
	msg = appendBytes(msg, programDigest, digest)
	msg = appendBytes(msg, programType, p.ContentType)
	msg = appendVarint(msg, programCreated, uint64(p.Created.UnixMilli()))
	msg = appendVarint(msg, programUpdated, uint64(p.Updated.UnixMilli()))
	msg = appendBytes(msg, programUpload, p.upload)
	msg = appendVarint(msg, programChunk, uint64(p.chunk))
	return appendBytes(dst, bodyProgram, msg)
}

func programsOf(body []byte) []Program {
	var list []Program
	for f := (fields{message: body}); f.next(); {
		if f.number != bodyProgram {
			continue
		}
		if p, err := decodeProgram(f.bytes); err == nil {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b Program) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// edits are changes by key, in the order in which the keys were first changed.
type edits[V any] struct {
	list []edit[V]
	// index finds keys once there are more than a few.
	index map[string]int
}

type edit[V any] struct {
	key     string
	value   V
	removed bool
	// done marks edits that replaced something of the base while the body was
	// encoded.
	done bool
}

// indexFrom is the number of keys from which on a map is quicker than looking
// at one after the other.
const indexFrom = 16

func (e *edits[V]) find(key string) *edit[V] {
	if e.index != nil {
		if i, ok := e.index[key]; ok {
			return &e.list[i]
		}
		return nil
	}
	for i := range e.list {
		if e.list[i].key == key {
			return &e.list[i]
		}
	}
	return nil
}

func (e *edits[V]) put(key string, value V, removed bool) {
	if old := e.find(key); old != nil {
		old.value, old.removed = value, removed
		return
	}
	e.list = append(e.list, edit[V]{key: key, value: value, removed: removed})
	if len(e.list) == indexFrom {
		e.index = make(map[string]int, 2*indexFrom)
		for i := range e.list {
			e.index[e.list[i].key] = i
		}
	} else if e.index != nil {
		e.index[key] = len(e.list) - 1
	}
}

// keep removes the edits that f does not want.
func (e *edits[V]) keep(f func(*edit[V]) bool) {
	kept := e.list[:0]
	for i := range e.list {
		if f(&e.list[i]) {
			kept = append(kept, e.list[i])
		}
	}
	if len(kept) < len(e.list) && e.index != nil {
		clear(e.index)
		for i := range kept {
			e.index[kept[i].key] = i
		}
	}
	e.list = kept
}

// bodyChange is what is to be changed in a body.
type bodyChange struct {
	vars     edits[json.RawMessage]
	programs edits[Program]
	// metadata, if not nil, replaces all metadata.
	metadata map[string]string
}

func (c *bodyChange) empty() bool {
	return len(c.vars.list) == 0 && len(c.programs.list) == 0 && c.metadata == nil
}

// append encodes base with the change applied, and updates the sizes in h.
func (c *bodyChange) append(dst, base []byte, h *head) []byte {
	if c.empty() {
		return append(dst, base...)
	}
	h.varsBytes, h.programs, h.programBytes = 0, 0, 0
	for f := (fields{message: base}); f.next(); { // checked when it was read
		switch f.number {
		case bodyVar:
			key, value, _ := decodePair(f.bytes)
			if e := c.vars.find(string(key)); e != nil {
				e.done = true
				if !e.removed {
					dst = c.appendVar(dst, e, h)
				}
				continue
			}
			h.varsBytes += int64(len(key) + len(value))
		case bodyMetadata:
			if c.metadata != nil {
				continue
			}
		case bodyProgram:
			p, _ := decodeProgram(f.bytes)
			if e := c.programs.find(p.Name); e != nil {
				e.done = true
				if !e.removed {
					e.value.Created = p.Created
					dst = c.appendProgram(dst, e, h)
				}
				continue
			}
			h.programs++
			h.programBytes += p.Size
		}
		dst = append(dst, f.raw()...)
	}
	for i := range c.vars.list {
		if e := &c.vars.list[i]; !e.done && !e.removed {
			dst = c.appendVar(dst, e, h)
		}
	}
	if c.metadata != nil {
		dst = appendPairs(dst, bodyMetadata, c.metadata)
	}
	for i := range c.programs.list {
		if e := &c.programs.list[i]; !e.done && !e.removed {
			dst = c.appendProgram(dst, e, h)
		}
	}
	return dst
}

func (c *bodyChange) appendVar(dst []byte, e *edit[json.RawMessage], h *head) []byte {
	h.varsBytes += int64(len(e.key) + len(e.value))
	return appendPair(dst, bodyVar, e.key, e.value)
}

func (c *bodyChange) appendProgram(dst []byte, e *edit[Program], h *head) []byte {
	h.programs++
	h.programBytes += e.value.Size
	return appendProgram(dst, e.value)
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
