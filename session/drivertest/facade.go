package drivertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
)

// testRandomSessions plays random histories of session.Store over the driver
// and compares every answer with a model of sessions in plain maps.
func testRandomSessions(t *testing.T, h Harness) {
	w := &world{outer: t, harness: h}
	w.drv = h.Open(t)
	w.open()
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	actions := map[string]func(*rapid.T){
		"create": w.create, "get": w.get, "peek": w.peek, "touch": w.touch,
		"update": w.update, "patch": w.patch, "put": w.put,
		"delete": w.delete, "expire": w.expire, "sweep": w.sweep,
		"list": w.list, "program put": w.putProgram, "program get": w.getProgram, "program delete": w.deleteProgram,
		"": w.check, // after every action
	}
	if h.Reopen != nil {
		actions["reopen"] = w.reopen
	}
	rapid.Check(t, func(t *rapid.T) {
		w.clear(t)
		t.Repeat(actions)
	})
}

// world is the store under test and what should be in it.
type world struct {
	outer   testing.TB // whose context outlives the single histories
	harness Harness
	drv     driver.Store
	store   *session.Store

	sessions map[string]*expected // without the expired ones
	// past holds all public revisions and incarnations ever seen.
	past map[string]bool
}

// expected is a session as it should be.
type expected struct {
	vars, labels, metadata map[string]string
	programs               map[string]string
	revision, incarnation  string
	stateVersion           uint64
}

func (w *world) open() {
	store, err := session.New(w.drv, &session.Options{SweepInterval: -1})
	if err != nil {
		w.outer.Fatal(err)
	}
	w.store = store
}

// clear deletes all sessions, and what expired ones left.
func (w *world) clear(t *rapid.T) {
	ctx := w.outer.Context()
	for s, err := range w.store.All(ctx, session.ListOptions{}) {
		if err != nil {
			t.Fatalf("All: %v", err)
		}
		if _, err := w.store.Delete(ctx, s.ID()); err != nil {
			t.Fatalf("Delete(%q): %v", s.ID(), err)
		}
	}
	if _, err := w.store.Sweep(ctx); err != nil {
		t.Fatalf("Sweep: %v", err)
	}
	w.sessions, w.past = map[string]*expected{}, map[string]bool{}
}

// sessionIDs are few, so that actions meet.
var sessionIDs = []string{"a", "ab", "a b", "b/c"}

func drawID(t *rapid.T) string { return rapid.SampledFrom(sessionIDs).Draw(t, "id") }

func drawMap(t *rapid.T, label string, value *rapid.Generator[string]) map[string]string {
	return rapid.MapOfN(rapid.SampledFrom([]string{"x", "y", "z"}), value, 0, 2).Draw(t, label)
}

func drawLabels(t *rapid.T) map[string]string {
	return drawMap(t, "labels", rapid.SampledFrom([]string{"", "1", "2"}))
}

func drawVars(t *rapid.T) map[string]string {
	return drawMap(t, "vars", rapid.SampledFrom([]string{`1`, `"a b"`, `{"k":[1,2]}`, `null`}))
}

func rawVars(vars map[string]string) map[string]json.RawMessage {
	raw := make(map[string]json.RawMessage, len(vars))
	for key, value := range vars {
		raw[key] = json.RawMessage(value)
	}
	return raw
}

// missing checks the answer about a session that is not there, and tells
// whether it is.
func (w *world) missing(t *rapid.T, id string, err error) bool {
	if w.sessions[id] != nil {
		if err != nil {
			t.Fatalf("session %q: %v", id, err)
		}
		return false
	}
	if !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("session %q should not be there: error %v, want %v", id, err, session.ErrNotFound)
	}
	return true
}

// same checks a view that no change of content lies behind.
func (w *world) same(t *rapid.T, s *session.Session) {
	e := w.sessions[s.ID()]
	w.content(t, s, e)
	if s.Revision() != e.revision || s.StateVersion() != e.stateVersion {
		t.Fatalf("session %q has revision %q and state %d, want %q and %d", s.ID(), s.Revision(), s.StateVersion(), e.revision, e.stateVersion)
	}
}

// changed checks the view that a change returned and notes its revision. A
// change that left everything equal may keep the revision.
func (w *world) changed(t *rapid.T, s *session.Session, before, after *expected) {
	w.sessions[s.ID()] = after
	w.content(t, s, after)
	stateSame := maps.Equal(before.vars, after.vars) && maps.Equal(before.programs, after.programs)
	allSame := stateSame && maps.Equal(before.labels, after.labels) && maps.Equal(before.metadata, after.metadata)
	switch {
	case s.Revision() == before.revision && !allSame:
		t.Fatalf("session %q changed and kept the revision %q", s.ID(), s.Revision())
	case s.Revision() != before.revision && w.past[s.Revision()]:
		t.Fatalf("session %q is back at the revision %q", s.ID(), s.Revision())
	case s.StateVersion() < before.stateVersion || s.StateVersion() == before.stateVersion && !stateSame:
		t.Fatalf("session %q went from state %d to %d", s.ID(), before.stateVersion, s.StateVersion())
	}
	w.past[s.Revision()] = true
	after.revision, after.stateVersion = s.Revision(), s.StateVersion()
}

