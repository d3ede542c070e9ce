package session_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/session"
)

func TestClaim(t *testing.T) {
	st := open(t, nil, nil)
	base := create(t, st, "s", &session.CreateOptions{Vars: vars("a", "1")})
	if o, ok := base.Owner(); ok {
		t.Errorf("owner %+v", o)
	}
	first := must[*session.Session](t)(st.Claim(t.Context(), "s", session.Owner{Node: "n1", Process: "p1", Epoch: 9}))
	if o, _ := first.Owner(); o != (session.Owner{Node: "n1", Process: "p1", Epoch: 1}) {
		t.Errorf("owner %+v", o)
	}
	if first.Revision() != base.Revision() || first.StateVersion() != base.StateVersion() {
		t.Error("a claim changed the content")
	}
	wantVars(t, first, `{"a":1}`)
	again := must[*session.Session](t)(st.Claim(t.Context(), "s", session.Owner{Node: "n1", Process: "p1"}))
	if again.Position() != first.Position() {
		t.Error("a second claim of the same process has written")
	}
	second := must[*session.Session](t)(st.Claim(t.Context(), "s", session.Owner{Node: "n2", Process: "p2"}))
	if second.Fence() != (session.Fence{Incarnation: base.Incarnation(), Epoch: 2}) {
		t.Errorf("fence %+v", second.Fence())
	}
}

func TestCommit(t *testing.T) {
	st := open(t, nil, nil)
	create(t, st, "s", &session.CreateOptions{Vars: vars("a", "1", "b", "2")})
	base := must[*session.Session](t)(st.Claim(t.Context(), "s", session.Owner{Node: "n1", Process: "p1"}))
	// Others may write meanwhile: the commit applies to the newest state.
	must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("c", "3")}))
	call := &session.NamedCall{ID: "call 1", Answer: session.Answer{Value: json.RawMessage("1")}}
	commit := session.Commit{Fence: base.Fence(), Call: call, Set: vars("a", "9"), Unset: []string{"b"}, WorkerHint: "w1"}
	s := must[*session.Session](t)(st.Commit(t.Context(), "s", commit))
	wantVars(t, s, `{"a":9,"c":3}`)
	if s.StateVersion() != base.StateVersion()+2 || s.WorkerHint() != "w1" {
		t.Errorf("state version %d, hint %q", s.StateVersion(), s.WorkerHint())
	}

	if _, err := st.Commit(t.Context(), "s", commit); !errors.Is(err, session.ErrAlreadyCommitted) {
		t.Errorf("the same commit again: %v", err)
	}
	if now := must[*session.Session](t)(st.Peek(t.Context(), "s")); now.Position() != s.Position() {
		t.Error("the same commit again has written")
	}

	same := must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: base.Fence(), Set: vars("a", "9")}))
	if same.StateVersion() != s.StateVersion()+1 {
		t.Errorf("a commit of equal values has state version %d", same.StateVersion())
	}

	recorded := must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: base.Fence(), Call: &session.NamedCall{ID: "call 2"}}))
	if recorded.Position() == same.Position() || recorded.StateVersion() != same.StateVersion() || recorded.Revision() != same.Revision() {
		t.Error("a named commit without changes is not just recorded")
	}
	if nothing := must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: base.Fence(), WorkerHint: "w2"})); nothing.Position() != recorded.Position() {
		t.Error("an unnamed commit without changes has written")
	}
}

func TestCommitIsFenced(t *testing.T) {
	st := open(t, nil, nil)
	create(t, st, "s", nil)
	old := must[*session.Session](t)(st.Claim(t.Context(), "s", session.Owner{Node: "n1", Process: "p1"}))
	call := &session.NamedCall{ID: "call"}
	must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: old.Fence(), Call: call, Set: vars("a", "1")}))
	taken := must[*session.Session](t)(st.Claim(t.Context(), "s", session.Owner{Node: "n2", Process: "p2"}))

	_, err := st.Commit(t.Context(), "s", session.Commit{Fence: old.Fence(), Set: vars("a", "2")})
	if !errors.Is(err, session.ErrFenced) || !strings.Contains(err.Error(), `"n2"`) || !strings.Contains(err.Error(), "epoch 2") {
		t.Errorf("commit of the former owner: %v", err)
	}
	// What was committed before stays so, whoever owns the session now.
	if _, rec, err := st.FindCall(t.Context(), "s", "call"); err != nil || rec == nil || rec.Closed {
		t.Errorf("the call of the former owner: %v, %v", rec, err)
	}

	must[bool](t)(st.Delete(t.Context(), "s"))
	create(t, st, "s", nil)
	if _, err := st.Commit(t.Context(), "s", session.Commit{Fence: taken.Fence(), Set: vars("a", "2")}); !errors.Is(err, session.ErrFenced) {
		t.Errorf("commit to a former session: %v", err)
	}
	wantVars(t, must[*session.Session](t)(st.Peek(t.Context(), "s")), `{}`)
}
