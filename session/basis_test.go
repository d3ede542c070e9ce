package session_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/snakepit-go/snakepit/session"
)

// A commit tells, or refuses, what others have changed since its call began.
func TestBasis(t *testing.T) {
	for _, c := range []struct {
		name  string
		other session.Patch // written while the call ran
		set   []string      // by the call, as pairs
		unset []string
		read  []string
		all   bool
		// What a commit overwrites that does not refuse, and what one refuses.
		overwritten, refused []string
	}{
		{name: "nobody else", set: []string{"a", "2"}, all: true},
		{name: "other variables", other: session.Patch{Set: vars("b", "9")}, set: []string{"a", "2"}, read: []string{"a", "none"}},
		{name: "the same variable", other: session.Patch{Set: vars("a", "9")}, set: []string{"a", "2"}, overwritten: []string{"a"}, refused: []string{"a"}},
		{name: "the same value", other: session.Patch{Set: vars("a", "2")}, set: []string{"a", "2"}, refused: []string{"a"}},
		{name: "one that was unset", other: session.Patch{Unset: []string{"a"}}, set: []string{"a", "2"}, overwritten: []string{"a"}, refused: []string{"a"}},
		{name: "one that is new", other: session.Patch{Set: vars("c", "9")}, set: []string{"c", "2"}, overwritten: []string{"c"}, refused: []string{"c"}},
		{name: "one that the call unsets", other: session.Patch{Set: vars("a", "9")}, unset: []string{"a"}, overwritten: []string{"a"}, refused: []string{"a"}},
		{name: "unset by both", other: session.Patch{Unset: []string{"a"}}, unset: []string{"a"}, refused: []string{"a"}},
		{name: "one that was read", other: session.Patch{Set: vars("b", "9")}, set: []string{"a", "2"}, read: []string{"b"}, refused: []string{"b"}},
		{name: "one that was looked for", other: session.Patch{Set: vars("c", "9")}, set: []string{"a", "2"}, read: []string{"c"}, refused: []string{"c"}},
		{name: "any was read", other: session.Patch{Set: vars("c", "9"), Unset: []string{"b"}}, set: []string{"a", "2"}, all: true, refused: []string{"b", "c"}},
		{name: "labels", other: session.Patch{SetLabels: map[string]string{"x": "y"}}, set: []string{"a", "2"}, all: true},
		{name: "several", other: session.Patch{Set: vars("b", "9", "a", "9")}, set: []string{"b", "1", "a", "1"}, overwritten: []string{"a", "b"}, refused: []string{"a", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told []string
			st := open(t, nil, &session.Options{Observer: session.Observer{
				Overwritten: func(id, incarnation string, keys []string) { told = append(told, keys...) },
			}})
			for _, refuse := range []bool{true, false} {
				s := create(t, st, "s", &session.CreateOptions{Vars: vars("a", "1", "b", "1")})
				must[*session.Session](t)(st.Patch(t.Context(), "s", c.other))
				basis := &session.Basis{Session: s, Refuse: refuse, Read: c.read, All: c.all}
				after, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Basis: basis, Set: vars(c.set...), Unset: c.unset})
				var conflict *session.StateConflictError
				switch {
				case refuse && c.refused != nil:
					if !errors.As(err, &conflict) || !slices.Equal(conflict.Keys, c.refused) || !errors.Is(err, session.ErrStateConflict) || !errors.Is(err, session.ErrConflict) {
						t.Errorf("error %v, want a conflict about %q", err, c.refused)
					}
				case err != nil:
					t.Error(err)
				case refuse && basis.Overwritten != nil, !refuse && !slices.Equal(basis.Overwritten, c.overwritten):
					t.Errorf("overwritten %q, want %q", basis.Overwritten, c.overwritten)
				case len(c.set) > 0:
					if v, _ := after.Var(c.set[0]); string(v) != c.set[1] {
						t.Errorf("%s is %s", c.set[0], v)
					}
				}
				must[bool](t)(st.Delete(t.Context(), "s"))
			}
			if !slices.Equal(told, c.overwritten) {
				t.Errorf("the observer heard of %q, want %q", told, c.overwritten)
			}
		})
	}
}
