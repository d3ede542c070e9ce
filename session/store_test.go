package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

func TestCreate(t *testing.T) {
	st := open(t, nil, nil)
	deadline := time.Now().Add(48 * time.Hour).Truncate(time.Millisecond)
	s := create(t, st, "s1", &session.CreateOptions{
		TTL:              new(90 * time.Minute),
		AbsoluteDeadline: deadline,
		Labels:           map[string]string{"team": "red", "app": "x"},
		Metadata:         map[string]string{"note": "ä"},
		Vars:             vars("b", `[1, 2]`, "a", `{"x" : null}`),
		Owner:            &session.Owner{Node: "n1", Process: "p1", Epoch: 77},
	})
	again, created, err := st.Create(t.Context(), "s1", &session.CreateOptions{Labels: map[string]string{"other": "x"}})
	if err != nil || created {
		t.Fatalf("second create: created %v, error %v", created, err)
	}
	for name, s := range map[string]*session.Session{
		"created": s, "stored": again, "read": must[*session.Session](t)(st.Peek(t.Context(), "s1")),
	} {
		t.Run(name, func(t *testing.T) {
			if s.ID() != "s1" || s.TTL() != 90*time.Minute || s.StateVersion() != 1 {
				t.Errorf("id %q, TTL %v, state version %d", s.ID(), s.TTL(), s.StateVersion())
			}
			wantVars(t, s, `{"a":{"x":null},"b":[1,2]}`)
			if got, ok := s.AbsoluteDeadline(); !ok || !got.Equal(deadline) {
				t.Errorf("absolute deadline %v, %v", got, ok)
			}
			if want := s.LastAccessed().Add(99 * time.Minute); !s.Deadline().Equal(want) {
				t.Errorf("deadline %v, want %v", s.Deadline(), want)
			}
			if !reflect.DeepEqual(s.Labels(), map[string]string{"team": "red", "app": "x"}) {
				t.Errorf("labels %v", s.Labels())
			}
			if v, ok := s.Label("team"); v != "red" || !ok {
				t.Errorf("label team: %q, %v", v, ok)
			}
			if !reflect.DeepEqual(s.Metadata(), map[string]string{"note": "ä"}) {
				t.Errorf("metadata %v", s.Metadata())
			}
			if o, ok := s.Owner(); !ok || o != (session.Owner{Node: "n1", Process: "p1", Epoch: 1}) {
				t.Errorf("owner %+v, %v", o, ok)
			}
			if f := s.Fence(); f.Epoch != 1 || f.Incarnation != s.Incarnation() || len(f.Incarnation) != 32 {
				t.Errorf("fence %+v", f)
			}
			if !slices.Equal(s.VarKeys(), []string{"a", "b"}) {
				t.Errorf("keys %v", s.VarKeys())
			}
			if v, ok := s.Var("b"); string(v) != "[1,2]" || !ok {
				t.Errorf("b is %s, %v", v, ok)
			}
			if v, ok := s.Var("c"); ok {
				t.Errorf("c is %s", v)
			}
			if got := s.Size(); got != (session.Size{VarsBytes: int64(len(`a{"x":null}b[1,2]`))}) {
				t.Errorf("size %+v", got)
			}
		})
	}
	if s.Revision() != again.Revision() || s.Incarnation() != again.Incarnation() {
		t.Error("the stored session is another one")
	}
}

