package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestInlineBytes(t *testing.T) {
	attachments := [][]byte{[]byte("zero"), {0xff}}
	for in, want := range map[string]string{
		`[{"$bytes":1},{"a":{"$bytes":0}}]`:             `[{"$bytes":"/w=="},{"a":{"$bytes":"emVybw=="}}]`,
		`{"n":123456789012345678901234567890,"f":1.50}`: `{"f":1.50,"n":123456789012345678901234567890}`,
		`{"$object":{"$bytes":0}}`:                      `{"$object":{"$bytes":0}}`, // an object that only looks like a marker
		`{"$object":{"$bytes":{"$bytes":0}}}`:           `{"$object":{"$bytes":{"$bytes":"emVybw=="}}}`,
		`{"$bytes":0,"more":1}`:                         `{"$bytes":0,"more":1}`,
		`{"$bytes":7}`:                                  `{"$bytes":7}`,
		`{"$bytes":"0"}`:                                `{"$bytes":"0"}`,
		`"<&>"`:                                         `"<&>"`,
		`{"$datetime":"2026-01-31T12:30:00+01:00","x":[{"$float":"NaN"},[]]}`: `{"$datetime":"2026-01-31T12:30:00+01:00","x":[{"$float":"NaN"},[]]}`,
	} {
		got, err := inlineBytes(json.RawMessage(in), attachments)
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s became\n%s (%v), want\n%s", in, got, err, want)
		}
	}
}

// What call prints, it takes.
func TestAttachBytes(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":[{"$bytes":"emVybw=="},{"b":{"$bytes":""}}],"n":1.50}`: `{"a":[{"$bytes":0},{"b":{"$bytes":1}}],"n":1.50}`,
		`{"x":{"$bytes":"emVybw=="}}`:                                `{"x":{"$bytes":0}}`,
		`{"x":{"$object":{"$bytes":"emVybw=="}}}`:                    `{"x":{"$object":{"$bytes":"emVybw=="}}}`,
		`{"x":{"$object":{"$bytes":{"$bytes":"emVybw=="}}}}`:         `{"x":{"$object":{"$bytes":{"$bytes":0}}}}`,
		`{"x": {"$bytes": 3}}`:                                       `{"x":{"$bytes":3}}`, // for the worker to judge
		`{"b": 1,  "a": "as it was typed"}`:                          `{"b": 1,  "a": "as it was typed"}`,
	} {
		got, attachments, err := attachBytes(json.RawMessage(in))
		if err != nil || string(got) != want {
			t.Errorf("%s became\n%s (%v), want\n%s", in, got, err, want)
		}
		if len(attachments) > 0 && string(attachments[0]) != "zero" {
			t.Errorf("%s: attachments %q", in, attachments)
		}
	}
	_, _, err := attachBytes(json.RawMessage(`{"x":{"$bytes":"photo.jpg"}}`))
	if err == nil || !strings.Contains(err.Error(), `"photo.jpg" of {"$bytes": ...} is not base64`) {
		t.Errorf("what is no base64: %v", err)
	}
}

func TestColumns(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1500 * time.Microsecond: "0s", 1540 * time.Millisecond: "1.5s", 59 * time.Second: "59s", time.Minute: "1m",
		90 * time.Second: "1m30s", 3*time.Hour + 5*time.Minute + 2*time.Second: "3h5m", 49 * time.Hour: "2d1h", -3 * time.Second: "-3s",
	} {
		if got := span(d); got != want {
			t.Errorf("span of %v is %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 64 << 20: "64.0 MiB", 5 << 40: "5.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size of %d is %s, want %s", n, got, want)
		}
	}
}

// TestTablesStayTables has cells that would forge a row, a column, or a command to the terminal.
func TestTablesStayTables(t *testing.T) {
	var out bytes.Buffer
	form := outputTable
	err := form.write(&out, nil, func(t *table) {
		t.row("A", "B")
		t.row("one\ntwo", "three\tfour\x1b[2J\u009b")
	})
	if want := "A        B\none�two  three�four�[2J�\n"; err != nil || out.String() != want {
		t.Errorf("got %q (%v), want %q", out.String(), err, want)
	}
}

func TestWrap(t *testing.T) {
	if got := strings.Join(wrap("aaa bb cccc d eeeeeeeee f", 7), "|"); got != "aaa bb|cccc d|eeeeeeeee|f" {
		t.Errorf("wrapped as %s", got)
	}
}
