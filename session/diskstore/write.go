package diskstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/snakepit-go/snakepit/session/driver"
)

// write is a batch in Pebble's log whose fsync is under way.
type write struct {
	shard   *shard // nil for a barrier
	id      string
	batch   *pebble.Batch // nil for the mark behind all writes to a database
	disk    *freezer      // below the database it is in
	created int64         // records it adds: -1, 0 or 1
	done    chan struct{} // closed when err is final
	err     error         // nil: durable
}

// Apply implements driver.Store.
func (s *Store) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	if err := b.Check(limits); err != nil {
		return 0, err
	}

	revision, batch, err := s.encode(id, b)
	if err != nil {
		discard(batch)
		return 0, unwritten(id, err)
	}
	w := &write{shard: s.shard(id), id: id, batch: batch, disk: s.db.disk, done: make(chan struct{})}
	refusedBy, err := s.enter(w, revision, b)
	s.trim()
	if err != nil {
		discard(batch)
		// The state that refuses the batch must be one that stays.
		if settleErr := s.settled(ctx, refusedBy); settleErr != nil {
			return 0, settleErr
		}
		return 0, err
	}
	s.syncs <- w
	if s.relaxed {
		return revision, nil
	}

	select {
	case <-w.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("write session %q: %w: ended while waiting for the fsync: %w", id, driver.ErrUnknown, ctx.Err())
	}
	if w.err != nil {
		return 0, fmt.Errorf("write session %q: %w: %w", id, driver.ErrUnknown, w.err)
	}
	return revision, nil
}

// encode turns b into a batch of Pebble's, with a fresh revision if it stores
// a record.
func (s *Store) encode(id string, b *driver.Batch) (revision driver.Revision, batch *pebble.Batch, err error) {
	batch = s.db.NewBatch()
	set := func(key, value []byte) {
		if err == nil {
			err = batch.Set(key, value, nil)
		}
	}
	remove := func(key []byte) {
		if err == nil {
			err = batch.Delete(key, nil)
		}
	}
	switch {
	case b.Head != nil:
		revision = s.nextRevision(set)
		set(recordKey(rangeHead, id), encodeHead(revision, b.Head))
		if b.Body != nil {
			set(recordKey(rangeBody, id), b.Body)
		}
	case b.Delete:
		remove(recordKey(rangeHead, id))
		remove(recordKey(rangeBody, id))
	}
	for _, item := range b.Put {
		set(itemKey(rangeItem, id, item.Key), item.Data)
		set(itemKey(rangeSize, id, item.Key), binary.AppendUvarint(nil, uint64(len(item.Data))))
	}
	for _, key := range b.Drop {
		remove(itemKey(rangeItem, id, key))
		remove(itemKey(rangeSize, id, key))
	}
	if err == nil && batch.Empty() {
		err = batch.LogData([]byte{rangeMeta}, nil) // a condition and nothing else
	}
	return revision, batch, err
}

// reservation is how many revisions are reserved at once.
const reservation = 1 << 32

// nextRevision returns a revision that was never given before. Opening the
// store reserves a range durably; halfway through one, the next is reserved by
// the batch that happens to come by, two thousand million revisions before it
// is needed.
func (s *Store) nextRevision(set func(key, value []byte)) driver.Revision {
	n := s.revision.Add(1)
	if n%(reservation/2) == 0 {
		set(metaReserved, encodeUint64(n+reservation))
	}
	return driver.Revision(n)
}

