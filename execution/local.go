package execution

import (
	"sync"

	"github.com/snakepit-go/snakepit/worker"
)

// localUse knows which tools use the in-process objects of their session. Only
// those have to wait for the worker that keeps them.
//
// What a tool declares holds. Of the others it knows what it has seen: a tool
// is free once a call of it has ended without a look at the objects, until one
// does look. Such a tool has found them missing if it ran elsewhere just then,
// which tools must expect in any case: a worker can end.
type localUse struct {
	seen sync.Map // of poolTool to bool: used
}

type poolTool struct{ pool, tool string }

// needed reports whether calls of a tool have to wait for the worker that keeps
// objects for their session.
func (l *localUse) needed(pool string, tool worker.Tool) bool {
	if tool.Local != nil {
		return *tool.Local
	}
	if !tool.Session {
		return false
	}
	used, known := l.seen.Load(poolTool{pool, tool.Name})
	return !known || used.(bool)
}

// observe notes what a call of a tool did.
func (l *localUse) observe(pool string, tool worker.Tool, res *worker.Result) {
	if tool.Local != nil || !tool.Session {
		return
	}
	key := poolTool{pool, tool.Name}
	if used, known := l.seen.Load(key); known && (used.(bool) || res.LocalUnused) {
		return
	}
	l.seen.Store(key, !res.LocalUnused)
}