// content compares all that a view shows.
func (w *world) content(t *rapid.T, s *session.Session, e *expected) {
	vars, programs := map[string]string{}, map[string]bool{}
	for _, key := range s.VarKeys() {
		value, _ := s.Var(key)
		vars[key] = string(value)
	}
	for _, p := range s.Programs() {
		programs[p.Name] = true
		if p.Size != int64(len(e.programs[p.Name])) {
			t.Fatalf("session %q: program %q has %d bytes, want %d", s.ID(), p.Name, p.Size, len(e.programs[p.Name]))
		}
	}
	if !maps.Equal(vars, e.vars) || !maps.Equal(s.Labels(), e.labels) || !maps.Equal(s.Metadata(), e.metadata) || len(programs) != len(e.programs) {
		t.Fatalf("session %q: vars %v, labels %v, metadata %v, programs %v; want %+v", s.ID(), vars, s.Labels(), s.Metadata(), programs, *e)
	}
	if s.Incarnation() != e.incarnation {
		t.Fatalf("session %q is incarnation %q, want %q", s.ID(), s.Incarnation(), e.incarnation)
	}
}

// copy returns e for a change.
func (e *expected) copy() *expected {
	c := *e
	c.vars, c.labels, c.metadata, c.programs = maps.Clone(e.vars), maps.Clone(e.labels), maps.Clone(e.metadata), maps.Clone(e.programs)
	return &c
}

func (w *world) create(t *rapid.T) {
	id := drawID(t)
	e := &expected{vars: drawVars(t), labels: drawLabels(t), metadata: drawMap(t, "metadata", rapid.Just("m")), programs: map[string]string{}}
	s, created, err := w.store.Create(w.outer.Context(), id, &session.CreateOptions{Vars: rawVars(e.vars), Labels: e.labels, Metadata: e.metadata})
	if err != nil {
		t.Fatalf("Create(%q): %v", id, err)
	}
	if w.sessions[id] != nil {
		if created {
			t.Fatalf("Create(%q) says created, and it was there", id)
		}
		w.same(t, s)
		return
	}
	if !created || w.past[s.Revision()] || w.past[s.Incarnation()] {
		t.Fatalf("Create(%q): created %v, revision %q and incarnation %q must be new", id, created, s.Revision(), s.Incarnation())
	}
	e.revision, e.incarnation, e.stateVersion = s.Revision(), s.Incarnation(), s.StateVersion()
	w.past[e.revision], w.past[e.incarnation] = true, true
	w.sessions[id] = e
	w.content(t, s, e)
}

func (w *world) get(t *rapid.T) {
	id := drawID(t)
	if s, err := w.store.Get(w.outer.Context(), id); !w.missing(t, id, err) {
		w.same(t, s)
	}
}

func (w *world) peek(t *rapid.T) {
	id := drawID(t)
	if s, err := w.store.Peek(w.outer.Context(), id); !w.missing(t, id, err) {
		w.same(t, s)
	}
	exists, err := w.store.Exists(w.outer.Context(), id)
	if err != nil || exists != (w.sessions[id] != nil) {
		t.Fatalf("Exists(%q) = %v, %v", id, exists, err)
	}
}

func (w *world) touch(t *rapid.T) {
	id := drawID(t)
	if s, err := w.store.Touch(w.outer.Context(), id); !w.missing(t, id, err) {
		w.same(t, s)
	}
}

var errRefuse = errors.New("the function refuses")

func (w *world) update(t *rapid.T) {
	id := drawID(t)
	vars, labels := drawVars(t), drawLabels(t)
	unset := rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "unset")
	refuse := rapid.IntRange(0, 4).Draw(t, "refuse") == 0
	s, err := w.store.Update(w.outer.Context(), id, func(d *session.Draft) error {
		d.UnsetVar(unset)
		for _, key := range slices.Sorted(maps.Keys(vars)) {
			if err := d.SetVarJSON(key, json.RawMessage(vars[key])); err != nil {
				return err
			}
		}
		d.UnsetLabel(unset)
		for key, value := range labels {
			d.SetLabel(key, value)
		}
		if refuse {
			return errRefuse
		}
		return nil
	})
	before := w.sessions[id]
	if before != nil && refuse {
		if !errors.Is(err, session.ErrUpdateFailed) || !errors.Is(err, errRefuse) {
			t.Fatalf("Update(%q) with a function that fails: %v", id, err)
		}
		return
	}
	if w.missing(t, id, err) {
		return
	}
	after := before.copy()
	delete(after.vars, unset)
	maps.Copy(after.vars, vars)
	delete(after.labels, unset)
	maps.Copy(after.labels, labels)
	w.changed(t, s, before, after)
}