// enter checks the condition of b and, if it holds, makes w the session's
// state: in Pebble, in the cache, and for readers to wait for. If it does not
// hold, it returns the write under way that may have caused this.
func (s *Store) enter(w *write, revision driver.Revision, b *driver.Batch) (refusedBy *write, err error) {
	sh := w.shard
	var old *driver.Record
	var present [][]byte
	switch {
	case len(b.Absent) > 0:
		old, present, err = s.lockItems(sh, w.id, b.Absent)
	case b.Head != nil || b.Delete || b.If != driver.IfAny:
		old, err = s.lockCurrent(sh, w.id)
		if b.Delete && b.If == driver.IfAny && errors.Is(err, driver.ErrCorrupt) {
			// Whatever it was, it goes.
			w.created = s.damagedCount(w.id)
			if err = bury(w.batch, w.id); err == nil {
				sh.mu.Lock()
			}
		}
	default:
		sh.mu.Lock()
	}
	if err != nil {
		return nil, err
	}
	defer sh.mu.Unlock()

	var current driver.Revision
	if old != nil {
		current = old.Revision
	}
	if err := b.Permits(current, func(key string) bool { return present[slices.Index(b.Absent, key)] != nil }); err != nil {
		return sh.pending[w.id], err
	}
	switch {
	case b.Head != nil && old == nil:
		w.created = 1
	case b.Delete && old != nil:
		w.created = -1
	}
	if w.created != 0 {
		if err := w.batch.Merge(metaCount, encodeUint64(uint64(w.created)), nil); err != nil {
			return nil, unwritten(w.id, err)
		}
	}

	if n := growth(b, old); n > 0 {
		if err := s.space.admit(n); err != nil {
			return nil, fmt.Errorf("write session %q: %w", w.id, err)
		}
	}

	sh.writes++
	if !s.relaxed {
		s.unsynced.Add(1)
	}
	if err := s.db.ApplyNoSyncWait(w.batch, pebble.Sync); err != nil {
		// Pebble refuses a batch only before it has written any of it.
		if !s.relaxed {
			s.unsynced.Add(-1)
		}
		return nil, unwritten(w.id, err)
	}
	if s.relaxed {
		s.count.Add(w.created)
	} else {
		sh.pending[w.id] = w // whoever looks for it waits for the shard
	}
	switch {
	case b.Head != nil:
		r := b.Record
		if r == nil {
			r = &driver.Record{ID: w.id, Head: b.Head, Body: b.Body}
			if r.Body == nil {
				r.Body = old.Body
			}
		}
		r.Revision = revision
		s.keep(sh, r)
	case b.Delete:
		s.forget(sh, w.id)
	}
	return nil, nil
}

// growth is how many bytes a batch may add to the store: none if it only takes
// away, or replaces a record by a smaller one.
func growth(b *driver.Batch, old *driver.Record) int {
	n := len(b.Head) + len(b.Body)
	if old != nil && b.Head != nil {
		before := len(old.Head)
		if b.Body != nil {
			before += len(old.Body)
		}
		if n <= before && (n < before || len(b.Drop) > 0) {
			n = 0
		}
	}
	for _, item := range b.Put {
		n += len(item.Data)
	}
	return n
}

// bury covers a damaged record. Pebble looks behind the mark of a deleted key for
// older ones, into the damaged block; behind that of a deleted range it does not.
func bury(batch *pebble.Batch, id string) error {
	head, body := recordKey(rangeHead, id), recordKey(rangeBody, id)
	return errors.Join(
		batch.DeleteRange(head, successor(bytes.Clone(head)), nil),
		batch.DeleteRange(body, successor(bytes.Clone(body)), nil))
}

// damagedCount is what removing a damaged record adds to the count of records.
// If not even its head can be read, nobody knows whether there was one.
func (s *Store) damagedCount(id string) int64 {
	if _, err := s.value(recordKey(rangeHead, id)); err != nil {
		return 0
	}
	return -1
}

// settle waits for the fsync of one write after the other and tells all who
// wait for it. It ends when Close closes the channel.
func (s *Store) settle() {
	defer close(s.done)
	for w := range s.syncs {
		if w.batch == nil {
			close(w.done)
			continue
		}
		err := w.batch.SyncWait()
		if err == nil {
			err = w.disk.cause()
		}
		w.err = err
		if !s.relaxed {
			s.finish(w)
		}
		close(w.done)
		discard(w.batch)
	}
}

// finish lets readers of the session no longer wait for w. After a failure
// they go on to wait, and get its error.
func (s *Store) finish(w *write) {
	if w.err != nil {
		return
	}
	s.count.Add(w.created)
	if w.shard != nil {
		w.shard.mu.Lock()
		if w.shard.pending[w.id] == w {
			delete(w.shard.pending, w.id)
		}
		w.shard.mu.Unlock()
		s.unsynced.Add(-1)
	}
}

// settled waits until w, if any, is durable.
func (s *Store) settled(ctx context.Context, w *write) error {
	if w == nil {
		return nil
	}
	select {
	case <-w.done:
		if w.err != nil {
			return s.broken(w.err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// barrier waits until everything that is visible now is durable.
func (s *Store) barrier(ctx context.Context) error {
	batch := s.db.NewBatch()
	err := batch.LogData([]byte{rangeMeta}, nil)
	if err == nil {
		err = s.db.ApplyNoSyncWait(batch, pebble.Sync)
	}
	if err != nil {
		discard(batch)
		return fmt.Errorf("sync the log: %w: %w", driver.ErrUnavailable, err)
	}
	w := &write{batch: batch, disk: s.db.disk, done: make(chan struct{})}
	s.syncs <- w
	return s.settled(ctx, w)
}

// unwritten is the error of a batch that Pebble refused.
func unwritten(id string, err error) error {
	return fmt.Errorf("write session %q: %w: %w", id, driver.ErrUnavailable, err)
}

// discard gives the memory of a batch back, which cannot fail.
func discard(batch *pebble.Batch) { _ = batch.Close() }
