package drivertest

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
)

// opID returns a fresh operation id.
func opID() (id driver.OpID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// testContract checks every condition in every state of a record.
func testContract(t *testing.T, h Harness) {
	s := open(t, h)
	record := func(condition driver.Condition, revision driver.Revision) driver.Batch {
		return driver.Batch{If: condition, Revision: revision, Head: []byte("new head"), Body: []byte("new body"), Op: opID()}
	}
	remove := func(condition driver.Condition, revision driver.Revision) driver.Batch {
		return driver.Batch{If: condition, Revision: revision, Delete: true, Op: opID()}
	}

	t.Run("absent record", func(t *testing.T) {
		expectAbsent(t, s, "absent")
		refused(t, s, "absent", record(driver.IfRevision, 1), driver.ErrConflict)
		refused(t, s, "absent", remove(driver.IfRevision, 1), driver.ErrConflict)
		refused(t, s, "absent", driver.Batch{If: driver.IfRevision, Revision: 1, Head: []byte("h")}, driver.ErrConflict)
		apply(t, s, "absent", remove(driver.IfAny, 0))
		expectAbsent(t, s, "absent")
	})
	t.Run("create", func(t *testing.T) {
		revision := create(t, s, "create", "head", "body")
		expect(t, s, "create", revision, "head", "body")
		refused(t, s, "create", record(driver.IfAbsent, 0), driver.ErrExists)
	})
	t.Run("store in any state", func(t *testing.T) {
		first := apply(t, s, "any", record(driver.IfAny, 0))
		second := apply(t, s, "any", record(driver.IfAny, 0))
		if first == second {
			t.Errorf("two states have revision %d", first)
		}
		expect(t, s, "any", second, "new head", "new body")
	})
	t.Run("store at a revision", func(t *testing.T) {
		first := create(t, s, "update", "head", "body")
		second := apply(t, s, "update", record(driver.IfRevision, first))
		expect(t, s, "update", second, "new head", "new body")
		refused(t, s, "update", record(driver.IfRevision, first), driver.ErrConflict)
		refused(t, s, "update", remove(driver.IfRevision, first), driver.ErrConflict)
		if first == second {
			t.Errorf("two states have revision %d", first)
		}
	})
	t.Run("same bytes are a new state", func(t *testing.T) {
		first := create(t, s, "same", "head", "body")
		second := apply(t, s, "same", driver.Batch{If: driver.IfRevision, Revision: first, Head: []byte("head"), Body: []byte("body")})
		if first == second {
			t.Errorf("two states have revision %d", first)
		}
	})
	t.Run("body kept", func(t *testing.T) {
		first := create(t, s, "touch", "head", "body")
		second := apply(t, s, "touch", driver.Batch{If: driver.IfRevision, Revision: first, Head: []byte("touched")})
		expect(t, s, "touch", second, "touched", "body")
		third := apply(t, s, "touch", driver.Batch{If: driver.IfRevision, Revision: second, Head: []byte("again")})
		expect(t, s, "touch", third, "again", "body")
		refused(t, s, "touch", driver.Batch{If: driver.IfRevision, Revision: first, Head: []byte("late")}, driver.ErrConflict)
	})
	t.Run("empty body", func(t *testing.T) {
		first := create(t, s, "empty", "head", "body")
		second := apply(t, s, "empty", driver.Batch{If: driver.IfRevision, Revision: first, Head: []byte("head"), Body: []byte{}})
		expect(t, s, "empty", second, "head", "")
		third := apply(t, s, "empty", driver.Batch{If: driver.IfRevision, Revision: second, Head: []byte("touched")})
		expect(t, s, "empty", third, "touched", "")
	})
	t.Run("delete", func(t *testing.T) {
		revision := create(t, s, "delete", "head", "body")
		apply(t, s, "delete", remove(driver.IfRevision, revision))
		expectAbsent(t, s, "delete")
		refused(t, s, "delete", remove(driver.IfRevision, revision), driver.ErrConflict)
		refused(t, s, "delete", record(driver.IfRevision, revision), driver.ErrConflict)
		create(t, s, "delete", "head", "body")
		apply(t, s, "delete", remove(driver.IfAny, 0))
		apply(t, s, "delete", remove(driver.IfAny, 0))
		expectAbsent(t, s, "delete")
	})
	t.Run("revision never repeated", func(t *testing.T) {
		seen := map[driver.Revision]bool{}
		note := func(revision driver.Revision) driver.Revision {
			if seen[revision] {
				t.Fatalf("revision %d given twice", revision)
			}
			seen[revision] = true
			return revision
		}
		for range 5 {
			revision := note(create(t, s, "again", "head", "body"))
			for range 3 {
				revision = note(apply(t, s, "again", driver.Batch{If: driver.IfRevision, Revision: revision, Head: []byte("h")}))
			}
			apply(t, s, "again", remove(driver.IfRevision, revision))
		}
	})
	t.Run("sessions are apart", func(t *testing.T) {
		a, b := create(t, s, "apart", "a", "A"), create(t, s, "apart/", "b", "B")
		apply(t, s, "apart", remove(driver.IfRevision, a))
		expect(t, s, "apart/", b, "b", "B")
	})
	t.Run("strange ids and bytes", func(t *testing.T) {
		head, body := "\x00\xff head", "\x00\xff\n\r body \x00"
		for _, id := range strangeIDs() {
			expect(t, s, id, create(t, s, id, head, body), head, body)
		}
	})
	t.Run("records returned are stable", func(t *testing.T) {
		first := create(t, s, "stable", "head", "body")
		old, err := s.Get(t.Context(), "stable", driver.Read{})
		if err != nil {
			t.Fatal(err)
		}
		apply(t, s, "stable", record(driver.IfRevision, first))
		if old.Revision != first || string(old.Head) != "head" || string(old.Body) != "body" {
			t.Errorf("a record changed after it was returned: %s", show(old))
		}
	})
	t.Run("memo stays with its bytes", func(t *testing.T) {
		revision := create(t, s, "memo", "head", "body")
		old, err := s.Get(t.Context(), "memo", driver.Read{})
		if err != nil {
			t.Fatal(err)
		}
		old.Memo.Store("decoded")
		apply(t, s, "memo", driver.Batch{If: driver.IfRevision, Revision: revision, Head: []byte("touched")})
		now, err := s.Get(t.Context(), "memo", driver.Read{})
		if err != nil {
			t.Fatal(err)
		}
		if memo := now.Memo.Load(); memo != nil {
			t.Errorf("the memo %v of another state came with the record", memo)
		}
	})
	t.Run("prepared record", func(t *testing.T) {
		prepare := func(b driver.Batch, body string) driver.Batch {
			b.Record = &driver.Record{ID: "prepared", Head: b.Head, Body: []byte(body)}
			b.Record.Memo.Store("decoded " + string(b.Head))
			return b
		}
		check := func(revision driver.Revision, head, body string) {
			t.Helper()
			expect(t, s, "prepared", revision, head, body)
			r, err := s.Get(t.Context(), "prepared", driver.Read{})
			if err != nil {
				t.Fatal(err)
			}
			if memo := r.Memo.Load(); memo != nil && memo != "decoded "+head {
				t.Errorf("the record with head %q has the memo %v", head, memo)
			}
		}
		first := apply(t, s, "prepared", prepare(driver.Batch{If: driver.IfAbsent, Head: []byte("h1"), Body: []byte("b1")}, "b1"))
		check(first, "h1", "b1")
		second := apply(t, s, "prepared", prepare(driver.Batch{If: driver.IfRevision, Revision: first, Head: []byte("h2")}, "b1"))
		check(second, "h2", "b1")
		late := prepare(driver.Batch{If: driver.IfRevision, Revision: first, Head: []byte("h3")}, "b1")
		refused(t, s, "prepared", late, driver.ErrConflict)
		if late.Record.Revision != 0 {
			t.Error("a refused batch left a revision in its record")
		}
		check(second, "h2", "b1")
		third := apply(t, s, "prepared", driver.Batch{If: driver.IfRevision, Revision: second, Head: []byte("h4"), Body: []byte("b4")})
		check(third, "h4", "b4")
	})
	t.Run("ping", func(t *testing.T) {
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("Ping: %v", err)
		}
	})
}

