package drivertest

import (
	"context"
	"slices"
	"strings"

	"github.com/snakepit-go/snakepit/session/driver"
)

// model is a driver so plain that it is evidently right, as long as one
// goroutine uses it: what random histories are compared with.
type model struct {
	records  map[string]*driver.Record
	items    map[driver.ItemRef][]byte
	revision driver.Revision
}

func newModel() *model {
	return &model{records: map[string]*driver.Record{}, items: map[driver.ItemRef][]byte{}}
}

func (m *model) Get(_ context.Context, id string, _ driver.Read) (*driver.Record, error) {
	if r := m.records[id]; r != nil {
		return r, nil
	}
	return nil, driver.ErrNotFound
}

func (m *model) GetItems(ctx context.Context, id string, read driver.Read, keys []string) (*driver.Record, [][]byte, error) {
	r, err := m.Get(ctx, id, read)
	if err != nil {
		return nil, nil, err
	}
	data := make([][]byte, len(keys))
	for i, key := range keys {
		data[i] = m.items[driver.ItemRef{ID: id, Key: key}]
	}
	return r, data, nil
}

func (m *model) Apply(_ context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	if err := b.Check(driver.DefaultInfo.Limits); err != nil {
		return 0, err
	}
	old := m.records[id]
	switch {
	case b.If == driver.IfAbsent && old != nil:
		return 0, driver.ErrExists
	case b.If == driver.IfRevision && (old == nil || old.Revision != b.Revision):
		return 0, driver.ErrConflict
	}
	for _, key := range b.Absent {
		if _, present := m.items[driver.ItemRef{ID: id, Key: key}]; present {
			return 0, driver.ErrItemExists
		}
	}
	for _, item := range b.Put {
		m.items[driver.ItemRef{ID: id, Key: item.Key}] = item.Data
	}
	for _, key := range b.Drop {
		delete(m.items, driver.ItemRef{ID: id, Key: key})
	}
	if b.Delete {
		delete(m.records, id)
	}
	if b.Head == nil {
		return 0, nil
	}
	m.revision++
	r := &driver.Record{ID: id, Revision: m.revision, Head: b.Head, Body: b.Body}
	if b.Body == nil {
		r.Body = old.Body
	}
	m.records[id] = r
	return r.Revision, nil
}

func (m *model) Item(_ context.Context, id, key string) ([]byte, error) {
	if data, ok := m.items[driver.ItemRef{ID: id, Key: key}]; ok {
		return data, nil
	}
	return nil, driver.ErrNotFound
}

func (m *model) Items(_ context.Context, after driver.ItemRef, limit int) ([]driver.ItemInfo, error) {
	var infos []driver.ItemInfo
	for ref, data := range m.items {
		if compareRefs(ref, after) > 0 {
			infos = append(infos, driver.ItemInfo{ItemRef: ref, Size: len(data)})
		}
	}
	slices.SortFunc(infos, func(a, b driver.ItemInfo) int { return compareRefs(a.ItemRef, b.ItemRef) })
	return infos[:min(limit, len(infos))], nil
}

func compareRefs(a, b driver.ItemRef) int {
	if order := strings.Compare(a.ID, b.ID); order != 0 {
		return order
	}
	return strings.Compare(a.Key, b.Key)
}

func (m *model) List(_ context.Context, prefix, after string, limit int) ([]*driver.Record, error) {
	var records []*driver.Record
	for id, r := range m.records {
		if strings.HasPrefix(id, prefix) && id > after {
			records = append(records, &driver.Record{ID: id, Revision: r.Revision, Head: r.Head})
		}
	}
	slices.SortFunc(records, func(a, b *driver.Record) int { return strings.Compare(a.ID, b.ID) })
	return records[:min(limit, len(records))], nil
}

func (m *model) Count(context.Context) (int, error) { return len(m.records), nil }
func (m *model) Ping(context.Context) error         { return nil }
func (m *model) Close() error                       { return nil }
