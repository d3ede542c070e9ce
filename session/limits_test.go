package session_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/session"
)

// What a worker could not read is refused by every way into a session, and
// what was there before stays.
func TestVariablesNoWorkerCanRead(t *testing.T) {
	st := open(t, nil, nil)
	s := create(t, st, "s", &session.CreateOptions{Vars: vars("a", "1")})
	for what, bad := range map[string]json.RawMessage{
		"nested deeper than 200 levels":                          json.RawMessage(strings.Repeat("[", 201) + strings.Repeat("]", 201)),
		"a number of 5000000 characters, where 4300 are allowed": json.RawMessage(strings.Repeat("9", 5_000_000)),
		"a number beyond 1.8e308":                                json.RawMessage("[1e400]"),
	} {
		set := map[string]json.RawMessage{"bad": bad}
		for name, write := range map[string]func() error{
			"create": func() error {
				_, _, err := st.Create(t.Context(), "other", &session.CreateOptions{Vars: set})
				return err
			},
			"patch": func() error { _, err := st.Patch(t.Context(), "s", session.Patch{Set: set}); return err },
			"put":   func() error { _, err := st.Put(t.Context(), "s", s.Revision(), session.Content{Vars: set}); return err },
			"commit": func() error {
				_, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Set: set})
				return err
			},
			"update": func() error {
				_, err := st.Update(t.Context(), "s", func(d *session.Draft) error { return d.SetVarJSON("bad", bad) })
				return err
			},
			"update with a value": func() error {
				_, err := st.Update(t.Context(), "s", func(d *session.Draft) error { return d.SetVar("bad", []any{bad}) })
				return err
			},
		} {
			err := write()
			var invalid *session.InvalidError
			if !errors.As(err, &invalid) || invalid.Field != `variable "bad"` || !strings.Contains(invalid.Reason, what) {
				t.Errorf("%s of a value that is %s: %v", name, what, err)
			}
		}
	}
	wantVars(t, must[*session.Session](t)(st.Get(t.Context(), "s")), `{"a":1}`)
	whole := strings.Repeat("[", 200) + strings.Repeat("7", 4300) + strings.Repeat("]", 200)
	wantVars(t, must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("a", whole)})), `{"a":`+whole+`}`)
}
