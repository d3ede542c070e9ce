package jsontext_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	. "github.com/snakepit-go/snakepit/internal/jsontext"
)

var jsonSeeds = []string{
	`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `1.5e-7`, `-12E+3`, `"a\u00e9\n\"x"`, `"` + strings.Repeat("long ", 20) + `é"`,
	` { "a" : [ 1 , {"b":null} ] , "" : "" } `, `[[[[]]]]`,
	``, ` `, `nul`, `NaN`, `-`, `01`, `1.`, `1e`, `.5`, `+1`, `"`, `"\x"`, `"\u12g4"`, "\"\x01\"", "\"1234567\x00\"", `{"a"}`, `{"a":}`, `{"a":1,}`,
	`{a:1}`, `[1,]`, `[1 2]`, `{} {}`, "\"\xff\"", "1\x00", `Infinity`, `{"a":1`, `[`, `"12345678`, `"1234567\`, `tru`,
	strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999), strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
}

// The scanner accepts what encoding/json accepts, if it is UTF-8.
func FuzzScanner(f *testing.F) {
	for _, seed := range jsonSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want := json.Valid(text) && utf8.Valid(text)
		if err := Valid(text); (err == nil) != want {
			t.Errorf("%q: %v, json.Valid says %v", text, err, want)
		}
		var object map[string]json.RawMessage
		want = want && text[len(text)-len(strings.TrimLeft(string(text), " \t\r\n"))] == '{' && json.Unmarshal(text, &object) == nil
		s := NewScanner(text)
		s.Object(func([]byte) { s.Value() })
		if err := s.End(); (err == nil) != want {
			t.Errorf("%q as an object: %v, want %v", text, err, want)
		}
		if _, err := Check(text); err == nil && !json.Valid(text) {
			t.Errorf("%q passes the check and is not valid", text)
		} else if err != nil && !IsLimit(err) && Valid(text) == nil {
			t.Errorf("%q is valid: %v", text, err)
		}
	})
}

func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth/2) + strings.Repeat("[", depth-depth/2) + strings.Repeat("]", depth-depth/2) + strings.Repeat("}", depth/2)
}

func TestLimits(t *testing.T) {
	digits := strings.Repeat("7", MaxNumber)
	for _, c := range []struct {
		text string
		want string // of the error; empty for none
	}{
		{nested(MaxDepth), ""},
		{nested(MaxDepth + 1), "nested deeper than 200 levels"},
		{nested(9_000), "nested deeper than 200 levels"},
		{`"` + strings.Repeat("[", 1000) + `"`, ""},
		{digits, ""},
		{"-" + digits[1:], ""},
		{digits + "7", "a number of 4301 characters, where 4300 are allowed"},
		{`{"a":[1,` + digits + digits + `]}`, "a number of 8600 characters, where 4300 are allowed (at byte 8)"},
		{"0." + digits, "a number of 4302 characters"},
		{"1" + strings.Repeat("0", 400), ""}, // an integer is kept exactly
		{"1" + strings.Repeat("0", 400) + ".5", "beyond 1.8e308"},
		{"1" + strings.Repeat("0", 400) + "e-100", ""},
		{"0." + strings.Repeat("0", 400) + "1e500", ""},
		{"1e400", "beyond 1.8e308"},
		{"-1E+400", "beyond 1.8e308"},
		{"1.7976931348623157e308", ""},
		{"1.8e308", "beyond 1.8e308"},
		{"1e999999999999999999999", "beyond 1.8e308"},
		{"0e999", ""},
		{"1e-400", ""}, // 0, as everywhere
		{`[1,`, "a value expected"},
		{`"\ud83d\uDE00 \u00e9 \\ud800"`, ""},
		{`"\ud800"`, "not valid Unicode, half of a surrogate pair (at byte 1)"},
		{`"\udc00"`, "not valid Unicode"},
		{`"\ude00\ud83d"`, "not valid Unicode"},
		{`"\ud800\ud800\udc00"`, "not valid Unicode"},
		{`"\ud800\u0041"`, "not valid Unicode"},
		{`"\ud800\\udc00"`, "not valid Unicode"},
		{`{"a":{"\ud800":1}}`, "not valid Unicode"},
	} {
		shown := c.text[:min(len(c.text), 30)]
		_, err := Check([]byte(c.text))
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s...: %v, want %q", shown, err, c.want)
		case IsLimit(err) != (err != nil && Valid([]byte(c.text)) == nil):
			t.Errorf("%s...: is it a limit? %v", shown, err)
		}
		if err == nil && !strings.HasPrefix(c.text, `"`) && strings.ContainsAny(c.text, ".eE") && !strings.Contains(c.text, "{") {
			if _, err := strconv.ParseFloat(c.text, 64); errors.Is(err, strconv.ErrRange) {
				t.Errorf("%s... is out of range", shown)
			}
		}
	}
	if err := CheckObject([]byte(`[]`)); err == nil {
		t.Error("an array is taken for an object")
	}
	if err := CheckObject([]byte(nested(MaxDepth + 2))); !IsLimit(err) {
		t.Errorf("an object: %v", err)
	}
}

// A table of values is no value itself, and says which of them is at fault.
func TestCheckMembers(t *testing.T) {
	if key, err := CheckMembers([]byte(`{"a":` + nested(MaxDepth) + `,"b":1}`)); err != nil || key != "" {
		t.Errorf("%q, %v", key, err)
	}
	for text, want := range map[string]string{
		`{"good":1,"b\u0061d":` + nested(MaxDepth+1) + `,"c":2}`: "bad",
		`{"good":1,"bad":1e400,"worse":1e500}`:                   "bad",
		`{"good":1,`:                                             "",
	} {
		if key, err := CheckMembers([]byte(text)); err == nil || key != want {
			t.Errorf("%.40s: %q, %v, want %q", text, key, err, want)
		}
	}
}

func TestCompact(t *testing.T) {
	for text, want := range map[string]bool{`{"a b":[1,2]}`: true, `{"a": 1}`: false, ` 1`: false, "1\n": false, `" "`: true, `"\" \""`: true} {
		if compact, err := Check([]byte(text)); err != nil || compact != want {
			t.Errorf("%q: %v, %v", text, compact, err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	text, err := json.Marshal(map[string]any{"text": strings.Repeat("some words, ", 80), "n": []float64{1, 2.5, 3e-7}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Check(text); err != nil {
			b.Fatal(err)
		}
	}
}