func TestInvalidArguments(t *testing.T) {
	st := open(t, nil, nil)
	s := create(t, st, "s", nil)
	ctx := t.Context()
	long := strings.Repeat("x", 600)
	update := func(fn func(*session.Draft) error) error {
		_, err := st.Update(ctx, "s", fn)
		return err
	}
	createWith := func(o session.CreateOptions) error {
		_, _, err := st.Create(ctx, "new", &o)
		return err
	}
	for _, tt := range []struct {
		name  string
		field string
		err   error
	}{
		{"empty id", "session id", func() error { _, err := st.Get(ctx, ""); return err }()},
		{"long id", "session id", func() error { _, err := st.Peek(ctx, long); return err }()},
		{"id not UTF-8", "session id", func() error { _, _, err := st.Create(ctx, "a\xff", nil); return err }()},
		{"NUL in id", "session id", func() error { _, err := st.Delete(ctx, "a\x00b"); return err }()},
		{"key", "variable key", func() error { _, err := st.Patch(ctx, "s", session.Patch{Set: vars("", "1")}); return err }()},
		{"JSON", `variable "k"`, func() error { _, err := st.Patch(ctx, "s", session.Patch{Set: vars("k", "{")}); return err }()},
		{"no JSON", `variable "k"`, func() error { _, err := st.Patch(ctx, "s", session.Patch{Set: vars("k", "")}); return err }()},
		{"two JSON texts", `variable "k"`, func() error { _, err := st.Patch(ctx, "s", session.Patch{Set: vars("k", "1 2")}); return err }()},
		{"JSON not UTF-8", `variable "k"`, func() error { _, err := st.Patch(ctx, "s", session.Patch{Set: vars("k", "\"\xff\"")}); return err }()},
		{"unencodable", `variable "k"`, update(func(d *session.Draft) error { return d.SetVar("k", func() {}) })},
		{"negative TTL", "TTL", createWith(session.CreateOptions{TTL: new(-time.Second)})},
		{"long TTL", "TTL", update(func(d *session.Draft) error { d.SetTTL(session.MaxTTL + 1); return nil })},
		{"past deadline", "absolute deadline", createWith(session.CreateOptions{AbsoluteDeadline: time.Now().Add(-time.Hour)})},
		{"label key", "label key", createWith(session.CreateOptions{Labels: map[string]string{long[:65]: ""}})},
		{"label value", `label "k"`, update(func(d *session.Draft) error { d.SetLabel("k", long); return nil })},
		{"metadata key", "metadata key", update(func(d *session.Draft) error { d.SetMetadata(long, ""); return nil })},
		{"owner", "owner process", func() error { _, err := st.Claim(ctx, "s", session.Owner{Node: "n"}); return err }()},
		{"revision", "expected revision", func() error { _, err := st.Put(ctx, "s", "", session.Content{}); return err }()},
		{"position", "position", func() error { _, err := st.Get(ctx, "s", session.WithPosition("!")); return err }()},
		{"driver", "driver", func() error { _, err := session.New(nil, nil); return err }()},
		{"limit", "limit", func() error { _, err := st.List(ctx, session.ListOptions{Limit: 1001}); return err }()},
		{"program name", "program name", func() error { _, err := st.StageProgram(ctx, s, "", ""); return err }()},
		{"hint", "worker hint", func() error { _, err := st.Commit(ctx, "s", session.Commit{WorkerHint: long}); return err }()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var invalid *session.InvalidError
			if !errors.As(tt.err, &invalid) || !errors.Is(tt.err, session.ErrInvalid) {
				t.Fatalf("error %v", tt.err)
			}
			if invalid.Field != tt.field || invalid.Reason == "" {
				t.Errorf("field %q, reason %q", invalid.Field, invalid.Reason)
			}
		})
	}
	if after := must[*session.Session](t)(st.Peek(ctx, "s")); after.Position() != s.Position() {
		t.Error("an invalid argument has written")
	}
	if n := must[int](t)(st.Count(ctx, session.ListOptions{})); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestLongestID(t *testing.T) {
	st := open(t, nil, nil)
	for _, id := range []string{"x", strings.Repeat("ä", 256), "/ ?\n%"} {
		create(t, st, id, nil)
		if s, err := st.Get(t.Context(), id); err != nil || s.ID() != id {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestUpdate(t *testing.T) {
	st := open(t, nil, nil)
	base := create(t, st, "s", &session.CreateOptions{
		Vars: vars("a", "1", "b", "2"), Labels: map[string]string{"l": "1"}, Metadata: map[string]string{"m": "1"},
	})
	s, err := st.Update(t.Context(), "s", func(d *session.Draft) error {
		if d.ID() != "s" || d.Base().Revision() != base.Revision() {
			t.Errorf("draft of %q at %s", d.ID(), d.Base().Revision())
		}
		d.UnsetVar("a")
		if err := d.SetVar("c", map[string]any{"<x>": []int{1}}); err != nil {
			return err
		}
		if err := d.SetVar("d", json.RawMessage(` [ 1 , "a b" ] `)); err != nil {
			return err
		}
		if v, ok := d.Var("a"); ok {
			t.Errorf("a is still %s", v)
		}
		if v, _ := d.Var("b"); string(v) != "2" {
			t.Errorf("b is %s", v)
		}
		if v, _ := d.Var("d"); string(v) != `[1,"a b"]` {
			t.Errorf("d is %s", v)
		}
		d.SetLabel("l2", "x")
		d.UnsetLabel("l")
		if v, ok := d.Label("l2"); v != "x" || !ok {
			t.Errorf("label l2: %q, %v", v, ok)
		}
		d.UnsetMetadata("m")
		d.SetMetadata("m2", "y")
		if v, ok := d.Metadata("m2"); v != "y" || !ok {
			t.Errorf("metadata m2: %q, %v", v, ok)
		}
		d.SetTTL(time.Minute)
		d.SetAbsoluteDeadline(time.Now().Add(30 * time.Second))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*session.Session{s, must[*session.Session](t)(st.Peek(t.Context(), "s"))} {
		wantVars(t, s, `{"b":2,"c":{"\u003cx\u003e":[1]},"d":[1,"a b"]}`)
		if !reflect.DeepEqual(s.Labels(), map[string]string{"l2": "x"}) || !reflect.DeepEqual(s.Metadata(), map[string]string{"m2": "y"}) {
			t.Errorf("labels %v, metadata %v", s.Labels(), s.Metadata())
		}
		if s.TTL() != time.Minute || s.StateVersion() != 2 {
			t.Errorf("TTL %v, state version %d", s.TTL(), s.StateVersion())
		}
		if end, ok := s.AbsoluteDeadline(); !ok || !end.Equal(s.Deadline()) {
			t.Errorf("absolute deadline %v (%v), deadline %v", end, ok, s.Deadline())
		}
	}
	wantVars(t, base, `{"a":1,"b":2}`)
	if base.Revision() == s.Revision() || base.Incarnation() != s.Incarnation() {
		t.Errorf("revisions %s and %s", base.Revision(), s.Revision())
	}
}

func TestUpdateOfLabelsKeepsStateVersion(t *testing.T) {
	st := open(t, nil, nil)
	base := create(t, st, "s", &session.CreateOptions{Vars: vars("a", "1")})
	s := must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{SetLabels: map[string]string{"a": "b"}, TTL: new(time.Minute)}))
	if s.StateVersion() != base.StateVersion() || s.Revision() == base.Revision() {
		t.Errorf("state version %d to %d, revision %s to %s", base.StateVersion(), s.StateVersion(), base.Revision(), s.Revision())
	}
	wantVars(t, must[*session.Session](t)(st.Peek(t.Context(), "s")), `{"a":1}`)
}

func TestUpdateWithoutChangeWritesNothing(t *testing.T) {
	drv := newFaulty()
	st := open(t, drv, nil)
	s := create(t, st, "s", &session.CreateOptions{
		Vars: vars("a", "1"), Labels: map[string]string{"l": "1"}, Metadata: map[string]string{"m": "1"}, TTL: new(time.Hour),
	})
	drv.onApply(func(applyFunc, context.Context, string, *driver.Batch) (driver.Revision, error) {
		t.Error("it wrote")
		return 0, driver.ErrUnavailable
	})
	must[*session.Session](t)(st.Update(t.Context(), "s", func(d *session.Draft) error {
		d.UnsetVar("nothing")
		d.SetLabel("x", "y")
		d.UnsetLabel("x")
		d.SetMetadata("m", "2")
		d.SetMetadata("m", "1")
		d.SetTTL(time.Minute)
		d.SetTTL(time.Hour)
		if err := d.SetVar("a", 2); err != nil {
			return err
		}
		return d.SetVar("a", 1)
	}))
	must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("a", " 1"), UnsetLabels: []string{"z"}}))
	must[*session.Session](t)(st.Put(t.Context(), "s", s.Revision(), session.Content{
		Vars: vars("a", "1"), Labels: map[string]string{"l": "1"}, Metadata: map[string]string{"m": "1"},
	}))
}

