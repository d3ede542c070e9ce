package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/session"
)

func vars(pairs ...string) map[string]json.RawMessage {
	m := make(map[string]json.RawMessage)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return m
}

func TestSessions(t *testing.T) {
	c, _ := serve(t, nil)
	ctx := t.Context()
	ttl := 2 * time.Hour
	end := time.Now().Add(24 * time.Hour).Truncate(time.Millisecond)

	s, created, err := c.Create(ctx, "alice", &client.CreateOptions{
		TTL: &ttl, AbsoluteDeadline: end, Labels: map[string]string{"team": "a"}, Metadata: map[string]string{"note": "ä"},
		Vars: vars("n", "123456789012345678901234567890"),
	})
	if err != nil || !created {
		t.Fatalf("created %t (%v)", created, err)
	}
	if s.ID != "alice" || s.TTL != ttl || !s.AbsoluteDeadline.Equal(end) || s.Labels["team"] != "a" || s.Metadata["note"] != "ä" ||
		string(s.Vars) != `{"n":123456789012345678901234567890}` || s.Revision == "" || s.Position == "" ||
		s.StateVersion != 1 || time.Since(s.Created) > time.Minute || s.Deadline.Before(time.Now().Add(ttl)) || s.VarsBytes == 0 {
		t.Errorf("the new session is %+v", s)
	}
	if again, created, err := c.Create(ctx, "alice", nil); err != nil || created || again.Revision != s.Revision {
		t.Errorf("creating it again: %+v, %t (%v)", again, created, err)
	}
	if made, created, err := c.Create(ctx, "", nil); err != nil || !created || made.ID == "" || made.AbsoluteDeadline != (time.Time{}) {
		t.Errorf("a session without id: %+v, %t (%v)", made, created, err)
	}

	short := time.Minute
	patched, err := c.Patch(ctx, "alice", client.Patch{
		Set: vars("a", `"x"`, "b", "[1]"), Unset: []string{"n"}, SetLabels: map[string]string{"l": "1"}, UnsetLabels: []string{"team"},
		SetMetadata: map[string]string{"m": "2"}, UnsetMetadata: []string{"note"}, TTL: &short, ExpectedRevision: s.Revision,
	})
	if err != nil || string(patched.Vars) != `{"a":"x","b":[1]}` || len(patched.Labels) != 1 || patched.Labels["l"] != "1" ||
		len(patched.Metadata) != 1 || patched.Metadata["m"] != "2" || patched.TTL != short || patched.Revision == s.Revision {
		t.Errorf("patched: %+v (%v)", patched, err)
	}
	if _, err := c.Patch(ctx, "alice", client.Patch{Set: vars("a", "1"), ExpectedRevision: s.Revision}); !errors.Is(err, session.ErrConflict) {
		t.Errorf("a patch of an old revision: %v", err)
	}
	put, err := c.Put(ctx, "alice", patched.Revision, client.Content{Vars: vars("z", "{}"), Labels: map[string]string{"only": "this"}})
	if err != nil || string(put.Vars) != `{"z":{}}` || len(put.Labels) != 1 || len(put.Metadata) != 0 {
		t.Errorf("put: %+v (%v)", put, err)
	}

	for name, get := range map[string]func() (*client.Session, error){
		"get": func() (*client.Session, error) { return c.Get(ctx, "alice", &client.ReadOptions{Strong: true}) },
		"peek": func() (*client.Session, error) {
			return c.Peek(ctx, "alice", &client.ReadOptions{Position: put.Position})
		},
		"touch":  func() (*client.Session, error) { return c.Touch(ctx, "alice") },
		"create": func() (*client.Session, error) { s, _, err := c.Create(ctx, "alice", nil); return s, err },
	} {
		if got, err := get(); err != nil || got.Revision != put.Revision || string(got.Vars) != string(put.Vars) {
			t.Errorf("%s: %+v (%v)", name, got, err)
		}
	}

	if exists, err := c.Exists(ctx, "alice", nil); err != nil || !exists {
		t.Errorf("exists: %t (%v)", exists, err)
	}
	if _, err := c.Delete(ctx, "alice", s.Revision); !errors.Is(err, session.ErrConflict) {
		t.Errorf("deleting an old revision: %v", err)
	}
	for _, want := range []bool{true, false} {
		if deleted, err := c.Delete(ctx, "alice", ""); err != nil || deleted != want {
			t.Errorf("deleted %t (%v)", deleted, err)
		}
	}
	if exists, err := c.Exists(ctx, "alice", nil); err != nil || exists {
		t.Errorf("exists after its deletion: %t (%v)", exists, err)
	}
	stats, err := c.StoreStats(ctx)
	if err != nil || stats.Driver != "memory" || stats.Sessions != 1 || stats.Created != 2 || stats.Deleted != 1 || stats.MaxSessions != session.DefaultMaxSessions {
		t.Errorf("stats %+v (%v)", stats, err)
	}
}

