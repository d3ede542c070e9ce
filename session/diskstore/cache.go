package diskstore

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/snakepit-go/snakepit/session/driver"
)

// shardCount spreads sessions over locks; a power of two.
const shardCount = 256

// recordOverhead is what a cached record costs beside its bytes: the Record,
// the entry, the map and the ring slot.
const recordOverhead = 256

// shard holds what is known in memory of the sessions whose ids hash to it.
type shard struct {
	// mu guards all fields. It is never held during I/O, with one exception:
	// Pebble may make a writer wait for a memtable.
	mu sync.RWMutex
	// writes counts the writes to any session of the shard. Whoever reads from
	// Pebble without the lock sees by it whether the result is still current.
	writes uint64
	// pending has the last write of each session whose fsync is under way.
	pending map[string]*write
	// entries and ring hold the cached records; ring is swept by hand.
	entries map[string]*entry
	ring    []*entry
	hand    int
	_       [64]byte // keeps the locks of two shards out of one cache line
}

// reset forgets everything, but not that there were writes.
func (sh *shard) reset() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.writes++
	sh.pending = make(map[string]*write)
	sh.entries = make(map[string]*entry)
	sh.ring, sh.hand = nil, 0
}

// entry is a cached record. It is evicted by the clock algorithm: used since
// the hand last came by means one more round.
type entry struct {
	record *driver.Record
	used   atomic.Bool
	slot   int // in the ring
}

// cacheBudget bounds the cached records of all shards together.
type cacheBudget struct {
	limit int64
	bytes atomic.Int64
	hand  atomic.Uint32 // the shard in which to evict next
}

func (s *Store) shard(id string) *shard {
	return &s.shards[maphash.String(s.seed, id)%shardCount]
}

func cost(r *driver.Record) int64 {
	return int64(recordOverhead + len(r.ID) + len(r.Head) + len(r.Body))
}

// keep makes r the cached record of its session. The caller holds the shard
// and calls trim after it has given the shard back.
func (s *Store) keep(sh *shard, r *driver.Record) {
	if s.cache.limit < 0 {
		return
	}
	s.cache.bytes.Add(cost(r))
	if e := sh.entries[r.ID]; e != nil {
		s.cache.bytes.Add(-cost(e.record))
		e.record = r
		e.used.Store(true)
		return
	}
	e := &entry{record: r, slot: len(sh.ring)}
	sh.entries[r.ID] = e
	sh.ring = append(sh.ring, e)
}

// forget removes a session from the cache. The caller holds the shard.
func (s *Store) forget(sh *shard, id string) {
	if e := sh.entries[id]; e != nil {
		s.evict(sh, e)
	}
}

func (s *Store) evict(sh *shard, e *entry) {
	s.cache.bytes.Add(-cost(e.record))
	delete(sh.entries, e.record.ID)
	last := len(sh.ring) - 1
	sh.ring[e.slot] = sh.ring[last]
	sh.ring[e.slot].slot = e.slot
	sh.ring[last] = nil
	sh.ring = sh.ring[:last]
}

// trim evicts until the cache is within its bound, taking the shards in turn.
func (s *Store) trim() {
	for s.cache.bytes.Load() > s.cache.limit && s.cache.limit >= 0 {
		sh := &s.shards[s.cache.hand.Add(1)%shardCount]
		sh.mu.Lock()
		s.evictOne(sh)
		sh.mu.Unlock()
	}
}

// evictOne moves the hand of a shard to the next record that was not used since
// the hand last came by, and evicts it. If all were used it evicts none: there
// may be a better one in another shard. The caller holds the shard.
func (s *Store) evictOne(sh *shard) {
	for range len(sh.ring) {
		if sh.hand >= len(sh.ring) {
			sh.hand = 0
		}
		e := sh.ring[sh.hand]
		if !e.used.Swap(false) {
			s.evict(sh, e)
			return
		}
		sh.hand++
	}
}

// lockItems is lockCurrent that also returns the bytes of items as they are
// while the lock is held, nil for those that do not exist.
func (s *Store) lockItems(sh *shard, id string, keys []string) (*driver.Record, [][]byte, error) {
	data := make([][]byte, len(keys))
	for {
		sh.mu.RLock()
		before := sh.writes
		sh.mu.RUnlock()
		for i, key := range keys {
			var err error
			data[i], err = s.value(itemKey(rangeItem, id, key))
			if err != nil && !errors.Is(err, pebble.ErrNotFound) {
				return nil, nil, s.readError(fmt.Sprintf("item %q", key), id, err)
			}
		}
		r, err := s.lockCurrent(sh, id)
		if err != nil {
			return nil, nil, err
		}
		if sh.writes == before {
			return r, data, nil
		}
		sh.mu.Unlock() // the items may be older than the record
	}
}

// lockCurrent locks the shard and returns the current record of a session, nil
// if there is none. Unless it returns an error, the caller unlocks.
func (s *Store) lockCurrent(sh *shard, id string) (*driver.Record, error) {
	for {
		sh.mu.Lock()
		if e := sh.entries[id]; e != nil {
			e.used.Store(true)
			return e.record, nil
		}
		before := sh.writes
		sh.mu.Unlock()
		r, err := s.load(id)
		sh.mu.Lock()
		if sh.writes != before {
			sh.mu.Unlock()
			continue // r may be old, or half old
		}
		if err != nil {
			sh.mu.Unlock()
			return nil, err
		}
		if r == nil {
			return nil, nil
		}
		if e := sh.entries[id]; e != nil {
			return e.record, nil // another reader was first; Memo is in its record
		}
		s.keep(sh, r)
		return r, nil
	}
}
