package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// rewrite replaces the stored bytes of a session.
func rewrite(t testing.TB, drv driver.Store, id string, change func(head, body []byte) ([]byte, []byte)) {
	t.Helper()
	rec := must[*driver.Record](t)(drv.Get(t.Context(), id, driver.Read{}))
	head, body := change(bytes.Clone(rec.Head), bytes.Clone(rec.Body))
	if _, err := drv.Apply(t.Context(), id, &driver.Batch{Head: head, Body: body}); err != nil {
		t.Fatal(err)
	}
}

func fullSession(t testing.TB, st *session.Store, id string) *session.Session {
	t.Helper()
	create(t, st, id, &session.CreateOptions{
		Vars: vars("a", `{"x":[1,2.5,"ü"]}`, "b", "null"), Labels: map[string]string{"k": "v", "l": ""},
		Metadata: map[string]string{"m": "n"}, AbsoluteDeadline: time.Now().Add(time.Hour),
		Owner: &session.Owner{Node: "n1", Process: "p1"},
	})
	must[session.Program](t)(st.PutProgram(t.Context(), id, "prog", strings.NewReader("bytes"), &session.ProgramOptions{ContentType: "x/y"}))
	s := must[*session.Session](t)(st.Peek(t.Context(), id))
	return must[*session.Session](t)(st.Commit(t.Context(), id, session.Commit{Fence: s.Fence(), Set: vars("c", "1"), WorkerHint: "w1"}))
}

// meaning is all that a session says, for comparison.
func meaning(s *session.Session) string {
	absolute, _ := s.AbsoluteDeadline()
	owner, _ := s.Owner()
	return fmt.Sprint(s.ID(), s.Revision(), s.StateVersion(), s.Created().UnixMilli(), s.LastAccessed().UnixMilli(), s.TTL(),
		s.Deadline().UnixMilli(), absolute.UnixMilli(), s.Labels(), s.Metadata(), string(s.Vars()), s.Programs(), owner, s.Fence(),
		s.WorkerHint(), s.Size())
}

func TestEveryFlippedByteIsNoticed(t *testing.T) {
	drv := memstore.New()
	st := open(t, drv, nil)
	want := meaning(fullSession(t, st, "s"))
	rec := must[*driver.Record](t)(drv.Get(t.Context(), "s", driver.Read{}))
	head, body := bytes.Clone(rec.Head), bytes.Clone(rec.Body)
	check := func(what string, head, body []byte) {
		t.Helper()
		if _, err := drv.Apply(t.Context(), "s", &driver.Batch{Head: head, Body: body}); err != nil {
			t.Fatal(err)
		}
		s, err := st.Peek(t.Context(), "s")
		var corrupt *session.CorruptError
		switch {
		case err == nil:
			t.Errorf("%s is not noticed: %s", what, meaning(s))
		case errors.As(err, &corrupt) && corrupt.ID == "s":
		case errors.Is(err, session.ErrUnsupported) && strings.Contains(err.Error(), "newer version"):
		default:
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, part := range map[string][]byte{"head": head, "body": body} {
		for i := range part {
			for _, mask := range []byte{0x01, 0x80, 0xff} {
				part[i] ^= mask
				check(fmt.Sprintf("%s[%d] ^ %#x", name, i, mask), bytes.Clone(head), bytes.Clone(body))
				part[i] ^= mask
			}
		}
	}
	for n := range head {
		if n > 0 { // a batch without a head is none
			check(fmt.Sprintf("head of %d bytes", n), head[:n], body)
		}
	}
	for n := range body {
		check(fmt.Sprintf("body of %d bytes", n), head, body[:n])
	}
	rewrite(t, drv, "s", func(_, _ []byte) ([]byte, []byte) { return head, body })
	if got := meaning(must[*session.Session](t)(st.Peek(t.Context(), "s"))); got != want {
		t.Errorf("the sound record reads\n%s, want\n%s", got, want)
	}
}

func TestSwappedRecordsAreNoticed(t *testing.T) {
	drv := memstore.New()
	st := open(t, drv, nil)
	fullSession(t, st, "a")
	old := must[*driver.Record](t)(drv.Get(t.Context(), "a", driver.Read{}))
	oldHead, oldBody := old.Head, old.Body
	must[*session.Session](t)(st.Patch(t.Context(), "a", session.Patch{Set: vars("a", "2")}))
	fullSession(t, st, "b")
	other := must[*driver.Record](t)(drv.Get(t.Context(), "b", driver.Read{}))
	for name, change := range map[string]func(head, body []byte) ([]byte, []byte){
		"another session's record": func(_, _ []byte) ([]byte, []byte) { return other.Head, other.Body },
		"another session's body":   func(head, _ []byte) ([]byte, []byte) { return head, other.Body },
		"the former body":          func(head, _ []byte) ([]byte, []byte) { return head, oldBody },
		"the former head":          func(_, body []byte) ([]byte, []byte) { return oldHead, body },
		"head for body":            func(head, _ []byte) ([]byte, []byte) { return head, head },
	} {
		t.Run(name, func(t *testing.T) {
			rec := must[*driver.Record](t)(drv.Get(t.Context(), "a", driver.Read{}))
			head, body := rec.Head, rec.Body
			rewrite(t, drv, "a", change)
			_, err := st.Get(t.Context(), "a")
			var corrupt *session.CorruptError
			if !errors.As(err, &corrupt) || corrupt.ID != "a" || corrupt.Part == "" {
				t.Errorf("error %v", err)
			}
			rewrite(t, drv, "a", func(_, _ []byte) ([]byte, []byte) { return head, body })
		})
	}
}

func TestNewerFormatsAreRefused(t *testing.T) {
	drv := memstore.New()
	st := open(t, drv, nil)
	fullSession(t, st, "s")
	rewrite(t, drv, "s", func(head, body []byte) ([]byte, []byte) {
		head[0] = 2
		return head, body
	})
	_, err := st.Get(t.Context(), "s")
	if !errors.Is(err, session.ErrUnsupported) || errors.Is(err, session.ErrCorrupt) || !strings.Contains(err.Error(), "newer version of Snakepit") {
		t.Errorf("error %v", err)
	}
	if _, err := st.Delete(t.Context(), "s"); !errors.Is(err, session.ErrUnsupported) {
		t.Errorf("delete of what is not understood: %v", err)
	}
}

func TestCorruptSessionAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := memstore.New()
		st := open(t, drv, nil)
		for _, id := range []string{"a", "b", "c", "d"} {
			create(t, st, id, nil)
		}
		rewrite(t, drv, "b", func(head, body []byte) ([]byte, []byte) {
			head[len(head)-1] ^= 1
			return head, body
		})
		var ids, bad []string
		for s, err := range st.All(t.Context(), session.ListOptions{}) {
			var corrupt *session.CorruptError
			switch {
			case err == nil:
				ids = append(ids, s.ID())
			case errors.As(err, &corrupt):
				bad = append(bad, corrupt.ID)
			default:
				t.Error(err)
			}
		}
		if !slices.Equal(ids, []string{"a", "c", "d"}) || !slices.Equal(bad, []string{"b"}) {
			t.Errorf("listed %v, damaged %v", ids, bad)
		}
		if n := must[int](t)(st.Count(t.Context(), session.ListOptions{})); n != 3 {
			t.Errorf("%d counted", n)
		}
		for name, err := range map[string]error{
			"create": func() error { _, _, err := st.Create(t.Context(), "b", nil); return err }(),
			"update": func() error { _, err := st.Patch(t.Context(), "b", session.Patch{}); return err }(),
			"exists": func() error { _, err := st.Exists(t.Context(), "b"); return err }(),
		} {
			if !errors.Is(err, session.ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
		}
		time.Sleep(10 * time.Hour)
		if r := must[session.SweepResult](t)(st.Sweep(t.Context())); r.Corrupt != 1 || r.Expired != 3 {
			t.Errorf("sweep %+v", r)
		}
		if deleted := must[bool](t)(st.Delete(t.Context(), "b")); !deleted {
			t.Error("it cannot be deleted")
		}
	})
}

