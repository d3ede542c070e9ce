package drivertest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
)

// testDurability checks what is left after closing and reopening: everything.
func testDurability(t *testing.T, h Harness) {
	if h.Reopen == nil {
		if driver.Describe(open(t, h)).Durable {
			t.Fatal("the driver says it is durable, and the harness has no Reopen to show it")
		}
		t.Skip("not durable")
	}
	s := h.Open(t)
	const writers, each = 4, 25
	revisions := make([][]driver.Revision, writers)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for n := range each {
				revision, err := s.Apply(t.Context(), fmt.Sprintf("s%d-%d", w, n), &driver.Batch{
					If: driver.IfAbsent, Head: fmt.Appendf(nil, "head %d", n), Body: fmt.Appendf(nil, "body %d", n), Put: put("k", fmt.Sprint(n)), Op: opID(),
				})
				if err != nil {
					t.Errorf("create: %v", err)
					return
				}
				revisions[w] = append(revisions[w], revision)
			}
		})
	}
	group.Wait()
	touched := apply(t, s, "s0-0", driver.Batch{If: driver.IfRevision, Revision: revisions[0][0], Head: []byte("touched")})
	apply(t, s, "s1-1", driver.Batch{Delete: true, Drop: []string{"k"}})
	apply(t, s, "s2-2", driver.Batch{If: driver.IfRevision, Revision: revisions[2][2], Delete: true}) // the item stays
	given := map[string][]driver.Revision{"s0-0": {revisions[0][0], touched}, "s1-1": {revisions[1][1]}}

	for round := range 3 {
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		s = h.Reopen(t, s)
		for w := range writers {
			for n := range each {
				id := fmt.Sprintf("s%d-%d", w, n)
				switch id {
				case "s0-0", "s1-1":
				case "s2-2":
					expectAbsent(t, s, id)
					expectItem(t, s, id, "k", "2")
				default:
					expect(t, s, id, revisions[w][n], fmt.Sprintf("head %d", n), fmt.Sprintf("body %d", n))
					expectItem(t, s, id, "k", fmt.Sprint(n))
				}
			}
		}
		if round == 0 {
			expect(t, s, "s0-0", touched, "touched", "body 0")
			expectAbsent(t, s, "s1-1")
			expectNoItem(t, s, "s1-1", "k")
		}
		if counter, ok := driver.As[driver.Counter](s); ok {
			want := writers*each - 2 + min(round, 1)
			if n, err := counter.Count(t.Context()); err != nil || n != want {
				t.Errorf("after reopening: Count = %d, %v; want %d", n, err, want)
			}
		}
		// No revision is given again, not to a record that stayed and not to
		// one that was deleted.
		for id, old := range given {
			revision := apply(t, s, id, driver.Batch{Head: []byte("h"), Body: []byte("b")})
			if slices.Contains(old, revision) {
				t.Errorf("after reopening, %q got revision %d a second time", id, revision)
			}
			given[id] = append(old, revision)
		}
	}
	closeStore(t, s)
}
