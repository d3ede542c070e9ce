package drivertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/snakepit-go/snakepit/session/driver"
)

// testRandomHistory plays random histories on the driver and on the model.
func testRandomHistory(t *testing.T, h Harness) {
	model := Harness{
		Open:   func(testing.TB) driver.Store { return newModel() },
		Reopen: func(_ testing.TB, closed driver.Store) driver.Store { return closed },
	}
	Compare(t, model, h)
}

// Compare plays the same random histories on two drivers and compares every
// answer. A difference fails the test with the shortest history that shows it
// and with the seed: run the test again with -rapid.seed to replay it.
func Compare(t *testing.T, a, b Harness) {
	first, second := newPlayer(t, a), newPlayer(t, b)
	steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 40)
	reopen := a.Reopen != nil && b.Reopen != nil
	rapid.Check(t, func(t *rapid.T) {
		first.clear(t)
		second.clear(t)
		history := steps.Draw(t, "history")
		compare := func(what string, one, two string) {
			if one != two {
				t.Fatalf("%s: %s answered\n\t%s\nand %s\n\t%s", what, first.name(), one, second.name(), two)
			}
		}
		for i, st := range history {
			if st.kind == stepReopen && !reopen {
				continue
			}
			compare(fmt.Sprintf("step %d, %s", i, st), first.play(t, st), second.play(t, st))
		}
		compare("in the end", first.content(t), second.content(t))
	})
}

// The histories use few names, so that their steps meet.
var (
	someIDs  = []string{"a", "ab", "a\x00", "b/c"}
	someKeys = []string{"k", "k-", "p/0"}
)

// step is one call. It names a revision by its age, because drivers give
// different ones: 0 is the session's latest, 1 the one before, and one that is
// too old to be is a revision never given.
type step struct {
	kind   int
	id     string
	age    int
	batch  driver.Batch
	key    string
	prefix string
	after  driver.ItemRef
	limit  int
}

const (
	stepGet = iota
	stepGetItems
	stepApply
	stepItem
	stepList
	stepItems
	stepCount
	stepReopen
)

func drawStep(t *rapid.T) step {
	st := step{
		id:    rapid.SampledFrom(someIDs).Draw(t, "id"),
		limit: rapid.IntRange(1, 4).Draw(t, "limit"),
	}
	// Writes are as frequent as everything else together; reopening is slow.
	st.kind = rapid.SampledFrom(slices.Concat(
		slices.Repeat([]int{stepApply}, 15), slices.Repeat([]int{stepGet}, 3), slices.Repeat([]int{stepGetItems}, 3),
		slices.Repeat([]int{stepItem}, 4), slices.Repeat([]int{stepList}, 3), slices.Repeat([]int{stepItems}, 2),
		[]int{stepCount, stepReopen},
	)).Draw(t, "kind")
	key := rapid.SampledFrom(someKeys)
	switch st.kind {
	case stepApply:
		st.batch, st.age = drawBatch(t)
	case stepItem:
		st.key = key.Draw(t, "key")
	case stepList:
		st.prefix = rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "prefix")
		st.after.ID = rapid.SampledFrom(append(someIDs, "", "aa")).Draw(t, "after")
	case stepItems:
		st.after = driver.ItemRef{ID: rapid.SampledFrom(append(someIDs, "")).Draw(t, "after")}
		if st.after.ID != "" {
			st.after.Key = key.Draw(t, "after key")
		}
	}
	return st
}

func drawBatch(t *rapid.T) (b driver.Batch, age int) {
	text := func(label string) []byte {
		return []byte(rapid.StringMatching(`[a-c]{0,3}`).Draw(t, label))
	}
	b.If = driver.Condition(rapid.IntRange(0, 2).Draw(t, "condition"))
	if b.If == driver.IfRevision {
		age = rapid.SampledFrom([]int{0, 0, 0, 1, 2, 100}).Draw(t, "age")
	}
	switch rapid.SampledFrom([]string{"store", "store", "touch", "delete", "items"}).Draw(t, "change") {
	case "store":
		b.Head, b.Body = text("head"), text("body")
	case "touch":
		b.Head = text("head")
	case "delete":
		b.Delete = true
	}
	for _, key := range someKeys {
		switch rapid.IntRange(0, 5).Draw(t, "item") {
		case 0:
			b.Put = append(b.Put, driver.Item{Key: key, Data: text("data")})
		case 1:
			b.Drop = append(b.Drop, key)
		}
		if rapid.IntRange(0, 7).Draw(t, "absent") == 0 {
			b.Absent = append(b.Absent, key)
		}
	}
	return b, age
}

func (st step) String() string {
	switch st.kind {
	case stepGet:
		return fmt.Sprintf("get %q", st.id)
	case stepGetItems:
		return fmt.Sprintf("get %q with items", st.id)
	case stepApply:
		if st.batch.If == driver.IfRevision {
			return fmt.Sprintf("apply to %q at age %d: %s", st.id, st.age, describe(&st.batch))
		}
		return fmt.Sprintf("apply to %q: %s", st.id, describe(&st.batch))
	case stepItem:
		return fmt.Sprintf("item %q of %q", st.key, st.id)
	case stepList:
		return fmt.Sprintf("list %q after %q, %d a page", st.prefix, st.after.ID, st.limit)
	case stepItems:
		return fmt.Sprintf("items after %q, %d a page", st.after, st.limit)
	case stepCount:
		return "count"
	default:
		return "reopen"
	}
}

// GoString makes rapid print histories as text.
func (st step) GoString() string { return st.String() }

