package chaos

import (
	"strings"
	"testing"
)

// The checker must find what it is for, or its silence means nothing.
func TestCheckerFindsFaults(t *testing.T) {
	h := newHistory()
	for i, a := range []answer{acknowledged, refused, unknown, acknowledged} {
		h.sent("s", 1, string(rune('a'+i)))(a)
	}
	for name, c := range map[string]struct {
		log  string
		want string
	}{
		"right":               {"a d", ""},
		"unknown was applied": {"a c d", ""},
		"lost":                {"a", "d was acknowledged and is lost"},
		"refused":             {"a b d", "b was refused and is there"},
		"twice":               {"a d d", "d was applied twice"},
		"reordered":           {"d a", "d of client 1 came before its earlier a"},
		"out of the blue":     {"a d x", "x was never sent"},
		"unknown, then twice": {"a c c d", "c was applied twice"},
		"everything is lost":  {"", "a was acknowledged and is lost"},
	} {
		faults := strings.Join(h.check("s", strings.Fields(c.log)), "\n")
		if (c.want == "") != (faults == "") || !strings.Contains(faults, c.want) {
			t.Errorf("%s: faults %q, want %q", name, faults, c.want)
		}
	}
}
