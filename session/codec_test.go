package session

// The codec is tested from inside: what it must withstand never reaches it
// through the public API.

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/snakepit-go/snakepit/session/driver"
)

var update = flag.Bool("update", false, "write the golden files of today's format anew")

// golden is a record that uses everything the format has.
func golden() (id string, d *Draft, op OpID) {
	const day = 24 * 3600 * 1000
	d = &Draft{id: "golden/ä", head: head{
		incarnation: incarnation{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
		created:     20000 * day, ttl: 3600_000, absolute: 20010 * day,
		node: []byte("node-1"), process: []byte("6f1c"), epoch: 3, state: 6, content: 8,
		ring: append(bytes.Repeat([]byte{1}, opSize), bytes.Repeat([]byte{2}, opSize)...),
		hint: []byte("default-2"),
	}}
	d.patchVars(map[string]json.RawMessage{"list": json.RawMessage(`[1,2.50,"ü",null]`), "nothing": json.RawMessage(`null`)}, nil)
	d.replaceLabels(map[string]string{"team": "red", "empty": ""})
	d.replaceMetadata(map[string]string{"note": "first line\nsecond"})
	d.body.programs.put("index", Program{
		Name: "index", Size: 300_000, SHA256: strings.Repeat("0f", 32), ContentType: "application/x-index",
		Created: time.UnixMilli(20000 * day), Updated: time.UnixMilli(20001 * day),
		upload: "0192e5a0c000-0123456789abcdef", chunk: 262136,
	}, false)
	return d.id, d, OpID(bytes.Repeat([]byte{3}, opSize))
}

func TestGoldenRecord(t *testing.T) {
	id, d, op := golden()
	const now = 20001 * 24 * 3600 * 1000
	headBytes, bodyBytes := d.encode(now, op)
	for name, got := range map[string][]byte{"head": headBytes, "body": bodyBytes} {
		path := filepath.Join("testdata", "record-v1."+name+".hex")
		if *update {
			var text strings.Builder
			for line := got; len(line) > 0; line = line[min(32, len(line)):] {
				fmt.Fprintf(&text, "%x\n", line[:min(32, len(line))])
			}
			if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		stored := readHex(t, path)
		if !bytes.Equal(got, stored) {
			t.Errorf("%s is written otherwise today:\n%x\nstored:\n%x", name, got, stored)
		}
	}

	s, err := viewOf(&driver.Record{
		ID: id, Revision: 1,
		Head: readHex(t, "testdata/record-v1.head.hex"), Body: readHex(t, "testdata/record-v1.body.hex"),
	})
	if err != nil {
		t.Fatal(err)
	}
	utc := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	absolute, _ := s.AbsoluteDeadline()
	owner, _ := s.Owner()
	var programs []string
	for _, p := range s.Programs() {
		programs = append(programs, fmt.Sprint(p.Name, p.Size, p.SHA256, p.ContentType, utc(p.Created), utc(p.Updated), p.upload, p.chunk))
	}
	got := map[string]any{
		"incarnation": s.Incarnation(), "revision": s.Revision(), "state version": s.StateVersion(),
		"created": utc(s.Created()), "accessed": utc(s.LastAccessed()), "ttl": s.TTL().String(),
		"deadline": utc(s.Deadline()), "absolute": utc(absolute), "labels": s.Labels(), "metadata": s.Metadata(),
		"vars": string(s.Vars()), "owner": owner, "hint": s.WorkerHint(), "size": s.Size(), "programs": programs,
		"remembers": []bool{s.HasOperation(op), s.HasOperation(OpID(bytes.Repeat([]byte{1}, opSize))), s.HasOperation(OpID{9})},
	}
	want := map[string]any{
		"incarnation": "00112233445566778899aabbccddeeff", "revision": "00112233445566778899aabbccddeeff-9", "state version": uint64(7),
		"created": "2024-10-04T00:00:00Z", "accessed": "2024-10-05T00:00:00Z", "ttl": "1h0m0s",
		"deadline": "2024-10-05T01:06:00Z", "absolute": "2024-10-14T00:00:00Z",
		"labels": map[string]string{"team": "red", "empty": ""}, "metadata": map[string]string{"note": "first line\nsecond"},
		"vars": `{"list":[1,2.50,"ü",null],"nothing":null}`, "owner": Owner{"node-1", "6f1c", 3}, "hint": "default-2",
		"size": Size{VarsBytes: 33, Programs: 1, ProgramBytes: 300_000},
		"programs": []string{fmt.Sprint("index", 300_000, strings.Repeat("0f", 32), "application/x-index",
			"2024-10-04T00:00:00Z", "2024-10-05T00:00:00Z", "0192e5a0c000-0123456789abcdef", 262136)},
		"remembers": []bool{true, true, false},
	}
	for key := range want {
		if !reflect.DeepEqual(got[key], want[key]) {
			t.Errorf("%s is %v, want %v", key, got[key], want[key])
		}
	}
}

func readHex(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a later version adds is kept by a rewrite of this one.
func TestUnknownFieldsAreKept(t *testing.T) {
	_, d, op := golden()
	d.head.unknown = protowire.AppendVarint(protowire.AppendTag(nil, 40, protowire.VarintType), 1234)
	headBytes, bodyBytes := d.encode(1, op)
	extra := appendBytes(nil, 9, "from the future")
	payload := append(bytes.Clone(bodyBytes[envelopeSize:]), extra...)
	body := append(appendEnvelope(nil, codecProtobuf), payload...)
	sealEnvelope(body, bind(d.id).body(&d.head))
	s, err := viewOf(&driver.Record{ID: d.id, Revision: 1, Head: headBytes, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	next := newDraft(s)
	if err := next.SetVar("list", 1); err != nil {
		t.Fatal(err)
	}
	next.SetLabel("team", "green")
	if write, err := next.settle(); err != nil || !write {
		t.Fatal(write, err)
	}
	after := next.seal(2, OpID{5})
	if h := after.head(); !bytes.Equal(h.unknown, d.head.unknown) {
		t.Errorf("head keeps %x", h.unknown)
	}
	if !bytes.Contains(after.body(), extra) {
		t.Error("body lost what it does not know")
	}
}

func TestDamagedPayloads(t *testing.T) {
	_, d, op := golden()
	headBytes, bodyBytes := d.encode(1, op)
	good, goodBody := headBytes[envelopeSize:], bodyBytes[envelopeSize:]
	field := func(num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
	}
	for name, payload := range map[string][]byte{
		"empty":             {},
		"no incarnation":    field(headTTL, 5),
		"short incarnation": appendBytes(nil, headIncarnation, "short"),
		"type":              append(bytes.Clone(good), field(headIncarnation, 1)...),
		"TTL":               append(bytes.Clone(good), field(headTTL, 1<<60)...),
		"deadline":          append(bytes.Clone(good), field(headDeadline, 1<<63)...),
		"ring":              append(bytes.Clone(good), appendBytes(nil, headRing, "12345")...),
		"long ring":         append(bytes.Clone(good), appendBytes(nil, headRing, make([]byte, 17*opSize))...),
		"label":             append(bytes.Clone(good), appendBytes(nil, headLabel, "\xff")...),
		"label without key": append(bytes.Clone(good), appendBytes(nil, headLabel, appendBytes(nil, pairValue, "x"))...),
		"owner":             append(bytes.Clone(good), appendBytes(nil, headOwner, "\x0a\x7f")...),
		"tag":               append(bytes.Clone(good), 0),
		"truncated":         good[:len(good)-1],
		"group":             append(bytes.Clone(good), 0x0b),
	} {
		var d defect
		if _, err := decodeHead(payload); !errors.As(err, &d) {
			t.Errorf("head, %s: %v", name, err)
		}
	}
	if _, err := decodeHead(append(bytes.Clone(good), field(headSchema, 2)...)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("newer schema: %v", err)
	}
	for name, payload := range map[string][]byte{
		"type":             append(bytes.Clone(goodBody), field(bodyProgram, 1)...),
		"variable":         append(bytes.Clone(goodBody), appendBytes(nil, bodyVar, "\x0a\x05x")...),
		"no key":           append(bytes.Clone(goodBody), appendBytes(nil, bodyVar, appendBytes(nil, pairValue, "1"))...),
		"program":          append(bytes.Clone(goodBody), appendBytes(nil, bodyProgram, appendBytes(nil, programName, "x"))...),
		"program size":     append(bytes.Clone(goodBody), appendBytes(nil, bodyProgram, field(programSize, MaxProgramSize+1))...),
		"nameless program": append(bytes.Clone(goodBody), appendBytes(nil, bodyProgram, field(programChunk, 1))...),
		"truncated":        goodBody[:len(goodBody)-1],
	} {
		var d defect
		if err := checkBody(payload); !errors.As(err, &d) {
			t.Errorf("body, %s: %v", name, err)
		}
	}
}

func TestUnknownEnvelopes(t *testing.T) {
	seal := func(version, codec, compression byte, key string) []byte {
		env := append([]byte{version, codec, compression, byte(len(key))}, key...)
		env = append(env, 0, 0, 0, 0)
		env = append(env, "payload"...)
		start := len(env) - len("payload")
		sum := crcOf(uint32(bind("s").head()), env[:start-4], env[start:])
		copy(env[start-4:], sum)
		return env
	}
	for name, env := range map[string][]byte{
		"version":     seal(2, codecProtobuf, 0, ""),
		"codec":       seal(1, 9, 0, ""),
		"compression": seal(1, codecProtobuf, 1, ""),
		"key":         seal(1, codecProtobuf, 0, "key-7"),
	} {
		_, err := openEnvelope(env, codecProtobuf, bind("s").head())
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "version of Snakepit") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if payload, err := openEnvelope(seal(1, codecProtobuf, 0, ""), codecProtobuf, bind("s").head()); err != nil || string(payload) != "payload" {
		t.Errorf("sound: %q, %v", payload, err)
	}
	var d defect
	if _, err := openEnvelope(append([]byte{1, 1, 0, 200}, make([]byte, 50)...), codecProtobuf, 0); !errors.As(err, &d) {
		t.Errorf("a key id beyond the end: %v", err)
	}
}

// FuzzHead decodes arbitrary heads, with the envelope as given and, so that
// the payload's decoder is reached, with one that fits.
func FuzzHead(f *testing.F) {
	id, d, op := golden()
	headBytes, bodyBytes := d.encode(1, op)
	f.Add(headBytes)
	f.Add(headBytes[envelopeSize:])
	f.Add(readHex(f, "testdata/record-v1.head.hex"))
	f.Add(bodyBytes)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := headOf(&driver.Record{ID: id, Head: data}); err == nil {
			exercise(s)
		}
		env := append(appendEnvelope(nil, codecProtobuf), data...)
		sealEnvelope(env, bind(id).head())
		s, err := headOf(&driver.Record{ID: id, Head: env})
		if err != nil {
			return
		}
		exercise(s)
		// What could be read can be written, and means the same.
		h := s.head()
		again, err := decodeHead(h.append(nil, OpID{}))
		if err != nil {
			t.Fatalf("rewritten head cannot be read: %v", err)
		}
		if len(h.process) == 0 { // an owner without a process is none
			h.node, h.epoch = nil, 0
		}
		if fmt.Sprint(again) != fmt.Sprint(h) {
			t.Errorf("rewritten head is %+v, was %+v", again, h)
		}
	})
}

// FuzzBody does the same with bodies.
func FuzzBody(f *testing.F) {
	id, d, op := golden()
	headBytes, bodyBytes := d.encode(1, op)
	f.Add(bodyBytes)
	f.Add(bodyBytes[envelopeSize:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := viewOf(&driver.Record{ID: id, Head: headBytes, Body: data}); err == nil {
			exercise(s)
		}
		env := append(appendEnvelope(nil, codecProtobuf), data...)
		sealEnvelope(env, bind(id).body(&d.head))
		s, err := viewOf(&driver.Record{ID: id, Head: headBytes, Body: env})
		if err != nil {
			return
		}
		exercise(s)
		draft := newDraft(s)
		if err := draft.SetVar("fuzz", "added"); err != nil {
			t.Fatal(err)
		}
		draft.SetMetadata("fuzz", "added")
		if _, err := draft.settle(); err != nil {
			return // metadata that is no UTF-8
		}
		rewritten := draft.seal(2, op)
		if _, err := makeView(&driver.Record{ID: id, Head: rewritten.rec.Head, Body: rewritten.rec.Body}); err != nil {
			t.Fatalf("rewritten body cannot be read: %v", err)
		}
		if v, ok := rewritten.Var("fuzz"); !ok || string(v) != `"added"` {
			t.Errorf("the variable is %s, %v", v, ok)
		}
	})
}

// exercise calls everything a view offers.
func exercise(s *Session) {
	for _, m := range reflect.ValueOf(s).Methods() {
		switch m.Type().NumIn() {
		case 0:
			m.Call(nil)
		case 1:
			m.Call([]reflect.Value{reflect.Zero(m.Type().In(0))})
		}
	}
	for _, key := range s.VarKeys() {
		s.Var(key)
	}
}

func TestEdits(t *testing.T) {
	var e edits[int]
	for i := range 100 {
		e.put(fmt.Sprint(i), i, false)
	}
	e.put("50", 0, true)
	e.keep(func(e *edit[int]) bool { return e.value%3 == 0 })
	for i := range 100 {
		found := e.find(fmt.Sprint(i))
		if want := i%3 == 0 || i == 50; (found != nil) != want {
			t.Errorf("%d: %v", i, found)
		} else if found != nil && found.key != fmt.Sprint(i) {
			t.Errorf("%d finds %s", i, found.key)
		}
	}
}

func crcOf(seed uint32, parts ...[]byte) []byte {
	for _, p := range parts {
		seed = crc32.Update(seed, castagnoli, p)
	}
	return binary.LittleEndian.AppendUint32(nil, seed)
}
