package execution

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// turns orders the calls of each session: a writer alone, readers together,
// everybody in order of arrival. A session without calls costs nothing.
type turns struct {
	mu       sync.Mutex
	sessions map[string]*turnQueue
}

type turnQueue struct {
	// all is held whole by a writer and by one unit by a reader. Its waiters
	// are served in order, also a writer that came before readers.
	all *semaphore.Weighted
	// users counts callers that hold or wait; guarded by turns.mu.
	users int
}

const wholeTurn = math.MaxInt32

func newTurns() *turns {
	return &turns{sessions: make(map[string]*turnQueue)}
}

// take waits for the turn of a session and returns how to end it. A context
// that already carries the turn, because a host tool calls back into the
// session whose call it serves, gets it at once.
func (t *turns) take(ctx context.Context, id string, readOnly bool) (end func(), err error) {
	if carries(ctx, id) {
		return func() {}, nil
	}
	weight := int64(wholeTurn)
	if readOnly {
		weight = 1
	}

	t.mu.Lock()
	q := t.sessions[id]
	if q == nil {
		q = &turnQueue{all: semaphore.NewWeighted(wholeTurn)}
		t.sessions[id] = q
	}
	q.users++
	t.mu.Unlock()

	if err := q.all.Acquire(ctx, weight); err != nil {
		t.leave(id, q)
		return nil, err
	}
	return func() {
		q.all.Release(weight)
		t.leave(id, q)
	}, nil
}

func (t *turns) leave(id string, q *turnQueue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(t.sessions, id)
	}
}

// heldTurn is the context value by which a nested call knows the turns of the
// calls it is part of.
type heldTurn struct {
	id     string
	parent *heldTurn
}

type turnKey struct{}

func withTurn(ctx context.Context, id string) context.Context {
	parent, _ := ctx.Value(turnKey{}).(*heldTurn)
	return context.WithValue(ctx, turnKey{}, &heldTurn{id: id, parent: parent})
}

func carries(ctx context.Context, id string) bool {
	h, _ := ctx.Value(turnKey{}).(*heldTurn)
	for ; h != nil; h = h.parent {
		if h.id == id {
			return true
		}
	}
	return false
}
