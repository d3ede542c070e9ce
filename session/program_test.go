package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

func readProgram(t testing.TB, st *session.Store, id, name string) string {
	t.Helper()
	r, err := st.OpenProgram(t.Context(), id, name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func items(t testing.TB, drv driver.Store) []driver.ItemInfo {
	t.Helper()
	return must[[]driver.ItemInfo](t)(drv.Items(t.Context(), driver.ItemRef{}, 10_000))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func TestPrograms(t *testing.T) {
	for _, size := range []int{0, 1, 1015, 1016, 1017, 5000} {
		drv := memstore.New()
		st := open(t, smallStore{drv}, nil)
		create(t, st, "s", nil)
		want := randomBytes(size)
		sum := sha256.Sum256(want)
		before := must[*session.Session](t)(st.Peek(t.Context(), "s"))
		p, err := st.PutProgram(t.Context(), "s", "a/b", iotest.HalfReader(bytes.NewReader(want)), &session.ProgramOptions{ContentType: "text/x"})
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != "a/b" || p.Size != int64(size) || p.ContentType != "text/x" || p.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("program %+v", p)
		}
		s := must[*session.Session](t)(st.Peek(t.Context(), "s"))
		if s.StateVersion() != before.StateVersion()+1 || s.Size().Programs != 1 || s.Size().ProgramBytes != int64(size) {
			t.Errorf("state version %d, size %+v", s.StateVersion(), s.Size())
		}
		if got, ok := s.Program("a/b"); !ok || got != p {
			t.Errorf("stored %+v, put %+v", got, p)
		}
		if got := readProgram(t, st, "s", "a/b"); got != string(want) {
			t.Errorf("%d bytes differ", size)
		}
		r := must[*session.ProgramReader](t)(st.OpenProgram(t.Context(), "s", "a/b"))
		if err := iotest.TestReader(io.NewSectionReader(r, 0, int64(size)), want); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if n, err := r.ReadAt(make([]byte, 10), int64(size)); n != 0 || err != io.EOF {
			t.Errorf("at the end: %d, %v", n, err)
		}
		r.Close()
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, session.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
		if deleted := must[bool](t)(st.DeleteProgram(t.Context(), "s", "a/b")); !deleted {
			t.Error("not deleted")
		}
		if n := len(items(t, drv)); n > max(0, (size+1015)/1016-4) {
			t.Errorf("%d items left of %d bytes", n, size)
		}
		if deleted := must[bool](t)(st.DeleteProgram(t.Context(), "s", "a/b")); deleted {
			t.Error("deleted twice")
		}
		if _, err := st.OpenProgram(t.Context(), "s", "a/b"); !errors.Is(err, session.ErrNotFound) || !errors.Is(err, session.ErrProgramNotFound) {
			t.Errorf("open: %v", err)
		}
	}
}

func TestReplaceProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := memstore.New()
		st := open(t, drv, nil)
		create(t, st, "s", nil)
		first := must[session.Program](t)(st.PutProgram(t.Context(), "s", "p", strings.NewReader("one"), nil))
		must[session.Program](t)(st.PutProgram(t.Context(), "s", "o", strings.NewReader("other"), nil))
		r := must[*session.ProgramReader](t)(st.OpenProgram(t.Context(), "s", "p"))
		time.Sleep(time.Second)
		second := must[session.Program](t)(st.PutProgram(t.Context(), "s", "p", strings.NewReader("two"), nil))
		if !second.Created.Equal(first.Created) || !second.Updated.After(first.Updated) {
			t.Errorf("created %v and %v, updated %v and %v", first.Created, second.Created, first.Updated, second.Updated)
		}
		if got := readProgram(t, st, "s", "p"); got != "two" {
			t.Errorf("program %q", got)
		}
		if n := len(items(t, drv)); n != 2 {
			t.Errorf("%d items", n)
		}
		if _, err := r.Read(make([]byte, 10)); !errors.Is(err, session.ErrConflict) {
			t.Errorf("reading what was replaced: %v", err)
		}
		list := must[[]session.Program](t)(st.Programs(t.Context(), "s"))
		if len(list) != 2 || list[0].Name != "o" || list[1].Name != "p" {
			t.Errorf("programs %+v", list)
		}
		must[bool](t)(st.Delete(t.Context(), "s"))
		if n := len(items(t, drv)); n != 0 {
			t.Errorf("%d items after the session was deleted", n)
		}
	})
}

