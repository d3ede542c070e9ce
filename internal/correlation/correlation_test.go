package correlation_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/internal/correlation"
)

func TestContext(t *testing.T) {
	if id := correlation.FromContext(t.Context()); id != "" {
		t.Errorf("an empty context carries %q", id)
	}
	ctx := correlation.NewContext(correlation.NewContext(t.Context(), "outer"), "inner")
	if id := correlation.FromContext(ctx); id != "inner" {
		t.Errorf("got %q", id)
	}
}

func TestValid(t *testing.T) {
	for id, want := range map[string]bool{
		"c-1": true, correlation.NewID(): true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a\nb": false, "ä": false,
	} {
		if got := correlation.Valid(id); got != want {
			t.Errorf("Valid(%q) = %t", id, got)
		}
	}
}

func TestFromTraceparent(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for header, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01":                            id,
		"cc-" + id + "-00f067aa0ba902b7-01-what-comes":                 id,
		"00-" + id + "-00f067aa0ba902b7-01-more":                       "",
		"ff-" + id + "-00f067aa0ba902b7-01":                            "",
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01":           "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":      "",
		"00-" + id + "0-00f067aa0ba902b7-01":                           "",
		"00-" + id:                                                     "",
		"":                                                             "",
		"\x00-" + id + "-00f067aa0ba902b7-01" + strings.Repeat("-", 9): "",
	} {
		if got := correlation.FromTraceparent(header); got != want {
			t.Errorf("FromTraceparent(%q) = %q, want %q", header, got, want)
		}
	}
}

func TestRecordsCarryTheID(t *testing.T) {
	var out bytes.Buffer
	h := correlation.NewHandler(correlation.NewHandler(slog.NewTextHandler(&out, nil)))
	log := slog.New(correlation.NewHandler(h.WithAttrs([]slog.Attr{slog.String("a", "1")})))
	log.InfoContext(correlation.NewContext(t.Context(), "c-1"), "with")
	log.Info("without")
	log.InfoContext(correlation.NewContext(t.Context(), "outer"), "its own", correlation.LogKey, "c-2")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || strings.Count(lines[0], "correlation_id=c-1") != 1 || !strings.Contains(lines[0], "a=1") {
		t.Errorf("the log is %q", lines)
	}
	if strings.Contains(lines[1], "correlation_id") {
		t.Errorf("a record without id is %q", lines[1])
	}
	if strings.Contains(lines[2], "outer") || !strings.Contains(lines[2], "correlation_id=c-2") {
		t.Errorf("a record with an id of its own is %q", lines[2])
	}
}
