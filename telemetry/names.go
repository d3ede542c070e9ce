package telemetry

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// Limits of the names that come from Python, which would make a series each.
const (
	maxTools        = 100 // of a pool
	maxEvents       = 100 // of a pool
	maxMeasurements = 20  // of an event
)

// other stands for all names beyond a limit, and for a tool that does not exist.
const other = "other"

// names are the values that a label has had, up to a limit in each scope.
type names struct {
	limit int

	mu   sync.RWMutex
	seen map[string]map[string]struct{} // by scope
}

// label returns the name, or other if it would be one too many in its scope.
func (n *names) label(name string, scope ...string) string {
	if name == "" || !utf8.ValidString(name) {
		return other
	}
	in := scope[0]
	if len(scope) > 1 {
		in = strings.Join(scope, "\x00")
	}
	n.mu.RLock()
	known := n.seen[in]
	_, ok := known[name]
	full := len(known) >= n.limit
	n.mu.RUnlock()
	switch {
	case ok:
		return name
	case full:
		return other
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = make(map[string]map[string]struct{})
	}
	if n.seen[in] == nil {
		n.seen[in] = make(map[string]struct{})
	}
	if len(n.seen[in]) >= n.limit {
		return other
	}
	n.seen[in][name] = struct{}{}
	return name
}