func TestSessionErrors(t *testing.T) {
	c, engine := serve(t, func(cfg *snakepit.Config) { cfg.Sessions.MaxSessions = 1 })
	ctx := t.Context()
	get := func(id string) error { _, err := c.Get(ctx, id, nil); return err }

	err := get("nobody")
	if !errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a session that is missing: %v", err)
	}
	if e, ok := errors.AsType[*session.Error](err); !ok || e.Op != "get" || e.ID != "nobody" || e.Driver != "memory" {
		t.Errorf("the context of the error is %+v", e)
	}
	if err := get(strings.Repeat("x", 513)); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("an id that is too long: %v", err)
	}
	if _, _, err := c.Create(ctx, "a", nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Create(ctx, "b", nil); !errors.Is(err, session.ErrQuotaExceeded) {
		t.Errorf("one session too many: %v", err)
	}
	_, err = c.Patch(ctx, "a", client.Patch{Set: vars("", "1")})
	if _, ok := errors.AsType[*session.InvalidError](err); !ok || !errors.Is(err, session.ErrInvalid) {
		t.Errorf("an empty key: %v", err)
	}
	if _, err := c.Patch(ctx, "a", client.Patch{Set: vars("k", "{")}); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("broken JSON: %v", err)
	}
	if _, err := c.Put(ctx, "a", "", client.Content{}); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("put without a revision: %v", err)
	}
	long := 100 * 365 * 24 * time.Hour
	if _, err := c.Patch(ctx, "a", client.Patch{TTL: &long}); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("a time to live of a century: %v", err)
	}
	for _, limit := range []int{1001, 1<<32 + 1, math.MaxInt, -1, math.MinInt} {
		if _, err := c.List(ctx, client.ListOptions{Limit: limit}); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("a page of %d: %v", limit, err)
		}
	}
	if _, err := c.Get(ctx, "a", &client.ReadOptions{Position: "!"}); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("a position that is none: %v", err)
	}
	if err := engine.Sessions().Close(); err != nil {
		t.Fatal(err)
	}
	if err := get("a"); !errors.Is(err, session.ErrClosed) {
		t.Errorf("a closed store: %v", err)
	}
}

