package snakepit_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit"
)

// A thread that a tool leaves running goes on writing programs while the call
// is answered and committed: what was committed can be read, and the worker
// holds the same table of programs.
func TestWhatAnOutlivingThreadWritesIsWholeOrRefused(t *testing.T) {
	e := openEngine(t, func(c *snakepit.Config) { c.Pools[0].Workers = 1 })
	const rounds = 150
	for i := range rounds {
		inSession(t, e, "s", "outlive", snakepit.Args{"n": i})
		seen := decode[map[string]int64](t, inSession(t, e, "s", "program_sizes", nil))
		programs, err := e.Sessions().Programs(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) != len(programs) {
			t.Fatalf("round %d: the worker holds the programs %v, the store %v", i, seen, programs)
		}
		for _, p := range programs {
			if seen[p.Name] != p.Size {
				t.Fatalf("round %d: %s has %d bytes, the worker thinks %d", i, p.Name, p.Size, seen[p.Name])
			}
			r, err := e.Sessions().OpenProgram(t.Context(), "s", p.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	told := decode[[]string](t, inSession(t, e, "s", "outlived", nil))
	slices.Sort(told)
	told = slices.Compact(told)
	if len(told) == 0 {
		t.Error("no thread was told that its call had ended")
	}
	for _, text := range told {
		if !strings.Contains(text, "ended") {
			t.Errorf("a thread that outlived its call was told %q", text)
		}
	}
}