func TestUpdateFunctionFails(t *testing.T) {
	st := open(t, nil, nil)
	s := create(t, st, "s", nil)
	cause := errors.New("no more tea")
	_, err := st.Update(t.Context(), "s", func(d *session.Draft) error {
		d.SetLabel("a", "b")
		return cause
	})
	if !errors.Is(err, session.ErrUpdateFailed) || !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
	if got := must[*session.Session](t)(st.Peek(t.Context(), "s")); got.Position() != s.Position() {
		t.Error("it wrote")
	}
}

func TestPutNeedsRevision(t *testing.T) {
	st := open(t, nil, nil)
	s := create(t, st, "s", &session.CreateOptions{Vars: vars("a", "1", "b", "2"), Labels: map[string]string{"l": "1"}})
	// Neither a claim nor a touch changes the revision.
	must[*session.Session](t)(st.Claim(t.Context(), "s", session.Owner{Process: "p"}))
	s2 := must[*session.Session](t)(st.Put(t.Context(), "s", s.Revision(), session.Content{Vars: vars("b", "3", "c", "4")}))
	wantVars(t, s2, `{"b":3,"c":4}`)
	if s2.Labels() != nil {
		t.Errorf("labels %v", s2.Labels())
	}
	for name, err := range map[string]error{
		"put":    func() error { _, err := st.Put(t.Context(), "s", s.Revision(), session.Content{}); return err }(),
		"delete": func() error { _, err := st.Delete(t.Context(), "s", session.IfRevision(s.Revision())); return err }(),
		"patch": func() error {
			_, err := st.Patch(t.Context(), "s", session.Patch{}, session.IfRevision(s.Revision()))
			return err
		}(),
	} {
		if !errors.Is(err, session.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if deleted := must[bool](t)(st.Delete(t.Context(), "s", session.IfRevision(s2.Revision()))); !deleted {
		t.Error("not deleted at its revision")
	}
}

func TestDelete(t *testing.T) {
	st := open(t, nil, nil)
	first := create(t, st, "s", nil)
	for i, want := range []bool{true, false} {
		if deleted := must[bool](t)(st.Delete(t.Context(), "s")); deleted != want {
			t.Errorf("delete %d: %v", i, deleted)
		}
	}
	for name, err := range map[string]error{
		"get":      func() error { _, err := st.Get(t.Context(), "s"); return err }(),
		"touch":    func() error { _, err := st.Touch(t.Context(), "s"); return err }(),
		"update":   func() error { _, err := st.Patch(t.Context(), "s", session.Patch{}); return err }(),
		"claim":    func() error { _, err := st.Claim(t.Context(), "s", session.Owner{Process: "p"}); return err }(),
		"commit":   func() error { _, err := st.Commit(t.Context(), "s", session.Commit{}); return err }(),
		"programs": func() error { _, err := st.Programs(t.Context(), "s"); return err }(),
	} {
		if !errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if must[bool](t)(st.Exists(t.Context(), "s")) {
		t.Error("it exists")
	}
	if second := create(t, st, "s", nil); second.Incarnation() == first.Incarnation() || second.Revision() == first.Revision() {
		t.Error("the new session passes for the old one")
	}
}

func TestWithOperation(t *testing.T) {
	st := open(t, nil, nil)
	create(t, st, "s", nil)
	op := session.OperationFor("call 1")
	if op != session.OperationFor("call 1") || op == session.OperationFor("call 2") {
		t.Fatal("operation ids do not stand for their names")
	}
	increment := func() (*session.Session, error) {
		return st.Update(t.Context(), "s", func(d *session.Draft) error {
			n := 0
			if v, ok := d.Var("n"); ok {
				if err := json.Unmarshal(v, &n); err != nil {
					return err
				}
			}
			return d.SetVar("n", n+1)
		}, session.WithOperation(op))
	}
	must[*session.Session](t)(increment())
	s, err := increment()
	if !errors.Is(err, session.ErrAlreadyCommitted) {
		t.Fatalf("error %v", err)
	}
	wantVars(t, s, `{"n":1}`)
	// The 16th write after it pushes it out.
	for i := range 16 {
		if s, err := increment(); !errors.Is(err, session.ErrAlreadyCommitted) || !s.HasOperation(op) {
			t.Fatalf("after %d writes: %v", i, err)
		}
		must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("x", fmt.Sprint(i))}))
	}
	wantVars(t, must[*session.Session](t)(increment()), `{"n":2,"x":15}`)
}