func (w *world) patch(t *rapid.T) {
	id := drawID(t)
	set, setMetadata := drawVars(t), drawMap(t, "metadata", rapid.SampledFrom([]string{"", "m"}))
	p := session.Patch{Set: rawVars(set), SetMetadata: setMetadata}
	for _, key := range []string{"x", "y", "z"} {
		if _, both := set[key]; !both && rapid.Bool().Draw(t, "unset") {
			p.Unset = append(p.Unset, key)
		}
	}
	opts, fits := w.drawCondition(t, id)
	s, err := w.store.Patch(w.outer.Context(), id, p, opts...)
	if !fits {
		w.conflict(t, id, err)
		return
	}
	if w.missing(t, id, err) {
		return
	}
	before := w.sessions[id]
	after := before.copy()
	for _, key := range p.Unset {
		delete(after.vars, key)
	}
	maps.Copy(after.vars, set)
	maps.Copy(after.metadata, setMetadata)
	w.changed(t, s, before, after)
}

// drawRevision returns the revision of a session, or one it does not have.
func (w *world) drawRevision(t *rapid.T, id string) (revision string, fits bool) {
	if e := w.sessions[id]; e != nil && rapid.IntRange(0, 3).Draw(t, "revision fits") > 0 {
		return e.revision, true
	}
	for _, other := range slices.Sorted(maps.Keys(w.sessions)) {
		if other != id {
			return w.sessions[other].revision, false
		}
	}
	return "no-revision", false
}

func (w *world) drawCondition(t *rapid.T, id string) (opts []session.WriteOption, fits bool) {
	if w.sessions[id] == nil || rapid.Bool().Draw(t, "unconditional") {
		return nil, true
	}
	revision, fits := w.drawRevision(t, id)
	return []session.WriteOption{session.IfRevision(revision)}, fits
}

// conflict checks the answer to a write at a revision the session has not.
func (w *world) conflict(t *rapid.T, id string, err error) {
	want := session.ErrConflict
	if w.sessions[id] == nil {
		want = session.ErrNotFound
	}
	if !errors.Is(err, want) {
		t.Fatalf("write of %q at a revision it has not: error %v, want %v", id, err, want)
	}
}

func (w *world) put(t *rapid.T) {
	id := drawID(t)
	vars, labels := drawVars(t), drawLabels(t)
	revision, fits := w.drawRevision(t, id)
	s, err := w.store.Put(w.outer.Context(), id, revision, session.Content{Vars: rawVars(vars), Labels: labels})
	if !fits {
		w.conflict(t, id, err)
		return
	}
	if w.missing(t, id, err) {
		return
	}
	before := w.sessions[id]
	after := before.copy()
	after.vars, after.labels, after.metadata = vars, labels, map[string]string{}
	w.changed(t, s, before, after)
}

func (w *world) delete(t *rapid.T) {
	id := drawID(t)
	opts, fits := w.drawCondition(t, id)
	deleted, err := w.store.Delete(w.outer.Context(), id, opts...)
	if !fits {
		w.conflict(t, id, err)
		return
	}
	if err != nil || deleted != (w.sessions[id] != nil) {
		t.Fatalf("Delete(%q) = %v, %v", id, deleted, err)
	}
	delete(w.sessions, id)
}

// expire lets a session expire by giving it a deadline that is over at once.
// Waiting for the clock to pass it takes a millisecond.
func (w *world) expire(t *rapid.T) {
	id := drawID(t)
	s, err := w.store.Update(w.outer.Context(), id, func(d *session.Draft) error {
		d.SetAbsoluteDeadline(time.Now().Add(time.Millisecond))
		return nil
	})
	switch {
	case errors.Is(err, session.ErrInvalid):
		return // a slow machine: the deadline was over before it was set
	case w.missing(t, id, err):
		return
	}
	for time.Now().UnixMilli() <= s.Deadline().UnixMilli() {
	}
	delete(w.sessions, id)
}

func (w *world) sweep(t *rapid.T) {
	result, err := w.store.Sweep(w.outer.Context())
	if err != nil || result.Live != len(w.sessions) || result.Corrupt != 0 {
		t.Fatalf("Sweep = %+v, %v; want %d live sessions", result, err, len(w.sessions))
	}
}

