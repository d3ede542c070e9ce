package drivertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
)

// allRecords walks through a listing, page by page, and checks what holds for
// every page.
func allRecords(ctx context.Context, s driver.Store, prefix, after string, limit int) ([]*driver.Record, error) {
	var all []*driver.Record
	for {
		page, err := s.List(ctx, prefix, after, limit)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return all, nil
		}
		if len(page) > limit {
			return nil, fmt.Errorf("page of %d records, limit %d", len(page), limit)
		}
		for _, r := range page {
			switch {
			case r.ID <= after:
				return nil, fmt.Errorf("record %q does not follow %q", r.ID, after)
			case !strings.HasPrefix(r.ID, prefix):
				return nil, fmt.Errorf("record %q in the listing of %q", r.ID, prefix)
			case r.Body != nil:
				return nil, fmt.Errorf("record %q is listed with its body", r.ID)
			case r.Revision == 0 || r.Head == nil:
				return nil, fmt.Errorf("record %q is listed without revision or head", r.ID)
			}
			after = r.ID
		}
		all = append(all, page...)
	}
}

func testPages(t *testing.T, h Harness) {
	t.Run("order, prefix, cursor", func(t *testing.T) {
		s := open(t, h)
		ids := strangeIDs()
		revisions := map[string]driver.Revision{}
		for _, id := range ids {
			revisions[id] = create(t, s, id, "head of "+id, "body")
		}
		for _, prefix := range []string{"", "x", "x\x00", "x/", "xyz", "..", "z", "日", "\U0010FFFF"} {
			for _, after := range append([]string{"", "w", "x\x00", "xz", "\U0010FFFF"}, ids[3], ids[len(ids)/2]) {
				for _, limit := range []int{1, 2, 5, 1000} {
					var want []string
					for _, id := range ids {
						if strings.HasPrefix(id, prefix) && id > after {
							want = append(want, id)
						}
					}
					records, err := allRecords(t.Context(), s, prefix, after, limit)
					if err != nil {
						t.Fatalf("List(%q, %q, %d): %v", prefix, after, limit, err)
					}
					var got []string
					for _, r := range records {
						got = append(got, r.ID)
						if r.Revision != revisions[r.ID] || string(r.Head) != "head of "+r.ID {
							t.Errorf("List(%q): got %s, want revision %d and its head", prefix, show(r), revisions[r.ID])
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("List(%q, %q, %d): got %q, want %q", prefix, after, limit, got, want)
					}
				}
			}
		}
	})
	t.Run("deleted cursor", func(t *testing.T) {
		s := open(t, h)
		for _, id := range []string{"a", "b", "c"} {
			create(t, s, id, "h", "b")
		}
		apply(t, s, "b", driver.Batch{Delete: true})
		records, err := allRecords(t.Context(), s, "", "b", 10)
		if err != nil || len(records) != 1 || records[0].ID != "c" {
			t.Errorf("after a deleted record: %d records, %v; want the one that follows", len(records), err)
		}
	})
	t.Run("under writes", func(t *testing.T) { testPagesUnderWrites(t, h) })
}

// testPagesUnderWrites lists while others create, change and delete. Whatever
// exists from beginning to end must come exactly once; allRecords and allItems
// check the order, which excludes the second time.
func testPagesUnderWrites(t *testing.T, h Harness) {
	s := open(t, h)
	const kept = 60
	for i := range kept {
		id := fmt.Sprintf("s%03d-kept", i)
		create(t, s, id, "h", "b")
		apply(t, s, id, driver.Batch{Put: put("kept", "1")})
	}

	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	for w := range 3 {
		writers.Go(func() {
			for n := w; ctx.Err() == nil; n += 3 {
				// Neighbours of those kept come and go; those kept change.
				near := fmt.Sprintf("s%03d-%c", n%kept, "ax"[n%2])
				same := fmt.Sprintf("s%03d-kept", n%kept)
				for _, step := range []struct {
					id string
					b  driver.Batch
				}{
					{near, driver.Batch{Head: []byte("h"), Body: []byte("b"), Put: put("k", "1")}},
					{same, driver.Batch{Head: []byte("h2"), Body: []byte("b2"), Put: put("kept", "2", "more", "3")}},
					{near, driver.Batch{Delete: true, Drop: []string{"k"}}},
					{same, driver.Batch{Drop: []string{"more"}}},
				} {
					if _, err := s.Apply(context.WithoutCancel(ctx), step.id, &step.b); err != nil {
						t.Errorf("Apply(%q, %s): %v", step.id, describe(&step.b), err)
						return
					}
				}
			}
		})
	}

	for round := range 30 {
		limit := 1 + round%7
		records, err := allRecords(t.Context(), s, "", "", limit)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, r := range records {
			if strings.HasSuffix(r.ID, "-kept") {
				found++
			}
		}
		if found != kept {
			t.Fatalf("round %d: %d of %d records that exist throughout", round, found, kept)
		}
		items, err := allItems(t.Context(), s, driver.ItemRef{}, limit)
		if err != nil {
			t.Fatal(err)
		}
		found = 0
		for _, info := range items {
			if info.Key == "kept" {
				found++
			}
		}
		if found != kept {
			t.Fatalf("round %d: %d of %d items that exist throughout", round, found, kept)
		}
	}
}