func TestPutProgramFails(t *testing.T) {
	drv := memstore.New()
	st := open(t, smallStore{drv}, nil)
	s := create(t, st, "s", nil)
	cause := errors.New("the disk is on fire")
	_, err := st.PutProgram(t.Context(), "s", "p", io.MultiReader(bytes.NewReader(randomBytes(5000)), iotest.ErrReader(cause)), nil)
	if !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = st.PutProgram(ctx, "s", "p", io.MultiReader(bytes.NewReader(randomBytes(5000)), readerFunc(func([]byte) (int, error) {
		cancel()
		return 1, nil
	}), bytes.NewReader(randomBytes(5000))), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if n := len(items(t, drv)); n != 0 {
		t.Errorf("%d items left", n)
	}
	if got := must[*session.Session](t)(st.Peek(t.Context(), "s")); got.Position() != s.Position() {
		t.Error("the session has changed")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestLargestProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 192 MiB")
	}
	drv := memstore.New()
	st := open(t, drv, nil)
	create(t, st, "s", nil)
	p := must[session.Program](t)(st.PutProgram(t.Context(), "s", "p", io.LimitReader(zeros{}, session.MaxProgramSize), nil))
	if p.Size != 64<<20 {
		t.Errorf("size %d", p.Size)
	}
	r := must[*session.ProgramReader](t)(st.OpenProgram(t.Context(), "s", "p"))
	if n, err := io.Copy(io.Discard, r); n != p.Size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	_, err := st.PutProgram(t.Context(), "s", "q", io.LimitReader(zeros{}, session.MaxProgramSize+1), nil)
	if !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("a byte too many: %v", err)
	}
	must[bool](t)(st.DeleteProgram(t.Context(), "s", "p"))
	if n := len(items(t, drv)); n != 0 {
		t.Errorf("%d items left", n)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func stage(t testing.TB, st *session.Store, s *session.Session, name, content string) *session.StagedProgram {
	t.Helper()
	p := must[*session.StagedProgram](t)(st.StageProgram(t.Context(), s, name, "text/plain"))
	if _, err := io.WriteString(p, content); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStagedProgram(t *testing.T) {
	drv := memstore.New()
	st := open(t, smallStore{drv}, nil)
	s := create(t, st, "s", nil)
	content := randomBytes(3000)
	p := stage(t, st, s, "p", string(content))
	check := func() {
		t.Helper()
		if err := iotest.TestReader(io.NewSectionReader(p, 0, 3000), content); err != nil {
			t.Error(err)
		}
		if n, err := p.ReadAt(make([]byte, 10), 2995); n != 5 || err != io.EOF {
			t.Errorf("over the end: %d, %v", n, err)
		}
	}
	check()
	if _, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Programs: []*session.StagedProgram{p}}); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("commit of an open program: %v", err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if _, err := p.Write([]byte("x")); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("write after close: %v", err)
	}
	if list := must[[]session.Program](t)(st.Programs(t.Context(), "s")); len(list) != 0 {
		t.Errorf("visible before the commit: %v", list)
	}
	after := must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Programs: []*session.StagedProgram{p}}))
	if got, ok := after.Program("p"); !ok || got != p.Program() || got.ContentType != "text/plain" {
		t.Errorf("program %+v, staged %+v", got, p.Program())
	}
	if err := p.Abort(); err != nil {
		t.Errorf("abort after commit: %v", err)
	}
	if got := readProgram(t, st, "s", "p"); got != string(content) {
		t.Error("the content differs")
	}
	dropped := must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), DropPrograms: []string{"p", "none"}}))
	if len(dropped.Programs()) != 0 || dropped.StateVersion() != after.StateVersion()+1 || len(items(t, drv)) != 0 {
		t.Errorf("programs %v, %d items", dropped.Programs(), len(items(t, drv)))
	}
}

func TestAbort(t *testing.T) {
	drv := memstore.New()
	st := open(t, smallStore{drv}, nil)
	s := create(t, st, "s", nil)
	p := stage(t, st, s, "p", string(randomBytes(10_000)))
	if n := len(items(t, drv)); n == 0 {
		t.Error("nothing staged")
	}
	for range 2 {
		if err := p.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(items(t, drv)); n != 0 {
		t.Errorf("%d items left", n)
	}
	if err := p.Close(); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("close after abort: %v", err)
	}
	if _, err := p.ReadAt(make([]byte, 1), 0); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("read after abort: %v", err)
	}
	if _, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Programs: []*session.StagedProgram{p}}); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("commit after abort: %v", err)
	}
}

func TestStagedForAnotherSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := open(t, nil, nil)
		s := create(t, st, "s", nil)
		other := create(t, st, "other", nil)
		p := stage(t, st, s, "p", "x")
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		programs := []*session.StagedProgram{p}
		if _, err := st.Commit(t.Context(), "other", session.Commit{Fence: other.Fence(), Programs: programs}); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("for another session: %v", err)
		}
		must[bool](t)(st.Delete(t.Context(), "s"))
		s = create(t, st, "s", &session.CreateOptions{TTL: new(2 * time.Hour)})
		if _, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Programs: programs}); !errors.Is(err, session.ErrFenced) {
			t.Errorf("for a former session: %v", err)
		}
		p = stage(t, st, s, "p", "x")
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(51 * time.Minute)
		if _, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Programs: []*session.StagedProgram{p}}); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("an old upload: %v", err)
		}
	})
}

func TestSweepOfChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := memstore.New()
		st := open(t, smallStore{drv}, nil)
		s := create(t, st, "s", &session.CreateOptions{TTL: new(24 * time.Hour)})
		must[session.Program](t)(st.PutProgram(t.Context(), "s", "kept", bytes.NewReader(randomBytes(9000)), nil))
		stage(t, st, s, "forgotten", string(randomBytes(9000)))
		gone := create(t, st, "gone", nil)
		stage(t, st, gone, "forgotten", string(randomBytes(9000)))
		must[bool](t)(st.Delete(t.Context(), "gone"))
		// An item of somebody else is none of our business.
		if _, err := drv.Apply(t.Context(), "s", &driver.Batch{Put: []driver.Item{{Key: "h/1", Data: []byte("x")}}}); err != nil {
			t.Fatal(err)
		}
		all := len(items(t, drv))
		time.Sleep(time.Hour - time.Second)
		young := stage(t, st, s, "young", string(randomBytes(9000)))
		all += 8
		if r := must[session.SweepResult](t)(st.Sweep(t.Context())); r.Items != 0 || len(items(t, drv)) != all {
			t.Errorf("%+v, %d of %d items left before an hour", r, len(items(t, drv)), all)
		}
		time.Sleep(2 * time.Second)
		if r := must[session.SweepResult](t)(st.Sweep(t.Context())); r.Items != 16 || r.Live != 1 || len(items(t, drv)) != all-16 {
			t.Errorf("%+v, %d of %d items left after an hour", r, len(items(t, drv)), all)
		}
		if got := readProgram(t, st, "s", "kept"); got != string(randomBytes(9000)) {
			t.Error("the program has suffered")
		}
		if err := young.Close(); err != nil {
			t.Error(err)
		}
		must[*session.Session](t)(st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Programs: []*session.StagedProgram{young}}))
		if got := readProgram(t, st, "s", "young"); got != string(randomBytes(9000)) {
			t.Error("the young program has suffered")
		}
		// What does not fit into one batch with the delete goes with a later sweep.
		must[bool](t)(st.Delete(t.Context(), "s"))
		time.Sleep(2 * time.Hour)
		must[session.SweepResult](t)(st.Sweep(t.Context()))
		if left := items(t, drv); len(left) != 1 || left[0].Key != "h/1" {
			t.Errorf("left: %v", left)
		}
	})
}

func TestCorruptProgram(t *testing.T) {
	drv := memstore.New()
	st := open(t, drv, nil)
	create(t, st, "s", nil)
	for _, tt := range []struct {
		name   string
		damage func(key string, data []byte) *driver.Batch
	}{
		{"flipped bit", func(key string, data []byte) *driver.Batch {
			data = bytes.Clone(data)
			data[len(data)-1] ^= 1
			return &driver.Batch{Put: []driver.Item{{Key: key, Data: data}}}
		}},
		{"truncated", func(key string, data []byte) *driver.Batch {
			return &driver.Batch{Put: []driver.Item{{Key: key, Data: data[:len(data)-1]}}}
		}},
		{"empty", func(key string, data []byte) *driver.Batch {
			return &driver.Batch{Put: []driver.Item{{Key: key, Data: []byte{}}}}
		}},
		{"missing", func(key string, _ []byte) *driver.Batch { return &driver.Batch{Drop: []string{key}} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			must[session.Program](t)(st.PutProgram(t.Context(), "s", "p", strings.NewReader("hello"), nil))
			key := items(t, drv)[0].Key
			data := must[[]byte](t)(drv.Item(t.Context(), "s", key))
			if _, err := drv.Apply(t.Context(), "s", tt.damage(key, data)); err != nil {
				t.Fatal(err)
			}
			r := must[*session.ProgramReader](t)(st.OpenProgram(t.Context(), "s", "p"))
			_, err := io.ReadAll(r)
			var corrupt *session.CorruptError
			if !errors.As(err, &corrupt) || corrupt.ID != "s" || corrupt.Part != `program "p"` || !errors.Is(err, session.ErrCorrupt) {
				t.Errorf("error %v", err)
			}
		})
	}
}
