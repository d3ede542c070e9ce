package memstore

import (
	"context"

	"github.com/tidwall/btree"

	"github.com/snakepit-go/snakepit/session/driver"
)

// itemSet is the items of one session in order of their keys.
type itemSet = btree.Map[string, []byte]

// applyItems makes the item changes of a batch. The caller holds the shard.
func (s *Store) applyItems(sh *shard, id string, b *driver.Batch) {
	set := sh.items[id]
	fresh := set == nil
	if fresh {
		if len(b.Put) == 0 {
			return
		}
		set = new(itemSet)
	}
	for _, item := range b.Put {
		set.Set(item.Key, item.Data)
	}
	for _, key := range b.Drop {
		set.Delete(key)
	}
	switch {
	case fresh:
		if sh.items == nil {
			sh.items = make(map[string]*itemSet)
		}
		sh.items[id] = set
		s.itemIDs.insert(id)
	case set.Len() == 0:
		delete(sh.items, id)
		s.itemIDs.remove(id)
	}
}

// Item implements driver.Store.
func (s *Store) Item(ctx context.Context, id, key string) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if data := sh.item(id, key); data != nil {
		return data, nil
	}
	return nil, s.absent()
}

// GetItems implements driver.Store.
func (s *Store) GetItems(ctx context.Context, id string, _ driver.Read, keys []string) (*driver.Record, [][]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, nil, err
	}
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	r := sh.records[id]
	if r == nil {
		return nil, nil, s.absent()
	}
	data := make([][]byte, len(keys))
	for i, key := range keys {
		data[i] = sh.item(id, key)
	}
	return r, data, nil
}

// item returns the bytes of an item, nil if there is none. The caller holds
// the shard.
func (sh *shard) item(id, key string) []byte {
	set := sh.items[id]
	if set == nil {
		return nil
	}
	data, ok := set.Get(key)
	if ok && data == nil {
		return []byte{}
	}
	return data
}

// Items implements driver.Store.
func (s *Store) Items(ctx context.Context, after driver.ItemRef, limit int) ([]driver.ItemInfo, error) {
	if err := s.beginPage(ctx, limit); err != nil {
		return nil, err
	}
	infos := make([]driver.ItemInfo, 0, min(limit, chunk))
	// The session of after comes first: more of its items may follow.
	from, inclusive := after.ID, true
	for len(infos) < limit {
		ids := s.itemIDs.page(from, inclusive, min(limit-len(infos), chunk))
		for _, id := range ids {
			key := ""
			if id == after.ID {
				key = after.Key
			}
			infos = s.appendItems(infos, id, key, limit)
		}
		if len(ids) == 0 {
			break
		}
		from, inclusive = ids[len(ids)-1], false
	}
	return infos, s.open()
}

// appendItems appends the items of one session whose keys follow after, until
// there are limit.
func (s *Store) appendItems(infos []driver.ItemInfo, id, after string, limit int) []driver.ItemInfo {
	if len(infos) == limit {
		return infos
	}
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	set := sh.items[id]
	if set == nil {
		return infos
	}
	set.Ascend(after, func(key string, data []byte) bool {
		if key != after {
			infos = append(infos, driver.ItemInfo{
				ItemRef: driver.ItemRef{ID: id, Key: key},
				Size:    len(data),
			})
		}
		return len(infos) < limit
	})
	return infos
}
