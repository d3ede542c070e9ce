package snakepit_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/session"
)

// An acknowledged write that a running call overwrites is told to its caller, or
// is not overwritten, as the call or its tool says.
func TestWritesDuringACall(t *testing.T) {
	var e *snakepit.Engine
	writes := 0 // left to be made
	variable := "n"
	e = openEngine(t, func(cfg *snakepit.Config) {
		cfg.HostTools = map[string]snakepit.HostTool{"between": func(ctx context.Context, _ json.RawMessage) (any, error) {
			if writes == 0 {
				return nil, nil
			}
			writes--
			_, err := e.Sessions().Patch(ctx, "s", session.Patch{Set: map[string]json.RawMessage{variable: json.RawMessage("100")}})
			return nil, err
		}}
	})
	for _, c := range []struct {
		name, tool, variable string
		opts                 []snakepit.CallOption
		overwritten          []string
		conflict             bool
		n                    string
	}{
		{name: "nothing said", tool: "tally", variable: "n", overwritten: []string{"n"}, n: "1"},
		{name: "fail", tool: "tally", variable: "n", opts: []snakepit.CallOption{snakepit.WithOnConflict(snakepit.ConflictFail)}, conflict: true, n: "100"},
		{name: "retry", tool: "tally", variable: "n", opts: []snakepit.CallOption{snakepit.WithOnConflict(snakepit.ConflictRetry)}, n: "101"},
		{name: "retry by the tool", tool: "tally_again", variable: "n", n: "101"},
		{name: "the call knows better", tool: "tally_again", variable: "n", opts: []snakepit.CallOption{snakepit.WithOnConflict(snakepit.ConflictIgnore)}, overwritten: []string{"n"}, n: "1"},
		{name: "what was read only", tool: "sum_up", variable: "n", opts: []snakepit.CallOption{snakepit.WithOnConflict(snakepit.ConflictFail)}, conflict: true, n: "100"},
		{name: "what was not read", tool: "tally", variable: "other", opts: []snakepit.CallOption{snakepit.WithOnConflict(snakepit.ConflictFail)}, n: "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := e.Sessions().Create(t.Context(), "s", nil); err != nil {
				t.Fatal(err)
			}
			writes, variable = 1, c.variable
			res, err := e.ExecuteInSession(t.Context(), "s", c.tool, nil, c.opts...)
			if c.conflict != errors.Is(err, session.ErrStateConflict) || !c.conflict && err != nil {
				t.Errorf("error %v", err)
			}
			if err == nil && !slices.Equal(res.Overwritten, c.overwritten) {
				t.Errorf("overwritten %q, want %q", res.Overwritten, c.overwritten)
			}
			sess, err := e.Sessions().Peek(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := sess.Var("n"); string(n) != c.n {
				t.Errorf("n is %s, want %s", n, c.n)
			}
			if _, err := e.Sessions().Delete(t.Context(), "s"); err != nil {
				t.Fatal(err)
			}
		})
	}
	if _, err := e.ExecuteInSession(t.Context(), "s", "tally", nil, snakepit.WithOnConflict("perhaps")); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("a policy that is none: %v", err)
	}
}
