package correlation_test

import (
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