func TestNoLostUpdates(t *testing.T) {
	st := open(t, nil, nil)
	create(t, st, "s", nil)
	const callers, each = 16, 50
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			for range each {
				_, err := st.Update(t.Context(), "s", func(d *session.Draft) error {
					for _, key := range []string{"all", fmt.Sprintf("caller %d", c)} {
						n := 0
						if v, ok := d.Var(key); ok {
							if err := json.Unmarshal(v, &n); err != nil {
								return err
							}
						}
						if err := d.SetVar(key, n+1); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := st.Get(t.Context(), "s"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	s := must[*session.Session](t)(st.Get(t.Context(), "s"))
	if v, _ := s.Var("all"); string(v) != fmt.Sprint(callers*each) {
		t.Errorf("%s of %d updates are left", v, callers*each)
	}
	for c := range callers {
		if v, _ := s.Var(fmt.Sprintf("caller %d", c)); string(v) != fmt.Sprint(each) {
			t.Errorf("%s of %d updates of caller %d are left", v, each, c)
		}
	}
	if s.StateVersion() != 1+callers*each {
		t.Errorf("state version %d", s.StateVersion())
	}
}

func TestManyVars(t *testing.T) {
	st := open(t, nil, nil)
	create(t, st, "s", nil)
	set := make(map[string]json.RawMessage)
	for i := range 500 {
		set[fmt.Sprintf("key %03d", i)] = json.RawMessage(fmt.Sprint(i))
	}
	must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: set}))
	var unset []string
	for i := 0; i < 500; i += 2 {
		unset = append(unset, fmt.Sprintf("key %03d", i))
	}
	must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Unset: unset, Set: vars("key 001", "-1", "key 500", "500")}))
	s := must[*session.Session](t)(st.Get(t.Context(), "s"))
	if len(s.VarKeys()) != 251 {
		t.Errorf("%d keys", len(s.VarKeys()))
	}
	for range 2 { // by scanning, then by index
		for i := range 501 {
			want, exists := fmt.Sprint(i), i%2 == 1 || i == 500
			if i == 1 {
				want = "-1"
			}
			v, ok := s.Var(fmt.Sprintf("key %03d", i))
			if ok != exists || ok && string(v) != want {
				t.Fatalf("key %d: %s, %v", i, v, ok)
			}
		}
	}
	var decoded map[string]int
	if err := json.Unmarshal(s.Vars(), &decoded); err != nil || len(decoded) != 251 {
		t.Errorf("%d variables: %v", len(decoded), err)
	}
}

