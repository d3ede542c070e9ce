package execution

import (
	"context"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/snakepit-go/snakepit/worker"
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

// turn is a call's right to run in its session, until end is called.
type turn struct {
	end func()
	// nested says that the call is part of another one of the same session,
	// by way of a host tool.
	nested bool
}

// waiting makes a caller wait for what is not to be had at once, within the
// limits of the queue that it is counted in; what is waited for is named by
// turn.
type waiting func(ctx context.Context, turn string, wait func(context.Context) error) error

// take returns the turn of a session, and a context that carries it. If ctx
// carries the turn of a call of that session already, because a host tool calls
// back into the session it serves, the new call is part of that one and waits
// only for its other parts. Part of a reader can be only readers: anything else
// fails with worker.ErrReadOnly.
func (t *turns) take(ctx context.Context, id string, readOnly bool, wait waiting) (context.Context, turn, error) {
	mine := &heldTurn{id: id, readOnly: readOnly, parts: semaphore.NewWeighted(wholeTurn)}
	mine.outer, _ = ctx.Value(turnKey{}).(*heldTurn)
	inside := context.WithValue(ctx, turnKey{}, mine)
	weight := int64(wholeTurn)
	if readOnly {
		weight = 1
	}
	if whole := mine.outer.of(id); whole != nil {
		if whole.readOnly && !readOnly {
			return nil, turn{}, fmt.Errorf("a tool that may write, on behalf of a %w", worker.ErrReadOnly)
		}
		if err := acquire(ctx, whole.parts, weight, id, wait); err != nil {
			return nil, turn{}, err
		}
		return inside, turn{end: func() { whole.parts.Release(weight) }, nested: true}, nil
	}

	t.mu.Lock()
	q := t.sessions[id]
	if q == nil {
		q = &turnQueue{all: semaphore.NewWeighted(wholeTurn)}
		t.sessions[id] = q
	}
	q.users++
	t.mu.Unlock()

	if err := acquire(ctx, q.all, weight, id, wait); err != nil {
		t.leave(id, q)
		return nil, turn{}, err
	}
	return inside, turn{end: func() {
		q.all.Release(weight)
		t.leave(id, q)
	}}, nil
}

// acquire takes a turn that is free and has nobody waiting for it, or waits.
func acquire(ctx context.Context, turn *semaphore.Weighted, weight int64, session string, wait waiting) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if turn.TryAcquire(weight) {
		return nil
	}
	return wait(ctx, fmt.Sprintf("the turn of session %q", session), func(ctx context.Context) error {
		return turn.Acquire(ctx, weight)
	})
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
	id       string
	readOnly bool
	outer    *heldTurn
	// parts orders the nested calls of this one, as turnQueue.all the calls of
	// a session.
	parts *semaphore.Weighted
}

type turnKey struct{}

// of returns the innermost turn of a session, or nil.
func (h *heldTurn) of(id string) *heldTurn {
	for h != nil && h.id != id {
		h = h.outer
	}
	return h
}