func (w *world) list(t *rapid.T) {
	opts := session.ListOptions{
		Prefix: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "prefix"),
		Labels: drawLabels(t),
		Limit:  rapid.IntRange(1, 3).Draw(t, "limit"),
	}
	var want, got []string
	for _, id := range slices.Sorted(maps.Keys(w.sessions)) {
		matches := strings.HasPrefix(id, opts.Prefix)
		for key, value := range opts.Labels {
			has, ok := w.sessions[id].labels[key]
			matches = matches && ok && has == value
		}
		if matches {
			want = append(want, id)
		}
	}
	counted, err := w.store.Count(w.outer.Context(), opts)
	if err != nil || counted != len(want) {
		t.Fatalf("Count(%+v) = %d, %v; want %d", opts, counted, err, len(want))
	}
	for {
		page, err := w.store.List(w.outer.Context(), opts)
		if err != nil || len(page.Sessions) > opts.Limit {
			t.Fatalf("List(%+v): %d sessions, %v", opts, len(page.Sessions), err)
		}
		for _, s := range page.Sessions {
			got = append(got, s.ID())
		}
		if opts.After = page.Next; opts.After == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("List(%+v) gave %q, want %q", opts, got, want)
	}
}

// drawProgram returns the bytes of a program. Some need several items.
func (w *world) drawProgram(t *rapid.T) string {
	size := rapid.SampledFrom([]int{0, 1, 1000, w.store.Driver().Limits.Item + 17}).Draw(t, "size")
	return string(pattern(size))
}

func (w *world) putProgram(t *rapid.T) {
	id, name, data := drawID(t), rapid.SampledFrom(someKeys).Draw(t, "name"), w.drawProgram(t)
	p, err := w.store.PutProgram(w.outer.Context(), id, name, strings.NewReader(data), nil)
	if w.missing(t, id, err) {
		return
	}
	if p.Name != name || p.Size != int64(len(data)) {
		t.Fatalf("PutProgram(%q, %q) = %+v, want %d bytes", id, name, p, len(data))
	}
	before := w.sessions[id]
	after := before.copy()
	after.programs[name] = data
	s, err := w.store.Peek(w.outer.Context(), id)
	if err != nil {
		t.Fatalf("Peek(%q): %v", id, err)
	}
	w.changed(t, s, before, after)
}

func (w *world) getProgram(t *rapid.T) {
	id, name := drawID(t), rapid.SampledFrom(someKeys).Draw(t, "name")
	r, err := w.store.OpenProgram(w.outer.Context(), id, name)
	want, ok := "", false
	if e := w.sessions[id]; e != nil {
		want, ok = e.programs[name]
	}
	if !ok {
		if !errors.Is(err, session.ErrNotFound) {
			t.Fatalf("OpenProgram(%q, %q): error %v, want %v", id, name, err, session.ErrNotFound)
		}
		return
	}
	if err != nil {
		t.Fatalf("OpenProgram(%q, %q): %v", id, name, err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, []byte(want)) {
		t.Fatalf("program %q of %q: %d bytes, %v; want %d", name, id, len(got), err, len(want))
	}
}

func (w *world) deleteProgram(t *rapid.T) {
	id, name := drawID(t), rapid.SampledFrom(someKeys).Draw(t, "name")
	deleted, err := w.store.DeleteProgram(w.outer.Context(), id, name)
	if w.missing(t, id, err) {
		return
	}
	before := w.sessions[id]
	if _, had := before.programs[name]; had != deleted {
		t.Fatalf("DeleteProgram(%q, %q) = %v", id, name, deleted)
	}
	after := before.copy()
	delete(after.programs, name)
	s, err := w.store.Peek(w.outer.Context(), id)
	if err != nil {
		t.Fatalf("Peek(%q): %v", id, err)
	}
	w.changed(t, s, before, after)
}

func (w *world) reopen(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "reopen") > 0 {
		return // slow, so not as often as the others
	}
	if err := w.store.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	w.drv = w.harness.Reopen(w.outer, w.drv)
	w.open()
}

// check looks at all sessions after every action.
func (w *world) check(t *rapid.T) {
	for _, id := range sessionIDs {
		if s, err := w.store.Peek(w.outer.Context(), id); !w.missing(t, id, err) {
			w.same(t, s)
		}
	}
	stats, err := w.store.Stats(w.outer.Context())
	if err != nil || stats.Sessions != len(w.sessions) {
		t.Fatalf("Stats: %s, %v; want %d sessions", fmt.Sprintf("%+v", stats), err, len(w.sessions))
	}
}
