package diskstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Every read takes a state first and then waits for the fsync of whatever was
// under way when it took it, so that no answer can be undone by a crash. Writes
// enter Pebble in the order in which they become durable, and are registered
// before they become visible.

// Get implements driver.Store. Every level is given: there is one copy.
func (s *Store) Get(ctx context.Context, id string, _ driver.Read) (*driver.Record, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	sh := s.shard(id)

	var r *driver.Record
	sh.mu.RLock()
	pending := sh.pending[id]
	if e := sh.entries[id]; e != nil {
		r = e.record
		if !e.used.Load() {
			e.used.Store(true)
		}
	}
	sh.mu.RUnlock()
	if r == nil {
		var err error
		if r, err = s.lockCurrent(sh, id); err != nil {
			return nil, err
		}
		pending = sh.pending[id]
		sh.mu.Unlock()
		s.trim()
	}
	if err := s.settled(ctx, pending); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, driver.ErrNotFound
	}
	return r, nil
}

// load reads a record from Pebble, nil if there is none. Head and body may be
// of different states if the session is written meanwhile: see lockCurrent.
func (s *Store) load(id string) (*driver.Record, error) {
	value, closer, err := s.db.Get(recordKey(rangeHead, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.readError("head", id, err)
	}
	revision, head, err := decodeHead(id, value)
	release(closer)
	if err != nil {
		return nil, err
	}
	body, err := s.value(recordKey(rangeBody, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, fmt.Errorf("read body of session %q: it is missing: %w", id, driver.ErrCorrupt)
	}
	if err != nil {
		return nil, s.readError("body", id, err)
	}
	return &driver.Record{ID: id, Revision: revision, Head: head, Body: body}, nil
}

// value returns a copy of the value of a key; never nil without an error.
func (s *Store) value(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if err != nil {
		return nil, err
	}
	defer release(closer)
	return append(make([]byte, 0, len(value)), value...), nil
}

// release gives a value back to Pebble, which reports nothing by it.
func release(c io.Closer) { _ = c.Close() }

// List implements driver.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]*driver.Record, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	low := recordKey(rangeHead, prefix)
	if after >= prefix {
		low = successor(recordKey(rangeHead, after))
	}
	var records []*driver.Record
	err := s.page(ctx, low, prefixEnd(recordKey(rangeHead, prefix)), limit, func(key, value []byte) error {
		id := string(key[1:])
		revision, head, err := decodeHead(id, value)
		if err != nil {
			return err
		}
		records = append(records, &driver.Record{ID: id, Revision: revision, Head: head})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return records, nil
}

// Item implements driver.Store.
func (s *Store) Item(ctx context.Context, id, key string) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	data, readErr := s.value(itemKey(rangeItem, id, key))

	sh := s.shard(id)
	sh.mu.RLock()
	pending := sh.pending[id]
	sh.mu.RUnlock()
	if err := s.settled(ctx, pending); err != nil {
		return nil, err
	}
	if errors.Is(readErr, pebble.ErrNotFound) {
		return nil, driver.ErrNotFound
	}
	if readErr != nil {
		return nil, s.readError(fmt.Sprintf("item %q", key), id, readErr)
	}
	return data, nil
}

// GetItems implements driver.Store.
func (s *Store) GetItems(ctx context.Context, id string, _ driver.Read, keys []string) (*driver.Record, [][]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, nil, err
	}
	defer s.end()
	sh := s.shard(id)
	r, data, err := s.lockItems(sh, id, keys)
	if err != nil {
		return nil, nil, err
	}
	pending := sh.pending[id]
	sh.mu.Unlock()
	s.trim()
	if err := s.settled(ctx, pending); err != nil {
		return nil, nil, err
	}
	if r == nil {
		return nil, nil, driver.ErrNotFound
	}
	return r, data, nil
}

// Items implements driver.Store.
func (s *Store) Items(ctx context.Context, after driver.ItemRef, limit int) ([]driver.ItemInfo, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	low := []byte{rangeSize}
	if after != (driver.ItemRef{}) {
		low = successor(itemKey(rangeSize, after.ID, after.Key))
	}
	var infos []driver.ItemInfo
	err := s.page(ctx, low, []byte{rangeSize + 1}, limit, func(key, value []byte) error {
		ref, err := splitItemKey(key)
		if err != nil {
			return err
		}
		size, n := binary.Uvarint(value)
		if n <= 0 {
			return fmt.Errorf("size of item %q of session %q: %w", ref.Key, ref.ID, driver.ErrCorrupt)
		}
		infos = append(infos, driver.ItemInfo{ItemRef: ref, Size: int(size)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list items: %w", err)
	}
	return infos, nil
}

// page calls yield for up to limit keys from low to before high, and returns
// once all it has seen, deletions included, is durable.
func (s *Store) page(ctx context.Context, low, high []byte, limit int, yield func(key, value []byte) error) error {
	if limit < 1 {
		return fmt.Errorf("page of %d entries: %w", limit, driver.ErrInvalid)
	}
	if err := s.scan(ctx, low, high, limit, yield); err != nil {
		return err
	}
	if s.unsynced.Load() == 0 {
		return nil
	}
	return s.barrier(ctx)
}

func (s *Store) scan(ctx context.Context, low, high []byte, limit int, yield func(key, value []byte) error) (err error) {
	iter, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return scanError(err)
	}
	defer func() {
		if closeErr := iter.Close(); err == nil && closeErr != nil {
			err = scanError(closeErr)
		}
	}()
	n := 0
	for ok := iter.First(); ok && n < limit; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return scanError(err)
		}
		if err := yield(iter.Key(), value); err != nil {
			return err
		}
		if n++; n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := iter.Error(); err != nil {
		return scanError(err)
	}
	return nil
}

func scanError(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", driver.ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
}
