package memstore

import (
	"sync"

	"github.com/tidwall/btree"
)

// chunk bounds how many ids are read from an index under one lock, so that a
// long page does not hold up creates.
const chunk = 512

// idIndex is an ordered set of session ids.
type idIndex struct {
	mu  sync.RWMutex
	ids btree.Set[string]
}

func (x *idIndex) insert(id string) {
	x.mu.Lock()
	x.ids.Insert(id)
	x.mu.Unlock()
}

func (x *idIndex) remove(id string) {
	x.mu.Lock()
	x.ids.Delete(id)
	x.mu.Unlock()
}

func (x *idIndex) clear() {
	x.mu.Lock()
	x.ids.Clear()
	x.mu.Unlock()
}

// page returns up to n ids in order that follow from, or start with it.
func (x *idIndex) page(from string, inclusive bool, n int) []string {
	ids := make([]string, 0, n)
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.ids.Ascend(from, func(id string) bool {
		if inclusive || id != from {
			ids = append(ids, id)
		}
		return len(ids) < n
	})
	return ids
}
