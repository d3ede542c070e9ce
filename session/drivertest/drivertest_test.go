package drivertest_test

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/drivertest"
	"github.com/snakepit-go/snakepit/session/memstore"
)

func TestMain(m *testing.M) {
	if os.Getenv(brokenEnv) != "" {
		os.Exit(m.Run()) // a driver that leaks may be among them
	}
	goleak.VerifyTestMain(m)
}

// brokenEnv names the driver of faults that TestBroken is to run the suite on.
const brokenEnv = "DRIVERTEST_BROKEN"

// faults are drivers with one fault each, and the part of the suite that must
// find it.
var faults = map[string]struct {
	wrap  func(driver.Store) driver.Store
	found string
}{
	"forgets the condition":     {func(s driver.Store) driver.Store { return forgetsCondition{s} }, "Contract/create"},
	"loses the kept body":       {func(s driver.Store) driver.Store { return losesBody{s} }, "Contract/body_kept"},
	"lists a record twice":      {func(s driver.Store) driver.Store { return listsTwice{s} }, "Pages/order,_prefix,_cursor"},
	"skips listed records":      {func(s driver.Store) driver.Store { return skipsListed{s} }, "Pages/order,_prefix,_cursor"},
	"repeats revisions":         {func(s driver.Store) driver.Store { return newRepeatsRevisions(s) }, "Contract/revision_never_repeated"},
	"returns stale records":     {func(s driver.Store) driver.Store { return &stale{Store: s} }, "RandomHistory"},
	"forgets absence":           {func(s driver.Store) driver.Store { return forgetsAbsence{s} }, "Items/absence"},
	"checks absence, then acts": {func(s driver.Store) driver.Store { return checksAbsenceFirst{s} }, "Concurrency/one_writer_makes_an_item"},
	"reads items afterwards":    {func(s driver.Store) driver.Store { return readsItemsApart{s} }, "Concurrency/a_batch_is_never_half_visible"},
	"takes empty for absent":    {func(s driver.Store) driver.Store { return emptyIsAbsent{s} }, "Items/with_the_record"},
	"applies a batch in halves": {func(s driver.Store) driver.Store { return halves{s} }, "Items/a_refused_batch_changes_no_item"},
	"deletes the items, too":    {func(s driver.Store) driver.Store { return dropsItems{s} }, "Items/with_and_without_a_record"},
	"checks, then acts":         {func(s driver.Store) driver.Store { return checksThenActs{s} }, "Concurrency"},
	"ignores contexts":          {func(s driver.Store) driver.Store { return ignoresContext{s} }, "Cancellation"},
	"does not close":            {func(s driver.Store) driver.Store { return neverCloses{s} }, "Closed/refuses"},
	"leaks a goroutine":         {leaks, "Leaks"},
	"claims to be durable": {func(s driver.Store) driver.Store {
		return claims{s, driver.Info{Name: "x", Durable: true, Limits: driver.Describe(s).Limits}}
	}, "Durability"},
	"declares nonsense":          {func(s driver.Store) driver.Store { return claims{s, driver.Info{Name: "x"}} }, "Limits/make_sense"},
	"declares less than it does": {func(s driver.Store) driver.Store { return claims{s, driver.DefaultInfo} }, "Limits/record"},
	"counts wrong":               {func(s driver.Store) driver.Store { return countsItems{s} }, "Capabilities/count"},
}

func harness(wrap func(driver.Store) driver.Store) drivertest.Harness {
	return drivertest.Harness{Open: func(testing.TB) driver.Store { return wrap(memstore.New()) }}
}

// TestSound shows that the wrapping alone is no fault.
func TestSound(t *testing.T) {
	sound := harness(func(s driver.Store) driver.Store { return claims{s, driver.Describe(s)} })
	drivertest.Run(t, sound)
	drivertest.Compare(t, sound, harness(func(s driver.Store) driver.Store { return s }))
}

