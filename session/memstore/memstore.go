// Package memstore keeps sessions in the memory of the process: the fastest
// driver, and one whose content is gone with the process.
//
// It owns a sharded map of records, the items beside them, and an ordered
// index of ids that only creating and deleting touch.
//
// # Concurrency and failure
//
// All methods may be called at once. Get takes one shard's read lock for a map
// lookup and returns the stored *driver.Record itself, so what package session
// memoizes in it serves all readers until the record changes. Apply is atomic
// under the shard's lock; writers of sessions in different shards do not wait
// for one another, except that creates and deletes share the index. Nothing
// blocks on I/O, so a context is only looked at when a call begins. There are
// no goroutines.
//
// The contract is in session/driver, its proof in session/drivertest.
package memstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/snakepit-go/snakepit/session/driver"
)

// shardCount is a power of two far above the cores of one machine: a lock is
// then almost never contended, and 256 maps cost a few kilobytes. A lock-free
// map (xsync v4) was measured beside it on two cores with 64 callers: it reads
// in 21 ns instead of 38, writes in 237 ns instead of 139, and could not keep
// a record and its items in step.
const shardCount = 256

// info is what the driver declares. Its limits only keep one session from
// being mistaken for a file store.
var info = driver.Info{
	Name: "memory",
	Limits: driver.Limits{
		Head:       64 << 10,
		Record:     64 << 20,
		Item:       1 << 20,
		Batch:      128 << 20,
		BatchItems: 10_000,
	},
}

// Store is a driver.Store in memory. New makes one.
type Store struct {
	seed     maphash.Seed
	shards   [shardCount]shard
	revision atomic.Uint64
	count    atomic.Int64
	closed   atomic.Bool

	// ids and itemIDs are locked after a shard, never before.
	ids     idIndex // sessions that have a record
	itemIDs idIndex // sessions that have items
}

type shard struct {
	// mu guards both maps and the item sets in them.
	mu      sync.RWMutex
	records map[string]*driver.Record
	items   map[string]*itemSet
	_       [64]byte // keeps the locks of two shards out of one cache line
}

var (
	_ driver.Store     = (*Store)(nil)
	_ driver.Describer = (*Store)(nil)
	_ driver.Counter   = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	s := &Store{seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].records = make(map[string]*driver.Record)
	}
	return s
}

// Describe implements driver.Describer.
func (s *Store) Describe() driver.Info { return info }

// Count implements driver.Counter.
func (s *Store) Count(ctx context.Context) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	return int(s.count.Load()), nil
}

// Get implements driver.Store. Every level is given: there is one copy.
func (s *Store) Get(ctx context.Context, id string, _ driver.Read) (*driver.Record, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	sh := s.shard(id)
	sh.mu.RLock()
	r := sh.records[id]
	sh.mu.RUnlock()
	if r == nil {
		return nil, s.absent()
	}
	return r, nil
}

// Apply implements driver.Store.
func (s *Store) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	if err := b.Check(info.Limits); err != nil {
		return 0, err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if err := s.open(); err != nil {
		return 0, err
	}

	old := sh.records[id]
	var current driver.Revision
	if old != nil {
		current = old.Revision
	}
	if err := b.Permits(current, func(key string) bool { return sh.item(id, key) != nil }); err != nil {
		return 0, err
	}

	if len(b.Put) > 0 || len(b.Drop) > 0 {
		s.applyItems(sh, id, b)
	}
	switch {
	case b.Head != nil:
		r := b.Record
		if r == nil {
			r = &driver.Record{ID: id, Head: b.Head, Body: b.Body}
			if b.Body == nil {
				r.Body = old.Body
			}
		}
		if old != nil {
			r.ID = old.ID // the map and the index hold this string already
		}
		r.Revision = driver.Revision(s.revision.Add(1))
		sh.records[r.ID] = r
		if old == nil {
			s.count.Add(1)
			s.ids.insert(id)
		}
		return r.Revision, nil
	case b.Delete && old != nil:
		delete(sh.records, id)
		s.count.Add(-1)
		s.ids.remove(id)
	}
	return 0, nil
}

// List implements driver.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]*driver.Record, error) {
	if err := s.beginPage(ctx, limit); err != nil {
		return nil, err
	}
	records := make([]*driver.Record, 0, min(limit, chunk))
	from, inclusive := after, false
	if after < prefix {
		from, inclusive = prefix, true
	}
	// An empty page means the end, so a chunk whose sessions were all deleted
	// since the index was read must not end the page.
	for len(records) < limit {
		ids := s.ids.page(from, inclusive, min(limit-len(records), chunk))
		for _, id := range ids {
			if !strings.HasPrefix(id, prefix) {
				return records, s.open()
			}
			sh := s.shard(id)
			sh.mu.RLock()
			r := sh.records[id]
			sh.mu.RUnlock()
			if r != nil {
				records = append(records, &driver.Record{ID: r.ID, Revision: r.Revision, Head: r.Head})
			}
		}
		if len(ids) == 0 {
			break
		}
		from, inclusive = ids[len(ids)-1], false
	}
	return records, s.open()
}

// Ping implements driver.Store.
func (s *Store) Ping(ctx context.Context) error { return s.begin(ctx) }

// Close implements driver.Store. It lets go of all content at once. Calls under
// way that miss something look whether the store was closed meanwhile.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return driver.ErrClosed
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.records, sh.items = nil, nil
		sh.mu.Unlock()
	}
	s.ids.clear()
	s.itemIDs.clear()
	return nil
}

// open returns ErrClosed once the store is closed.
func (s *Store) open() error {
	if s.closed.Load() {
		return driver.ErrClosed
	}
	return nil
}

// absent is the error for a record or item that was not found.
func (s *Store) absent() error {
	if err := s.open(); err != nil {
		return err
	}
	return driver.ErrNotFound
}

func (s *Store) shard(id string) *shard {
	return &s.shards[maphash.String(s.seed, id)%shardCount]
}

// begin is what every call checks first.
func (s *Store) begin(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	return ctx.Err()
}

func (s *Store) beginPage(ctx context.Context, limit int) error {
	if limit < 1 {
		return fmt.Errorf("page of %d entries: %w", limit, driver.ErrInvalid)
	}
	return s.begin(ctx)
}
