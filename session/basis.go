package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Basis is what a call's commit is based on: the state the call got, and what
// it read of that. A commit with one tells which variables others have changed
// meanwhile. It serves one commit.
type Basis struct {
	// Session is the session as the call got it.
	Session *Session
	// Refuse makes the commit fail with a *StateConflictError if another write
	// has changed a variable that the call sets, unsets or has read. Otherwise
	// the last writer wins.
	Refuse bool
	// Read are the variables that the call has read, or looked for in vain; All
	// says that it may have read any.
	Read []string
	All  bool

	// Overwritten is set by the commit: the variables it set or unset although
	// another write had changed them since, sorted. The values that they had are
	// lost, unless they were the same.
	Overwritten []string
}

// StateConflictError says that a commit was refused because of its Basis.
type StateConflictError struct {
	// Keys are the variables that others have changed, sorted.
	Keys []string
}

func (e *StateConflictError) Error() string {
	quoted := make([]string, len(e.Keys))
	for i, key := range e.Keys {
		quoted[i] = fmt.Sprintf("%q", key)
	}
	return "others changed what the call has read or written: " + strings.Join(quoted, ", ")
}

// Is makes errors.Is(err, ErrStateConflict) and ErrConflict true.
func (e *StateConflictError) Is(target error) bool {
	return target == ErrStateConflict || target == ErrConflict
}

// compare looks for what has changed since the call got its session.
func (b *Basis) compare(newest *Session, set map[string]json.RawMessage, unset []string) error {
	b.Overwritten = nil
	if newest.StateVersion() == b.Session.StateVersion() {
		return nil
	}
	var conflicts []string
	written := func(key string, value json.RawMessage, stays bool) {
		now, has := newest.Var(key)
		switch {
		case !b.changed(newest, key):
		case b.Refuse:
			conflicts = append(conflicts, key)
		case has != stays || !bytes.Equal(now, value):
			b.Overwritten = append(b.Overwritten, key)
		}
	}
	for key, value := range set {
		written(key, value, true)
	}
	for _, key := range unset {
		if _, both := set[key]; !both {
			written(key, nil, false)
		}
	}
	slices.Sort(b.Overwritten)
	if b.Refuse {
		read := b.Read
		if b.All {
			read = slices.Concat(b.Session.VarKeys(), newest.VarKeys())
		}
		for _, key := range read {
			if b.changed(newest, key) {
				conflicts = append(conflicts, key)
			}
		}
	}
	if len(conflicts) == 0 {
		return nil
	}
	slices.Sort(conflicts)
	return &StateConflictError{slices.Compact(conflicts)}
}

func (b *Basis) changed(newest *Session, key string) bool {
	before, had := b.Session.Var(key)
	now, has := newest.Var(key)
	return had != has || !bytes.Equal(before, now)
}
