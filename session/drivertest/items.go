package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
)

func put(items ...string) []driver.Item {
	var result []driver.Item
	for i := 0; i < len(items); i += 2 {
		result = append(result, driver.Item{Key: items[i], Data: []byte(items[i+1])})
	}
	return result
}

func expectItem(t testing.TB, s driver.Store, id, key, want string) {
	t.Helper()
	data, err := s.Item(t.Context(), id, key)
	if err != nil {
		t.Errorf("Item(%q, %q): %v", id, key, err)
	} else if string(data) != want {
		t.Errorf("Item(%q, %q) = %.40q, want %.40q", id, key, data, want)
	}
}

func expectNoItem(t testing.TB, s driver.Store, id, key string) {
	t.Helper()
	if _, err := s.Item(t.Context(), id, key); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Item(%q, %q): error %v, want %v", id, key, err, driver.ErrNotFound)
	}
}

func testItems(t *testing.T, h Harness) {
	t.Run("with and without a record", func(t *testing.T) {
		s := open(t, h)
		expectNoItem(t, s, "s", "k")
		apply(t, s, "s", driver.Batch{Put: put("k", "ownerless")})
		expectItem(t, s, "s", "k", "ownerless")
		expectAbsent(t, s, "s")

		revision := apply(t, s, "s", driver.Batch{
			If: driver.IfAbsent, Head: []byte("h"), Body: []byte("b"), Put: put("a", "A", "b", ""), Drop: []string{"k", "never"},
		})
		expect(t, s, "s", revision, "h", "b")
		expectItem(t, s, "s", "a", "A")
		expectItem(t, s, "s", "b", "")
		expectNoItem(t, s, "s", "k")

		// Items alone leave the record and its revision as they are.
		apply(t, s, "s", driver.Batch{If: driver.IfRevision, Revision: revision, Put: put("a", "changed")})
		expect(t, s, "s", revision, "h", "b")
		expectItem(t, s, "s", "a", "changed")

		// Items outlive the record unless they are dropped.
		apply(t, s, "s", driver.Batch{If: driver.IfRevision, Revision: revision, Delete: true, Drop: []string{"b"}})
		expectAbsent(t, s, "s")
		expectItem(t, s, "s", "a", "changed")
		expectNoItem(t, s, "s", "b")
	})
	t.Run("a refused batch changes no item", func(t *testing.T) {
		s := open(t, h)
		revision := create(t, s, "s", "h", "b")
		apply(t, s, "s", driver.Batch{Put: put("old", "1")})
		refused(t, s, "s", driver.Batch{If: driver.IfAbsent, Put: put("new", "2"), Drop: []string{"old"}}, driver.ErrExists)
		refused(t, s, "s", driver.Batch{If: driver.IfRevision, Revision: revision + 1, Put: put("new", "2"), Drop: []string{"old"}}, driver.ErrConflict)
		refused(t, s, "none", driver.Batch{If: driver.IfRevision, Revision: revision, Put: put("new", "2")}, driver.ErrConflict)
		expectItem(t, s, "s", "old", "1")
		expectNoItem(t, s, "s", "new")
		expectNoItem(t, s, "none", "new")
	})
	t.Run("absence", func(t *testing.T) {
		s := open(t, h)
		revision := create(t, s, "s", "h", "b")
		once := func(data string) driver.Batch {
			return driver.Batch{If: driver.IfRevision, Revision: revision, Head: []byte("h2"), Put: put("once", data, "more", data), Absent: []string{"once"}, Op: opID()}
		}
		second := apply(t, s, "s", once("1"))
		// The record's condition is looked at first.
		refused(t, s, "s", once("2"), driver.ErrConflict)
		late := once("2")
		late.Revision = second
		refused(t, s, "s", late, driver.ErrItemExists)
		expectItem(t, s, "s", "once", "1")
		expectItem(t, s, "s", "more", "1")
		refused(t, s, "s", driver.Batch{Put: put("else", "2"), Absent: []string{"new", "more"}}, driver.ErrItemExists)
		refused(t, s, "s", driver.Batch{Put: put("once", "2"), Absent: []string{"once"}}, driver.ErrItemExists)
		refused(t, s, "s", driver.Batch{Delete: true, Absent: []string{"once"}}, driver.ErrItemExists)
		expectNoItem(t, s, "s", "else")

		// An empty item is there; one of another session is not.
		apply(t, s, "none", driver.Batch{Put: put("empty", ""), Absent: []string{"empty", "once"}})
		refused(t, s, "none", driver.Batch{Put: put("empty", "2"), Absent: []string{"empty"}}, driver.ErrItemExists)
		apply(t, s, "none", driver.Batch{Drop: []string{"empty"}})
		apply(t, s, "none", driver.Batch{Put: put("empty", "3"), Absent: []string{"empty"}})
		expectItem(t, s, "none", "empty", "3")
	})
	t.Run("with the record", func(t *testing.T) {
		s := open(t, h)
		if r, data, err := s.GetItems(t.Context(), "s", driver.Read{}, []string{"a"}); !errors.Is(err, driver.ErrNotFound) || r != nil || data != nil {
			t.Errorf("GetItems of nothing: %s, %q, %v", show(r), data, err)
		}
		apply(t, s, "s", driver.Batch{Put: put("a", "A", "empty", "")})
		if _, _, err := s.GetItems(t.Context(), "s", driver.Read{}, []string{"a"}); !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("GetItems without a record: %v, want %v", err, driver.ErrNotFound)
		}
		revision := create(t, s, "s", "h", "b")
		r, data, err := s.GetItems(t.Context(), "s", driver.Read{}, []string{"none", "a", "empty"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Revision != revision || string(r.Head) != "h" || string(r.Body) != "b" {
			t.Errorf("GetItems gave %s", show(r))
		}
		if len(data) != 3 || data[0] != nil || string(data[1]) != "A" || data[2] == nil || len(data[2]) != 0 {
			t.Errorf("GetItems gave the items %q", data)
		}
		if r, data, err := s.GetItems(t.Context(), "s", driver.Read{}, nil); err != nil || r.Revision != revision || len(data) != 0 {
			t.Errorf("GetItems of no items: %s, %q, %v", show(r), data, err)
		}
	})
	t.Run("items are apart", func(t *testing.T) {
		s := open(t, h)
		apply(t, s, "a", driver.Batch{Put: put("b/c", "1")})
		apply(t, s, "a/b", driver.Batch{Put: put("c", "2")})
		expectItem(t, s, "a", "b/c", "1")
		expectItem(t, s, "a/b", "c", "2")
		apply(t, s, "a", driver.Batch{Drop: []string{"b/c"}})
		expectNoItem(t, s, "a", "b/c")
		expectItem(t, s, "a/b", "c", "2")
	})
	t.Run("listing", func(t *testing.T) {
		s := open(t, h)
		var want []driver.ItemInfo
		keys := []string{"-", "..", "0", "a", "a-b", "a/b", "aa", "program/0001/000000"}
		for i, id := range strangeIDs() {
			if i%2 == 0 {
				create(t, s, id, "h", "b") // every other one is without an owner
			}
			for j, key := range keys {
				data := bytes.Repeat([]byte{byte(j)}, i*10+j)
				apply(t, s, id, driver.Batch{Put: []driver.Item{{Key: key, Data: data}}})
				want = append(want, driver.ItemInfo{ItemRef: driver.ItemRef{ID: id, Key: key}, Size: len(data)})
			}
		}
		for _, limit := range []int{1, 3, 7, 1000} {
			got, err := allItems(t.Context(), s, driver.ItemRef{}, limit)
			if err != nil {
				t.Fatalf("with pages of %d: %v", limit, err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("with pages of %d: got %v, want %v", limit, got, want)
			}
		}
		// From any place, also between items and between sessions.
		for i, info := range want {
			got, err := allItems(t.Context(), s, info.ItemRef, 100)
			if err != nil || !slices.Equal(got, want[i+1:]) {
				t.Fatalf("after %v: got %v, %v; want %v", info.ItemRef, got, err, want[i+1:])
			}
			between := driver.ItemRef{ID: info.ID, Key: info.Key + "-"}
			if got, err := allItems(t.Context(), s, between, 100); err != nil || len(got) < len(want)-i-2 {
				t.Fatalf("after %v: got %d items, %v; want at least %d", between, len(got), err, len(want)-i-2)
			}
		}
	})
}

// allItems walks through all items, page by page, and checks what holds for
// every page.
func allItems(ctx context.Context, s driver.Store, after driver.ItemRef, limit int) ([]driver.ItemInfo, error) {
	var all []driver.ItemInfo
	for {
		page, err := s.Items(ctx, after, limit)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return all, nil
		}
		if len(page) > limit {
			return nil, fmt.Errorf("page of %d items, limit %d", len(page), limit)
		}
		for _, info := range page {
			if info.ID < after.ID || info.ID == after.ID && info.Key <= after.Key {
				return nil, fmt.Errorf("item %v does not follow %v", info.ItemRef, after)
			}
			after = info.ItemRef
		}
		all = append(all, page...)
	}
}