// TestSuiteFindsFaults runs the suite on each broken driver, in a process of
// its own, since a failed test cannot be undone; it must fail, and in the part
// that is meant to find this fault.
func TestSuiteFindsFaults(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestBroken$", "-test.v", "-test.timeout=60s", "-rapid.nofailfile", "-rapid.shrinktime=0s")
			child.Env = append(os.Environ(), brokenEnv+"="+name)
			output, err := child.CombinedOutput()
			if err == nil {
				t.Fatal("the suite found nothing")
			}
			var failed []string
			for line := range strings.Lines(string(output)) {
				if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: TestBroken/"); ok {
					part, _, _ := strings.Cut(rest, " ")
					failed = append(failed, part)
				}
			}
			if !slices.Contains(failed, fault.found) {
				t.Errorf("%q did not find it; these did: %q\n%s", fault.found, failed, output)
			}
		})
	}
}

// TestCompareFindsFaults is the same for Compare.
func TestCompareFindsFaults(t *testing.T) {
	child := exec.Command(os.Args[0], "-test.run=^TestBrokenCompared$", "-rapid.nofailfile")
	child.Env = append(os.Environ(), brokenEnv+"=loses the kept body")
	output, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "-rapid.seed=") || !strings.Contains(string(output), "memory answered") {
		t.Errorf("no difference found, or no seed given: %v\n%s", err, output)
	}
}

func TestBroken(t *testing.T) {
	fault, ok := faults[os.Getenv(brokenEnv)]
	if !ok {
		t.Skip("runs in the processes of TestSuiteFindsFaults")
	}
	drivertest.Run(t, harness(fault.wrap))
}

func TestBrokenCompared(t *testing.T) {
	fault, ok := faults[os.Getenv(brokenEnv)]
	if !ok {
		t.Skip("runs in the process of TestCompareFindsFaults")
	}
	drivertest.Compare(t, harness(func(s driver.Store) driver.Store { return s }), harness(fault.wrap))
}

type forgetsCondition struct{ driver.Store }

func (f forgetsCondition) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	c := *b
	if c.If == driver.IfAbsent {
		c.If = driver.IfAny
	}
	return f.Store.Apply(ctx, id, &c)
}

type forgetsAbsence struct{ driver.Store }

func (f forgetsAbsence) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	c := *b
	c.Absent = nil
	return f.Store.Apply(ctx, id, &c)
}

// checksAbsenceFirst looks for the items before it applies the batch, and not
// in the same instant.
type checksAbsenceFirst struct{ driver.Store }

func (c checksAbsenceFirst) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	d := *b
	d.Absent = nil
	if d.If == driver.IfAny && d.Head == nil {
		for _, key := range b.Absent {
			if _, err := c.Store.Item(ctx, id, key); err == nil {
				return 0, driver.ErrItemExists
			}
		}
		runtime.Gosched() // as any I/O here would do
	} else {
		d.Absent = b.Absent
	}
	return c.Store.Apply(ctx, id, &d)
}

// readsItemsApart reads the record and then the items.
type readsItemsApart struct{ driver.Store }

func (r readsItemsApart) GetItems(ctx context.Context, id string, read driver.Read, keys []string) (*driver.Record, [][]byte, error) {
	record, err := r.Store.Get(ctx, id, read)
	if err != nil {
		return nil, nil, err
	}
	runtime.Gosched() // as any I/O here would do
	_, data, err := r.Store.GetItems(ctx, id, read, keys)
	return record, data, err
}

type emptyIsAbsent struct{ driver.Store }

func (e emptyIsAbsent) GetItems(ctx context.Context, id string, read driver.Read, keys []string) (*driver.Record, [][]byte, error) {
	record, data, err := e.Store.GetItems(ctx, id, read, keys)
	for i := range data {
		if len(data[i]) == 0 {
			data[i] = nil
		}
	}
	return record, data, err
}

type losesBody struct{ driver.Store }

func (l losesBody) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	c := *b
	if c.Head != nil && c.Body == nil {
		c.Body, c.Record = []byte{}, nil
	}
	return l.Store.Apply(ctx, id, &c)
}

type listsTwice struct{ driver.Store }

func (l listsTwice) List(ctx context.Context, prefix, after string, limit int) ([]*driver.Record, error) {
	page, err := l.Store.List(ctx, prefix, after, limit)
	if len(page) > 1 && len(page) < limit {
		page = append(page, page[len(page)-1])
	}
	return page, err
}

type skipsListed struct{ driver.Store }

func (l skipsListed) List(ctx context.Context, prefix, after string, limit int) ([]*driver.Record, error) {
	page, err := l.Store.List(ctx, prefix, after, limit)
	if len(page) > 3 {
		page = append(page[:1:1], page[2:]...)
	}
	return page, err
}