// testInvalid checks that batches which contradict themselves are refused.
func testInvalid(t *testing.T, h Harness) {
	s := open(t, h)
	revision := create(t, s, "s", "head", "body")
	head, body := []byte("h"), []byte("b")
	for name, b := range map[string]driver.Batch{
		"unknown condition":            {If: 77, Head: head, Body: body},
		"condition on no revision":     {If: driver.IfRevision, Head: head, Body: body},
		"store and delete":             {Head: head, Body: body, Delete: true},
		"delete if absent":             {If: driver.IfAbsent, Delete: true},
		"body without head":            {If: driver.IfRevision, Revision: revision, Body: body},
		"body kept, no revision":       {Head: head},
		"body kept, record absent":     {If: driver.IfAbsent, Head: head},
		"put and drop of the same key": {Put: []driver.Item{{Key: "k", Data: body}}, Drop: []string{"k"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, s, "s", b, driver.ErrInvalid) })
	}
	t.Run("empty pages", func(t *testing.T) {
		for _, limit := range []int{0, -1} {
			if _, err := s.List(t.Context(), "", "", limit); !errors.Is(err, driver.ErrInvalid) {
				t.Errorf("List with limit %d: error %v, want %v", limit, err, driver.ErrInvalid)
			}
			if _, err := s.Items(t.Context(), driver.ItemRef{}, limit); !errors.Is(err, driver.ErrInvalid) {
				t.Errorf("Items with limit %d: error %v, want %v", limit, err, driver.ErrInvalid)
			}
		}
	})
}

// strangeIDs are valid ids that a careless encoding mixes up. They are in
// bytewise order.
func strangeIDs() []string {
	return []string{
		"\x00", "\x00\x00", "\x00\x01", " ", "%2F", "*", "..", "../x", "/", "//", ":", "A",
		"x", "x\x00", "x\x00\x00", "x\x00\x01", "x\x00y", "x\x01", "x y", "x%", "x.", "x/y", "x:y", "x>", "x_", "xy", "x{1}",
		strings.Repeat("z", 512), "é", "日本語", "\U0010FFFF",
	}
}
