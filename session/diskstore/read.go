package diskstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"

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
	gaps, err := s.page(ctx, low, prefixEnd(recordKey(rangeHead, prefix)), limit, recordRef, func(key, value []byte) error {
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
	return records, gapError(gaps)
}

// recordRef names the session of a key, whole or made up.
func recordRef(key []byte) driver.ItemRef { return driver.ItemRef{ID: string(key[1:])} }

// itemRef names the item of a key. One that is made up has only an id.
func itemRef(key []byte) driver.ItemRef {
	ref, err := splitItemKey(key)
	if err != nil {
		return recordRef(key)
	}
	return ref
}

func gapError(gaps []driver.Gap) error {
	if len(gaps) == 0 {
		return nil
	}
	return &driver.GapError{Gaps: gaps}
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
	gaps, err := s.page(ctx, low, []byte{rangeSize + 1}, limit, itemRef, func(key, value []byte) error {
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
	return infos, gapError(gaps)
}

// page calls yield for up to limit keys from low to before high, and returns
// once all it has seen, deletions included, is durable. What cannot be read is
// left out; ref names it.
func (s *Store) page(ctx context.Context, low, high []byte, limit int, ref func([]byte) driver.ItemRef, yield func(key, value []byte) error) ([]driver.Gap, error) {
	if limit < 1 {
		return nil, fmt.Errorf("page of %d entries: %w", limit, driver.ErrInvalid)
	}
	var gaps []driver.Gap
	for limit > 0 && low != nil {
		g := s.gaps.next(low, high)
		end := high
		if g != nil {
			end = g.from
		}
		n, next, err := s.scan(ctx, low, end, limit, yield)
		limit -= n
		switch {
		case errors.Is(err, driver.ErrCorrupt):
			g = &gap{from: next, err: err}
			if g.to, err = s.behind(ctx, next, high); err != nil {
				return nil, err
			}
			s.gaps.add(g)
		case err != nil:
			return nil, err
		case g == nil:
			low = nil
			continue
		case limit == 0:
			continue
		}
		gaps = append(gaps, g.told(ref))
		low = g.to
	}
	if s.unsynced.Load() == 0 {
		return gaps, nil
	}
	return gaps, s.barrier(ctx)
}

// scan calls yield for up to limit keys. It returns how many there were, and
// before what key it ended.
func (s *Store) scan(ctx context.Context, low, high []byte, limit int, yield func(key, value []byte) error) (n int, next []byte, err error) {
	next = low
	iter, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return 0, next, scanError(err)
	}
	defer func() {
		if closeErr := iter.Close(); err == nil && closeErr != nil {
			err = scanError(closeErr)
		}
	}()
	for ok := iter.First(); ok && n < limit; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return n, next, scanError(err)
		}
		next = successor(append([]byte(nil), iter.Key()...))
		if err := yield(iter.Key(), value); err != nil {
			return n, next, err
		}
		if n++; n%256 == 0 && ctx.Err() != nil {
			return n, next, ctx.Err()
		}
	}
	if err := iter.Error(); err != nil {
		return n, next, scanError(err)
	}
	return n, next, nil
}

// behind finds where keys can be read again behind a damaged block, whose bounds
// Pebble does not tell: it tries keys ever further from low until one can be
// read, and then halves the way to the last one that could not. It returns the
// first key that can be read, or nil if there is none before high. Of two
// damaged blocks close to one another, what lies between may be left out too.
func (s *Store) behind(ctx context.Context, low, high []byte) ([]byte, error) {
	if key, ok, err := s.readableFrom(ctx, low, high); ok || err != nil {
		return key, err // one entry alone was damaged
	}
	// Keys are numbers of so many bytes here. Each try costs milliseconds, since
	// Pebble looks for the flipped bit; more bytes would need more of them.
	width := len(low) + 1
	number := func(key []byte) *big.Int {
		wide := make([]byte, width)
		copy(wide, key)
		return new(big.Int).SetBytes(wide)
	}
	bytesOf := func(n *big.Int) []byte { return n.FillBytes(make([]byte, width)) }
	bad, end := number(low), number(high)
	good := new(big.Int)
	for step := big.NewInt(1); ; step.Lsh(step, 1) {
		if good.Add(bad, step); good.Cmp(end) >= 0 {
			good.Set(end)
			break
		}
		_, ok, err := s.readableFrom(ctx, bytesOf(good), high)
		if err != nil {
			return nil, err
		}
		if ok {
			break
		}
		bad.Set(good)
	}
	one := big.NewInt(1)
	for {
		way := new(big.Int).Sub(good, bad)
		if way.Cmp(one) <= 0 {
			break
		}
		middle := way.Rsh(way, 1).Add(way, bad)
		_, ok, err := s.readableFrom(ctx, bytesOf(middle), high)
		if err != nil {
			return nil, err
		}
		if ok {
			good = middle
		} else {
			bad = middle
		}
	}
	key, _, err := s.readableFrom(ctx, bytesOf(good), high)
	return key, err
}

// readableFrom returns the first key from low on, nil if there is none before
// high. ok is false if it cannot be read.
func (s *Store) readableFrom(ctx context.Context, low, high []byte) (key []byte, ok bool, err error) {
	if bytes.Compare(low, high) >= 0 {
		return nil, true, nil
	}
	_, _, err = s.scan(ctx, low, high, 1, func(k, _ []byte) error {
		key = append([]byte(nil), k...)
		return nil
	})
	if errors.Is(err, driver.ErrCorrupt) {
		return nil, false, nil
	}
	return key, err == nil, err
}

func scanError(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", driver.ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
}