func TestLists(t *testing.T) {
	c, _ := serve(t, nil)
	ctx := t.Context()
	for i := range 25 {
		color := []string{"red", "blue"}[i%2]
		if _, _, err := c.Create(ctx, fmt.Sprintf("s-%02d", i), &client.CreateOptions{Labels: map[string]string{"color": color}, Vars: vars("a", "1")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Create(ctx, "other", nil); err != nil {
		t.Fatal(err)
	}
	page, err := c.List(ctx, client.ListOptions{Prefix: "s-", Limit: 10})
	if err != nil || len(page.Sessions) != 10 || page.Next == "" {
		t.Fatalf("the first page has %d sessions, next %q (%v)", len(page.Sessions), page.Next, err)
	}
	if first := page.Sessions[0]; first.ID != "s-00" || first.Vars != nil || first.VarsBytes == 0 || first.Labels["color"] != "red" {
		t.Errorf("the first session is %+v", first)
	}
	count := func(opts client.ListOptions) (n int) {
		last := ""
		for s, err := range c.All(ctx, opts) {
			if err != nil {
				t.Fatal(err)
			}
			if s.ID <= last {
				t.Errorf("%s comes after %s", s.ID, last)
			}
			last = s.ID
			n++
		}
		return n
	}
	red := map[string]string{"color": "red"}
	if n := count(client.ListOptions{Prefix: "s-", Limit: 10}); n != 25 {
		t.Errorf("%d sessions with the prefix", n)
	}
	if n := count(client.ListOptions{Labels: red, Limit: 3}); n != 13 {
		t.Errorf("%d red sessions", n)
	}
	for range c.All(ctx, client.ListOptions{Limit: 2}) {
		break
	}
	if n, err := c.Count(ctx, "s-", red); err != nil || n != 13 {
		t.Errorf("counted %d (%v)", n, err)
	}
	if n, err := c.Count(ctx, "", nil); err != nil || n != 26 {
		t.Errorf("counted %d (%v)", n, err)
	}
}

func TestPrograms(t *testing.T) {
	c, _ := serve(t, nil)
	ctx := t.Context()
	if _, _, err := c.Create(ctx, "s", nil); err != nil {
		t.Fatal(err)
	}
	r := rand.NewChaCha8([32]byte{1})
	contents := map[string][]byte{"empty": {}, "small": []byte("print()"), "big": make([]byte, 3<<20+1)}
	if _, err := r.Read(contents["big"]); err != nil {
		t.Fatal(err)
	}
	for name, content := range contents {
		p, err := c.PutProgram(ctx, "s", name, "text/x-python", iotest.HalfReader(bytes.NewReader(content)))
		if err != nil || p.Name != name || p.Size != int64(len(content)) || len(p.SHA256) != 64 || p.ContentType != "text/x-python" || p.Created.IsZero() {
			t.Fatalf("%s: %+v (%v)", name, p, err)
		}
		got, body, err := c.GetProgram(ctx, "s", name)
		if err != nil || *got != *p {
			t.Fatalf("%s: %+v, want %+v (%v)", name, got, p, err)
		}
		if err := iotest.TestReader(body, content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	programs, err := c.Programs(ctx, "s")
	if err != nil || len(programs) != 3 || programs[0].Name != "big" {
		t.Errorf("programs %+v (%v)", programs, err)
	}

	// Leaving a download in the middle ends it; goleak sees what is left.
	_, body, err := c.GetProgram(ctx, "s", "big")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 10)); err != nil {
		t.Error(err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	if n, err := body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, session.ErrClosed) {
		t.Errorf("a closed download gave %d bytes (%v)", n, err)
	}

	broken := errors.New("broken pipe")
	_, err = c.PutProgram(ctx, "s", "half", "", io.MultiReader(bytes.NewReader(contents["big"]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("an upload whose source failed: %v", err)
	}
	_, _, err = c.GetProgram(ctx, "s", "half")
	if !errors.Is(err, session.ErrProgramNotFound) || !errors.Is(err, session.ErrNotFound) {
		t.Errorf("half a program was stored (%v)", err)
	} else if strings.Count(err.Error(), "half") != 1 {
		t.Errorf("the error does not name the program once: %v", err)
	}
	if _, _, err := c.GetProgram(ctx, "nobody", "half"); !errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrProgramNotFound) {
		t.Errorf("a program of no session: %v", err)
	}
	if _, err := c.PutProgram(ctx, "nobody", "p", "", bytes.NewReader(contents["big"])); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("an upload into no session: %v", err)
	}
	if _, err := c.PutProgram(ctx, "s", "", "", strings.NewReader("x")); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("a name that is not allowed: %v", err)
	}
	for _, want := range []bool{true, false} {
		if deleted, err := c.DeleteProgram(ctx, "s", "small"); err != nil || deleted != want {
			t.Errorf("deleted %t (%v)", deleted, err)
		}
	}
}

func TestPoolsWorkersTools(t *testing.T) {
	c, _ := serve(t, nil)
	ctx := t.Context()
	pools, err := c.Pools(ctx)
	if err != nil || len(pools) != 1 || pools[0].Name != "default" || pools[0].Size != 2 || pools[0].Ready == 0 {
		t.Errorf("pools %+v (%v)", pools, err)
	}
	for _, pool := range []string{"", "default"} {
		workers, err := c.Workers(ctx, pool)
		if err != nil || len(workers) != 2 || workers[0].ID == "" || workers[0].State == "" || workers[0].Pool != "default" {
			t.Errorf("workers %+v (%v)", workers, err)
		}
		tools, err := c.Tools(ctx, pool)
		if err != nil || len(tools) < 10 || tools[0].Pool != "default" || tools[0].Name == "" {
			t.Errorf("tools %+v (%v)", tools, err)
		}
	}
	if _, err := c.Workers(ctx, "nosuch"); !errors.Is(err, snakepit.ErrPoolNotFound) {
		t.Errorf("workers of no pool: %v", err)
	}
	if _, err := c.Tools(ctx, "nosuch"); !errors.Is(err, snakepit.ErrPoolNotFound) {
		t.Errorf("tools of no pool: %v", err)
	}
}
