package execution

import (
	"container/list"
	"hash/maphash"
	"sync"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// bindings remembers which worker holds what of a session. It is memory of this
// process only, and a cache: without an entry a call sends the whole state to
// any worker.
//
// A session can be bound in several pools at once, each with a copy of its own.
type bindings struct {
	mu      sync.Mutex
	limit   int
	entries map[bindingKey]*list.Element // of *binding
	// used orders the entries by use, the latest first.
	used *list.List
	// byWorker finds what ends with a worker.
	byWorker map[placeKey]map[bindingKey]struct{}
}

type bindingKey struct{ pool, session string }

type placeKey struct {
	pool string
	ref  worker.Ref
}

type binding struct {
	key bindingKey
	ref worker.Ref
	// copy is what the worker holds of the state; version 0 is nothing.
	copy stateCopy
	// local says that the worker keeps in-process objects for the session,
	// which no other worker can have.
	local bool
}

// stateCopy says which state of a session a worker holds. Equal values are
// equal states.
type stateCopy struct {
	incarnation string
	version     uint64
	// about is a digest of labels and metadata, which travel with the state
	// and have no version.
	about uint64
}

func copyOf(sess *session.Session) stateCopy {
	return stateCopy{sess.Incarnation(), sess.StateVersion(), digest(sess.Labels()) + 31*digest(sess.Metadata())}
}

var digestSeed = maphash.MakeSeed()

// digest does not depend on the order of the pairs; 0 if there are none.
func digest(pairs map[string]string) (sum uint64) {
	for key, value := range pairs {
		sum += maphash.Comparable(digestSeed, [2]string{key, value})
	}
	return sum
}

// pushOutTries bounds the search for an entry that may be pushed out: it keeps
// put cheap when many sessions keep local objects.
const pushOutTries = 8

func newBindings(limit int) *bindings {
	return &bindings{
		limit:    limit,
		entries:  make(map[bindingKey]*list.Element),
		used:     list.New(),
		byWorker: make(map[placeKey]map[bindingKey]struct{}),
	}
}

// get returns the binding of a session in a pool, or the zero binding.
func (b *bindings) get(key bindingKey) binding {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, ok := b.entries[key]; ok {
		b.used.MoveToFront(e)
		return *e.Value.(*binding)
	}
	return binding{key: key}
}

// put records what a worker holds after a call and returns the bindings it
// replaced or pushed out, whose workers are to forget their sessions.
func (b *bindings) put(now binding) (gone []binding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, ok := b.entries[now.key]; ok {
		old := e.Value.(*binding)
		if old.ref == now.ref {
			*old = now
			b.used.MoveToFront(e)
			return nil
		}
		gone = append(gone, b.remove(e))
	}
	b.entries[now.key] = b.used.PushFront(&now)
	place := placeKey{now.key.pool, now.ref}
	if b.byWorker[place] == nil {
		b.byWorker[place] = make(map[bindingKey]struct{})
	}
	b.byWorker[place][now.key] = struct{}{}
	e := b.used.Back()
	for range pushOutTries {
		if b.used.Len() <= b.limit {
			break
		}
		oldest := e
		e = e.Prev()
		// Objects that exist nowhere else are not given up for room.
		if !oldest.Value.(*binding).local {
			gone = append(gone, b.remove(oldest))
		}
	}
	return gone
}

// drop removes the binding of a session in a pool, if there is one.
func (b *bindings) drop(key bindingKey) (binding, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[key]
	if !ok {
		return binding{}, false
	}
	return b.remove(e), true
}

// dropSession removes the binding of one incarnation of a session.
func (b *bindings) dropSession(key bindingKey, incarnation string) (binding, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[key]
	if !ok || e.Value.(*binding).copy.incarnation != incarnation {
		return binding{}, false
	}
	return b.remove(e), true
}

// dropCopy notes that a worker's copy of a session is not to be relied on. It
// reports false if the session is not bound to that worker.
func (b *bindings) dropCopy(key bindingKey, ref worker.Ref) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[key]
	if !ok || e.Value.(*binding).ref != ref {
		return false
	}
	e.Value.(*binding).copy.version = 0
	return true
}

// dropWorker removes the bindings to a worker that has ended.
func (b *bindings) dropWorker(pool string, ref worker.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key := range b.byWorker[placeKey{pool, ref}] {
		b.remove(b.entries[key])
	}
}

// count returns the number of sessions bound to a worker.
func (b *bindings) count(pool string, ref worker.Ref) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.byWorker[placeKey{pool, ref}])
}

func (b *bindings) remove(e *list.Element) binding {
	old := *b.used.Remove(e).(*binding)
	delete(b.entries, old.key)
	place := placeKey{old.key.pool, old.ref}
	delete(b.byWorker[place], old.key)
	if len(b.byWorker[place]) == 0 {
		delete(b.byWorker, place)
	}
	return old
}