// player plays steps on one driver and gives answers that can be compared.
type player struct {
	outer     testing.TB // whose Cleanup closes the store
	harness   Harness
	store     driver.Store
	revisions map[string][]driver.Revision // all that were given, in order
}

func newPlayer(t testing.TB, h Harness) *player {
	p := &player{outer: t, harness: h, store: h.Open(t), revisions: map[string][]driver.Revision{}}
	t.Cleanup(func() { closeStore(t, p.store) })
	return p
}

func (p *player) name() string {
	if _, ok := p.store.(*model); ok {
		return "the model"
	}
	return driver.Describe(p.store).Name
}

// clear deletes all content. Revisions given so far must still not come back.
func (p *player) clear(t *rapid.T) {
	ctx := p.outer.Context()
	records, err := allRecords(ctx, p.store, "", "", 100)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, r := range records {
		if _, err := p.store.Apply(ctx, r.ID, &driver.Batch{Delete: true}); err != nil {
			t.Fatalf("delete %q: %v", r.ID, err)
		}
	}
	infos, err := allItems(ctx, p.store, driver.ItemRef{}, 100)
	if err != nil {
		t.Fatalf("list items: %v", err)
	}
	for _, info := range infos {
		if _, err := p.store.Apply(ctx, info.ID, &driver.Batch{Drop: []string{info.Key}}); err != nil {
			t.Fatalf("drop %v: %v", info.ItemRef, err)
		}
	}
}

// at returns the revision of a session of the given age.
func (p *player) at(id string, age int) driver.Revision {
	given := p.revisions[id]
	if age < len(given) {
		return given[len(given)-1-age]
	}
	return 1<<63 + driver.Revision(age)
}

// state says which state of a session has a revision.
func (p *player) state(t *rapid.T, id string, revision driver.Revision) string {
	n := slices.Index(p.revisions[id], revision)
	if n < 0 {
		t.Fatalf("%s: session %q has revision %d, which was never given", p.name(), id, revision)
	}
	return fmt.Sprintf("state %d", n)
}

func (p *player) record(t *rapid.T, r *driver.Record) string {
	return fmt.Sprintf("%q in %s, head %q, body %q", r.ID, p.state(t, r.ID, r.Revision), r.Head, r.Body)
}

// play makes one call and returns its answer.
func (p *player) play(t *rapid.T, st step) string {
	ctx := p.outer.Context()
	switch st.kind {
	case stepGet:
		r, err := p.store.Get(ctx, st.id, driver.Read{})
		if err != nil {
			return class(err)
		}
		return p.record(t, r)
	case stepGetItems:
		r, data, err := p.store.GetItems(ctx, st.id, driver.Read{}, someKeys)
		if err != nil {
			return class(err)
		}
		return fmt.Sprintf("%s, items %q, none %t", p.record(t, r), data, slices.ContainsFunc(data, func(d []byte) bool { return d == nil }))
	case stepApply:
		b := st.batch
		if b.If == driver.IfRevision {
			b.Revision = p.at(st.id, st.age)
		}
		b.Op = opID()
		revision, err := p.store.Apply(ctx, st.id, &b)
		if err != nil {
			return class(err)
		}
		if revision == 0 {
			return "done"
		}
		if slices.Contains(p.revisions[st.id], revision) {
			t.Fatalf("%s: session %q got revision %d a second time", p.name(), st.id, revision)
		}
		p.revisions[st.id] = append(p.revisions[st.id], revision)
		return p.state(t, st.id, revision)
	case stepItem:
		data, err := p.store.Item(ctx, st.id, st.key)
		if err != nil {
			return class(err)
		}
		return fmt.Sprintf("%q", data)
	case stepList:
		return p.list(t, st.prefix, st.after.ID, st.limit)
	case stepItems:
		return p.items(st.after, st.limit)
	case stepCount:
		// A driver that cannot count is not asked; the listing says the same.
		records, err := allRecords(ctx, p.store, "", "", 100)
		if err != nil {
			return class(err)
		}
		n := len(records)
		if counter, ok := driver.As[driver.Counter](p.store); ok {
			if n, err = counter.Count(ctx); err != nil {
				return class(err)
			}
		}
		return fmt.Sprint(n)
	default:
		if err := p.store.Close(); err != nil {
			t.Fatalf("%s: Close: %v", p.name(), err)
		}
		p.store = p.harness.Reopen(p.outer, p.store)
		return p.content(t)
	}
}

func (p *player) list(t *rapid.T, prefix, after string, limit int) string {
	records, err := allRecords(p.outer.Context(), p.store, prefix, after, limit)
	if err != nil {
		t.Fatalf("%s: list %q after %q: %v", p.name(), prefix, after, err)
	}
	var lines []string
	for _, r := range records {
		lines = append(lines, p.record(t, r))
	}
	return strings.Join(lines, "; ")
}

func (p *player) items(after driver.ItemRef, limit int) string {
	infos, err := allItems(p.outer.Context(), p.store, after, limit)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(infos)
}

// content is all there is.
func (p *player) content(t *rapid.T) string {
	var text strings.Builder
	for _, id := range someIDs {
		fmt.Fprintln(&text, p.play(t, step{kind: stepGet, id: id}))
		for _, key := range someKeys {
			fmt.Fprintln(&text, p.play(t, step{kind: stepItem, id: id, key: key}))
		}
	}
	fmt.Fprintln(&text, p.list(t, "", "", 3))
	fmt.Fprintln(&text, p.items(driver.ItemRef{}, 3))
	return text.String()
}