// repeatsRevisions counts the revisions of a record from 1 each time it is
// created.
type repeatsRevisions struct {
	driver.Store
	mu    *sync.Mutex
	given map[string][]driver.Revision // the true revision of each given one
}

func newRepeatsRevisions(s driver.Store) repeatsRevisions {
	return repeatsRevisions{s, new(sync.Mutex), map[string][]driver.Revision{}}
}

func (r repeatsRevisions) Get(ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record, err := r.Store.Get(ctx, id, read)
	if err != nil {
		return nil, err
	}
	return &driver.Record{ID: id, Revision: driver.Revision(len(r.given[id])), Head: record.Head, Body: record.Body}, nil
}

func (r repeatsRevisions) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := *b
	c.Record = nil
	if given := r.given[id]; c.If == driver.IfRevision && c.Revision != 0 && int(c.Revision) <= len(given) {
		c.Revision = given[c.Revision-1]
	}
	revision, err := r.Store.Apply(ctx, id, &c)
	switch {
	case err != nil:
		return 0, err
	case b.Delete:
		delete(r.given, id)
		return 0, nil
	case revision == 0:
		return 0, nil
	}
	r.given[id] = append(r.given[id], revision)
	return driver.Revision(len(r.given[id])), nil
}

// stale answers every third read with what it saw before.
type stale struct {
	driver.Store
	mu    sync.Mutex
	reads int
	seen  map[string]*driver.Record
}

func (s *stale) Get(ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if old := s.seen[id]; old != nil && s.reads%3 == 0 {
		return old, nil
	}
	r, err := s.Store.Get(ctx, id, read)
	if err == nil {
		if s.seen == nil {
			s.seen = map[string]*driver.Record{}
		}
		s.seen[id] = r
	}
	return r, err
}

type halves struct{ driver.Store }

func (h halves) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	if _, err := h.Store.Apply(ctx, id, &driver.Batch{Put: b.Put, Drop: b.Drop}); err != nil {
		return 0, err
	}
	c := *b
	c.Put, c.Drop = nil, nil
	return h.Store.Apply(ctx, id, &c)
}

type dropsItems struct{ driver.Store }

func (d dropsItems) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	c := *b
	if b.Delete {
		infos, err := d.Store.Items(ctx, driver.ItemRef{}, 10_000)
		if err != nil {
			return 0, err
		}
		for _, info := range infos {
			if info.ID == id && !slices.Contains(c.Drop, info.Key) {
				c.Drop = append(c.Drop, info.Key)
			}
		}
	}
	return d.Store.Apply(ctx, id, &c)
}

// checksThenActs checks the condition before it applies the batch, and not in
// the same instant.
type checksThenActs struct{ driver.Store }

func (c checksThenActs) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	if err := b.Check(driver.Describe(c.Store).Limits); err != nil {
		return 0, err
	}
	var old driver.Record
	if r, err := c.Store.Get(ctx, id, driver.Read{}); err == nil {
		old.Revision, old.Body = r.Revision, r.Body
	}
	has := func(key string) bool { _, err := c.Store.Item(ctx, id, key); return err == nil }
	if err := b.Permits(old.Revision, has); err != nil {
		return 0, err
	}
	d := *b
	d.If, d.Absent, d.Record = driver.IfAny, nil, nil
	if d.Head != nil && d.Body == nil {
		d.Body = old.Body
	}
	runtime.Gosched() // as any I/O here would do
	return c.Store.Apply(ctx, id, &d)
}

type ignoresContext struct{ driver.Store }

func (i ignoresContext) Apply(_ context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	return i.Store.Apply(context.Background(), id, b)
}

type neverCloses struct{ driver.Store }

func (n neverCloses) Close() error { return nil }

func leaks(s driver.Store) driver.Store {
	go func() { select {} }()
	return s
}

type claims struct {
	driver.Store
	info driver.Info
}

func (c claims) Describe() driver.Info { return c.info }
func (c claims) Unwrap() driver.Store  { return c.Store }

type countsItems struct{ driver.Store }

func (c countsItems) Count(ctx context.Context) (int, error) {
	infos, err := c.Store.Items(ctx, driver.ItemRef{}, 10_000)
	return len(infos), err
}