func TestKeysNeedQuoting(t *testing.T) {
	st := open(t, nil, nil)
	keys := []string{`"`, `\`, "\n", "é", "a b", "\u2028"}
	set := make(map[string]json.RawMessage)
	for i, key := range keys {
		set[key] = json.RawMessage(fmt.Sprint(i))
	}
	s := create(t, st, "s", &session.CreateOptions{Vars: set})
	var decoded map[string]int
	if err := json.Unmarshal(s.Vars(), &decoded); err != nil {
		t.Fatalf("%s: %v", s.Vars(), err)
	}
	for i, key := range keys {
		if decoded[key] != i {
			t.Errorf("%q is %d", key, decoded[key])
		}
	}
}

func TestTooLarge(t *testing.T) {
	st := open(t, nil, &session.Options{MaxVars: 1000})
	create(t, st, "s", nil)
	value := `"` + strings.Repeat("x", 1000) + `"`
	_, err := st.Patch(t.Context(), "s", session.Patch{Set: vars("k", value)})
	if !errors.Is(err, session.ErrTooLarge) || !strings.Contains(err.Error(), "variables of the session: 1003 bytes, where 1000 are allowed") {
		t.Errorf("variables: %v", err)
	}
	labels := make(map[string]string)
	for i := range 10 {
		labels[fmt.Sprintf("label%d", i)] = strings.Repeat("x", 250)
	}
	_, err = st.Patch(t.Context(), "s", session.Patch{SetLabels: labels})
	if !errors.Is(err, session.ErrTooLarge) || !strings.Contains(err.Error(), "labels") {
		t.Errorf("labels: %v", err)
	}
	small := open(t, smallStore{memstore.New()}, nil)
	create(t, small, "s", nil)
	_, err = small.Patch(t.Context(), "s", session.Patch{Set: vars("k", `"`+strings.Repeat("x", 10_000)+`"`)})
	if !errors.Is(err, session.ErrTooLarge) || !strings.Contains(err.Error(), `"small"`) {
		t.Errorf("record: %v", err)
	}
}

// smallStore declares the smallest limits.
type smallStore struct{ driver.Store }

func (smallStore) Describe() driver.Info {
	return driver.Info{Name: "small", Limits: driver.Limits{Head: 4 << 10, Record: 8 << 10, Item: 1 << 10, Batch: 8 << 10, BatchItems: 4}}
}

func TestHeadFitsWhateverItHolds(t *testing.T) {
	st := open(t, smallStore{memstore.New()}, nil)
	labels := make(map[string]string)
	for i := range session.MaxLabels {
		labels[fmt.Sprintf("%02d%s", i, strings.Repeat("k", 30))] = strings.Repeat("v", 32)
	}
	s := create(t, st, strings.Repeat("i", session.MaxIDSize), &session.CreateOptions{
		TTL: new(session.MaxTTL), AbsoluteDeadline: time.Now().AddDate(100, 0, 0), Labels: labels,
		Owner: &session.Owner{Node: strings.Repeat("n", 256), Process: strings.Repeat("p", 64)},
	})
	for range 20 {
		must[*session.Session](t)(st.Commit(t.Context(), s.ID(), session.Commit{
			Fence: s.Fence(), Set: vars("a", `"`+fmt.Sprint(session.NewOperation())+`"`), WorkerHint: strings.Repeat("h", 256),
		}))
	}
}
