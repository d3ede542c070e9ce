package frames

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
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
		if err := validValue(text); (err == nil) != want {
			t.Errorf("%q: %v, json.Valid says %v", text, err, want)
		}
		var object map[string]json.RawMessage
		want = want && text[len(text)-len(strings.TrimLeft(string(text), " \t\r\n"))] == '{' && json.Unmarshal(text, &object) == nil
		if err := validObject(text); (err == nil) != want {
			t.Errorf("%q as an object: %v, want %v", text, err, want)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "plain", "with \"quotes\" and \\", "é\n\x00\x1f\x7f", "\xff\xfe", "<>&\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && got != want {
			t.Errorf("%q became %q", s, got)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func BenchmarkScanner(b *testing.B) {
	text, err := json.Marshal(map[string]any{"text": strings.Repeat("some words, ", 80), "n": []int{1, 2, 3}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := validValue(text); err != nil {
			b.Fatal(err)
		}
	}
}