// Records of a newer version stand in nobody's way.
func TestNewerFormatsAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := memstore.New()
		st := open(t, drv, nil)
		for _, id := range []string{"a", "head", "m", "programs", "z"} {
			create(t, st, id, nil)
		}
		must[session.Program](t)(st.PutProgram(t.Context(), "programs", "p", strings.NewReader("bytes"), nil))
		rewrite(t, drv, "head", func(head, body []byte) ([]byte, []byte) {
			head[0] = 2
			return head, body
		})
		rewrite(t, drv, "programs", func(head, body []byte) ([]byte, []byte) {
			body[0] = 2
			return head, body
		})
		var ids []string
		unreadable := 0
		for s, err := range st.All(t.Context(), session.ListOptions{}) {
			switch {
			case err == nil:
				ids = append(ids, s.ID())
			case errors.Is(err, session.ErrUnsupported):
				unreadable++
			default:
				t.Error(err)
			}
		}
		if !slices.Equal(ids, []string{"a", "m", "programs", "z"}) || unreadable != 1 {
			t.Errorf("listed %v, %d unreadable", ids, unreadable)
		}
		time.Sleep(10 * time.Hour)
		if r, err := st.Sweep(t.Context()); err != nil || r.Expired != 4 || r.Corrupt != 1 || len(items(t, drv)) != 0 {
			t.Errorf("sweep %+v, %v", r, err)
		}
	})
}

// A driver's own finding gets the type that names the session.
func TestDriverFindsCorruption(t *testing.T) {
	drv := newFaulty()
	st := open(t, drv, nil)
	create(t, st, "s", nil)
	drv.onGet(func(getFunc, context.Context, string, driver.Read) (*driver.Record, error) {
		return nil, fmt.Errorf("block 7: %w", driver.ErrCorrupt)
	})
	_, err := st.Get(t.Context(), "s")
	var corrupt *session.CorruptError
	if !errors.As(err, &corrupt) || corrupt.ID != "s" || !strings.Contains(err.Error(), "block 7") {
		t.Errorf("error %v", err)
	}
	if deleted, err := st.Delete(t.Context(), "s"); err != nil || !deleted {
		t.Errorf("what the driver cannot read cannot be deleted: %v, %v", deleted, err)
	}
	drv.onGet(nil)
	if exists, err := st.Exists(t.Context(), "s"); err != nil || exists {
		t.Errorf("after its deletion: %v, %v", exists, err)
	}
}

func TestViewsAreShared(t *testing.T) {
	st := open(t, nil, nil)
	create(t, st, "s", &session.CreateOptions{Vars: vars("a", "1")})
	a, b := must[*session.Session](t)(st.Get(t.Context(), "s")), must[*session.Session](t)(st.Get(t.Context(), "s"))
	if a != b {
		t.Error("two reads of one state have two views")
	}
	m := a.Labels()
	if m != nil {
		t.Errorf("labels %v", m)
	}
	if !reflect.DeepEqual(a.VarKeys(), []string{"a"}) {
		t.Errorf("keys %v", a.VarKeys())
	}
}
