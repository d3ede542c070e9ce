package diskstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

const corruptSessions = 100

// corruptBody is the body of a session: long, and different for each.
func corruptBody(n int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%06d;", n*7919), 40)
}

// TestFlippedBytes flips bytes in a table file of a closed store, many times.
// Every read then gives what was written or ErrCorrupt; or the store does not
// open. The logs of a store that was killed are damaged in TestLogIsDamaged.
func TestFlippedBytes(t *testing.T) {
	master := filepath.Join(t.TempDir(), "master")
	s, err := diskstore.Open(t.Context(), master, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range corruptSessions {
		_, err := s.Apply(t.Context(), fmt.Sprint(n), &driver.Batch{
			Head: fmt.Append(nil, n), Body: corruptBody(n), Put: []driver.Item{{Key: "k", Data: corruptBody(n)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	noticed := 0
	for round := range rounds {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(master)); err != nil {
			t.Fatal(err)
		}
		flip(t, dir, random, 1+round%3)
		s, err := diskstore.Open(t.Context(), dir, &diskstore.Options{CacheBytes: -1})
		if err != nil {
			if !errors.Is(err, driver.ErrCorrupt) {
				t.Errorf("seed %d, round %d: open: error %v, want %v", seed, round, err, driver.ErrCorrupt)
			}
			noticed++
			continue
		}
		if checkCorrupt(t, s) {
			noticed++
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if noticed < rounds/2 {
		t.Errorf("seed %d: only %d of %d damaged stores were noticed", seed, noticed, rounds)
	}
}

// flip changes bytes of a table file.
func flip(t *testing.T, dir string, random *rand.Rand, n int) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no table files: %v", err)
	}
	file := tables[random.IntN(len(tables))]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		data[random.IntN(len(data))] ^= byte(1 + random.IntN(255))
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkCorrupt reads everything and tells whether anything was corrupt. What
// is not must be as it was written.
func checkCorrupt(t *testing.T, s *diskstore.Store) (corrupt bool) {
	t.Helper()
	check := func(what string, err error) bool {
		if err != nil {
			corrupt = true
			if !errors.Is(err, driver.ErrCorrupt) {
				t.Errorf("%s: error %v, want %v", what, err, driver.ErrCorrupt)
			}
		}
		return err == nil
	}
	for n := range corruptSessions {
		r, err := s.Get(t.Context(), fmt.Sprint(n), driver.Read{})
		if check("Get", err) && (string(r.Head) != fmt.Sprint(n) || !bytes.Equal(r.Body, corruptBody(n))) {
			t.Errorf("session %d came back wrong: head %q", n, r.Head)
		}
		data, err := s.Item(t.Context(), fmt.Sprint(n), "k")
		if check("Item", err) && !bytes.Equal(data, corruptBody(n)) {
			t.Errorf("item of session %d came back wrong", n)
		}
	}
	records, err := s.List(t.Context(), "", "", 10*corruptSessions)
	if check("List", err) && len(records) != corruptSessions {
		t.Errorf("List gave %d of %d records and no error", len(records), corruptSessions)
	}
	infos, err := s.Items(t.Context(), driver.ItemRef{}, 10*corruptSessions)
	if check("Items", err) && len(infos) != corruptSessions {
		t.Errorf("Items gave %d of %d items and no error", len(infos), corruptSessions)
	}
	return corrupt
}
