package value_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/internal/value"
)

func TestEncode(t *testing.T) {
	type number struct {
		N int `json:"n"`
	}
	for _, c := range []struct {
		args any
		want string // empty: none
	}{
		{nil, ""},
		{json.RawMessage(nil), ""},
		{json.RawMessage(" null\n"), ""},
		{map[string]any(nil), ""},
		{(*number)(nil), ""},
		{map[string]any{}, `{}`},
		{number{7}, `{"n":7}`},
		{map[string]int{"a": 1}, `{"a":1}`},
		{map[string]any{"a": []any{1, "b", nil}}, `{"a":[1,"b",null]}`},
		{json.RawMessage(` {"n": 123456789012345678901234567890} `), ` {"n": 123456789012345678901234567890} `},
	} {
		text, attachments, err := value.Encode(c.args, nil)
		if err != nil || string(text) != c.want || len(attachments) != 0 {
			t.Errorf("%#v became %q with %d attachments (%v), want %q", c.args, text, len(attachments), err, c.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for want, list := range map[string][]any{
		"not valid JSON":                  {json.RawMessage(`{"a":`), json.RawMessage(`{} {}`), json.RawMessage(" ")},
		"arguments must be a JSON object": {json.RawMessage(`[1]`), []int{1}, "secret", 7, []byte("bytes without a name")},
		"unsupported type":                {make(chan int), map[string]any{"a": func() {}}},
	} {
		for _, args := range list {
			if text, _, err := value.Encode(args, nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%#v became %q (%v), want %q", args, text, err, want)
			}
		}
	}
}

// TestBytesTravelBeside has bytes at every depth, next to attachments that the
// caller has numbered.
func TestBytesTravelBeside(t *testing.T) {
	room := make([][]byte, 1, 8)
	room[0] = []byte("given")
	args := map[string]any{"a": []byte("a"), "deep": []any{map[string]any{"b": []byte("b")}, 1}, "given": map[string]any{"$bytes": 0}, "none": []any{[]any{}}}
	before := maps.Clone(args)
	text, attachments, err := value.Encode(args, room)
	if err != nil {
		t.Fatal(err)
	}
	type marker struct {
		Index int `json:"$bytes"`
	}
	var got struct {
		A, Given marker
		Deep     []json.RawMessage
		None     [][]int
	}
	var b struct{ B marker }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got.Deep[0], &b); err != nil {
		t.Fatal(err)
	}
	if len(attachments) != 3 || len(got.None) != 1 {
		t.Fatalf("%s has %d attachments", text, len(attachments))
	}
	for want, m := range map[string]marker{"a": got.A, "b": b.B, "given": got.Given} {
		if string(attachments[m.Index]) != want {
			t.Errorf("%q became %q in %s", want, attachments[m.Index], text)
		}
	}
	if room[:2][1] != nil {
		t.Error("the caller's array was written to")
	}
	if raw, ok := args["a"].([]byte); !ok || !bytes.Equal(raw, before["a"].([]byte)) {
		t.Errorf("the caller's arguments became %v", args)
	}
}

func TestBytes(t *testing.T) {
	attachments := [][]byte{[]byte("zero"), {}}
	for text, want := range map[string]string{`{"$bytes":0}`: "zero", "\n{\"$bytes\": 1}": ""} {
		if got, ok := value.Bytes(json.RawMessage(text), attachments); !ok || string(got) != want {
			t.Errorf("%s is %q, %t", text, got, ok)
		}
	}
	for _, text := range []string{`null`, `7`, `{}`, `{"$bytes":2}`, `{"$bytes":-1}`, `{"$bytes":"0"}`, `{"$bytes":0.5}`, `[{"$bytes":0}]`, ``} {
		if got, ok := value.Bytes(json.RawMessage(text), attachments); ok {
			t.Errorf("%s is %q", text, got)
		}
	}
}

func TestDecode(t *testing.T) {
	var n int
	if err := value.Decode(json.RawMessage(`9007199254740993`), &n); err != nil || n != 9007199254740993 {
		t.Errorf("got %d (%v)", n, err)
	}
	if err := value.Decode(json.RawMessage(`"text"`), &n); err == nil || !strings.HasPrefix(err.Error(), "decode result: ") {
		t.Errorf("got %v", err)
	}
}
