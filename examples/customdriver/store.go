// Package customdriver is a complete storage driver in two short files, to be
// copied by whoever writes one. It keeps each session in a file of its own and
// all of them in memory. README.md walks through it.
//
// # Concurrency and failure
//
// All methods may be called at once. Writers take turns; readers never wait
// for the disk and see a write when it is durable, not before. A write that is
// acknowledged survives kill -9 and power loss: the file is written beside the
// old one, synced and renamed over it. If the disk fails in a way that leaves
// the outcome open, the store refuses everything from then on; open it again.
// There are no goroutines.
//
// The contract is in session/driver; store_test.go runs the suite that checks
// it, session/drivertest.
package customdriver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Step 1: say what the driver is called, what it promises, and how large things
// may be. Package session refuses what is larger and splits programs into items
// that fit. Without this method driver.DefaultInfo would hold.

// Describe implements driver.Describer.
func (s *Store) Describe() driver.Info {
	return driver.Info{Name: "files", Durable: true, Limits: driver.DefaultInfo.Limits}
}

// Store is a driver.Store in a directory. Open makes one.
type Store struct {
	dir directory

	// turn holds one token, which a writer takes; unlike a mutex it can be
	// waited for until a context ends.
	turn     chan struct{}
	revision driver.Revision // the last one given; belongs to the writer

	mu       sync.RWMutex // guards what follows; never held during I/O
	sessions map[string]*contents
	refusal  error // why every call is refused: closed, or the disk failed
}

// contents is all that is kept of one session. It is never changed, only
// replaced, so that readers need no copy.
type contents struct {
	record *driver.Record // nil if there are only items
	items  map[string][]byte
}

// Open opens the store in dir, which it creates if it is missing, and claims
// it until Close.
func Open(dir string) (*Store, error) {
	s := &Store{turn: make(chan struct{}, 1)}
	if err := s.dir.open(dir); err != nil {
		return nil, fmt.Errorf("open session files in %q: %w", dir, err)
	}
	var err error
	if s.sessions, err = s.dir.readAll(); err == nil {
		// Step 2: revisions. None may be given twice, not even by another
		// process after this one, or to a session that was deleted and created
		// again. So each opening gets a range of its own, durably.
		s.revision, err = s.dir.nextRange()
	}
	if err != nil {
		_ = s.dir.close() // the first error is the one to tell
		return nil, fmt.Errorf("open session files in %q: %w", dir, err)
	}
	return s, nil
}

// Step 3: reading. What is in memory is durable, and there is one copy of it,
// so every read level is given, and read.After needs no waiting. Returning the
// same *Record until it changes keeps what package session memoizes in it.

// Get implements driver.Store.
func (s *Store) Get(ctx context.Context, id string, _ driver.Read) (*driver.Record, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return nil, err
	}
	if c.record == nil {
		return nil, driver.ErrNotFound
	}
	return c.record, nil
}

// Item implements driver.Store.
func (s *Store) Item(ctx context.Context, id, key string) ([]byte, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return nil, err
	}
	data, ok := c.items[key]
	if !ok {
		return nil, driver.ErrNotFound
	}
	return data, nil
}

// GetItems implements driver.Store. Contents are replaced as a whole, so what
// is found in one of them was there in one instant.
func (s *Store) GetItems(ctx context.Context, id string, _ driver.Read, keys []string) (*driver.Record, [][]byte, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if c.record == nil {
		return nil, nil, driver.ErrNotFound
	}
	data := make([][]byte, len(keys))
	for i, key := range keys {
		if item, ok := c.items[key]; ok {
			data[i] = append([]byte{}, item...) // not nil, also if it is empty
		}
	}
	return c.record, data, nil
}

// read returns the contents of one session, empty if there is none.
func (s *Store) read(ctx context.Context, id string) (*contents, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.sessions[id]; c != nil {
		return c, nil
	}
	return new(contents), nil
}

// ready is what every call checks first: Close and a failed disk end all, and a
// context that has ended means that nothing is done.
func (s *Store) ready(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.refusal != nil {
		return s.refusal
	}
	return ctx.Err()
}

// Step 4: writing. The condition must hold in the instant in which the batch is
// applied; here the turn sees to that, since only its holder changes anything.
// The order matters: check, write to disk, and only then let readers see it.

// Apply implements driver.Store.
func (s *Store) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	// What contradicts itself or is too large is refused alike by all drivers.
	if err := b.Check(s.Describe().Limits); err != nil {
		return 0, err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	old, err := s.read(ctx, id)
	if err != nil {
		return 0, err
	}
	var current driver.Revision
	if old.record != nil {
		current = old.record.Revision
	}
	has := func(key string) bool { _, ok := old.items[key]; return ok }
	if err := b.Permits(current, has); err != nil {
		return 0, err
	}

	next := s.change(old, id, b)
	if err := s.dir.write(id, next); err != nil {
		return 0, s.writeFailed(id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if next.empty() {
		delete(s.sessions, id)
	} else {
		s.sessions[id] = next
	}
	if b.Head == nil {
		return 0, nil
	}
	return next.record.Revision, nil
}

// change returns the contents after a batch. The bytes of the batch may be
// kept: the caller does not change them again.
func (s *Store) change(old *contents, id string, b *driver.Batch) *contents {
	next := &contents{record: old.record, items: maps.Clone(old.items)}
	switch {
	case b.Head != nil:
		s.revision++
		next.record = &driver.Record{ID: id, Revision: s.revision, Head: b.Head, Body: b.Body}
		if b.Body == nil {
			next.record.Body = old.record.Body // Check saw to it that there is one
		}
	case b.Delete:
		next.record = nil
	}
	if next.items == nil {
		next.items = make(map[string][]byte)
	}
	for _, item := range b.Put {
		next.items[item.Key] = item.Data
	}
	for _, key := range b.Drop {
		delete(next.items, key)
	}
	return next
}

func (c *contents) empty() bool { return c.record == nil && len(c.items) == 0 }

// Step 5: failures. There are two answers, and confusing them loses data.
// ErrUnavailable says that nothing was written, and package session tries
// again; ErrUnknown says that it may have been written, and package session
// finds out. After an unknown outcome the memory may differ from the disk, so
// the store ends here.

func (s *Store) writeFailed(id string, err error) error {
	if outcome := new(unsettledError); errors.As(err, &outcome) {
		_ = s.refuse(fmt.Errorf("session files are broken since a failed write; repair the disk and reopen them: %w: %w",
			driver.ErrUnavailable, outcome.cause))
		return fmt.Errorf("write session %q: %w: %w", id, driver.ErrUnknown, outcome.cause)
	}
	return fmt.Errorf("write session %q: %w: %w", id, driver.ErrUnavailable, err)
}

// refuse makes every later call fail with err. The first reason stays, except
// that closing is the last word.
func (s *Store) refuse(err error) (before error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.refusal
	if before == nil || errors.Is(err, driver.ErrClosed) {
		s.refusal = err
	}
	return before
}

// Step 6: listing, in bytewise order, in pages that continue behind a name, not
// at a number: then whatever exists throughout comes exactly once, although
// others come and go meanwhile.

// List implements driver.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]*driver.Record, error) {
	if err := s.readyForPage(ctx, limit); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var page []*driver.Record
	for id, c := range s.sessions {
		if c.record != nil && strings.HasPrefix(id, prefix) && id > after {
			// A new Record: the memo belongs to the one with the body.
			page = append(page, &driver.Record{ID: id, Revision: c.record.Revision, Head: c.record.Head})
		}
	}
	slices.SortFunc(page, func(a, b *driver.Record) int { return strings.Compare(a.ID, b.ID) })
	return page[:min(limit, len(page))], nil
}

// Items implements driver.Store.
func (s *Store) Items(ctx context.Context, after driver.ItemRef, limit int) ([]driver.ItemInfo, error) {
	if err := s.readyForPage(ctx, limit); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var page []driver.ItemInfo
	for id, c := range s.sessions {
		for key, data := range c.items {
			info := driver.ItemInfo{ItemRef: driver.ItemRef{ID: id, Key: key}, Size: len(data)}
			if compare(info.ItemRef, after) > 0 {
				page = append(page, info)
			}
		}
	}
	slices.SortFunc(page, func(a, b driver.ItemInfo) int { return compare(a.ItemRef, b.ItemRef) })
	return page[:min(limit, len(page))], nil
}

// compare orders by id and then by key, not by what they give when joined.
func compare(a, b driver.ItemRef) int {
	if order := strings.Compare(a.ID, b.ID); order != 0 {
		return order
	}
	return strings.Compare(a.Key, b.Key)
}

func (s *Store) readyForPage(ctx context.Context, limit int) error {
	if limit < 1 {
		return fmt.Errorf("page of %d entries: %w", limit, driver.ErrInvalid)
	}
	return s.ready(ctx)
}

// Ping implements driver.Store.
func (s *Store) Ping(ctx context.Context) error { return s.ready(ctx) }

// Step 7: closing. It waits for the writer under way; what was acknowledged is
// on disk already.

// Close implements driver.Store.
func (s *Store) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if errors.Is(s.refuse(driver.ErrClosed), driver.ErrClosed) {
		return driver.ErrClosed
	}
	return s.dir.close()
}
