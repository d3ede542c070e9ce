package diskstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/diskstore"
)

// TestDamagedBlock damages blocks in the middle of a table. Through package
// session everything else is listed, counted and swept, and what is damaged can
// be deleted.
func TestDamagedBlock(t *testing.T) {
	const sessions = 2000
	id := func(n int) string { return fmt.Sprintf("session-%05d", n) }
	dir := filepath.Join(t.TempDir(), "store")
	open := func(log *slog.Logger) *session.Store {
		drv, err := diskstore.Open(t.Context(), dir, &diskstore.Options{CacheBytes: -1, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		st, err := session.New(drv, &session.Options{SweepInterval: -1, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := open(nil)
	var creators sync.WaitGroup
	for c := range 50 {
		creators.Go(func() {
			for n := c; n < sessions; n += 50 {
				if _, _, err := st.Create(t.Context(), id(n), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	creators.Wait()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	// Bodies come before heads in the order of keys: some of both are hit.
	for _, table := range tables {
		data, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []int{25, 45, 60, 75} {
			data[len(data)*part/100] ^= 0x10
		}
		if err := os.WriteFile(table, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	var logged bytes.Buffer
	st = open(slog.New(slog.NewTextHandler(&logged, nil)))
	listed := make(map[string]bool)
	for s, err := range st.All(t.Context(), session.ListOptions{}) {
		if err != nil {
			t.Errorf("list: %v", err)
			continue
		}
		if listed[s.ID()] {
			t.Errorf("%s is listed twice", s.ID())
		}
		listed[s.ID()] = true
	}
	t.Logf("%d of %d sessions are listed", len(listed), sessions)
	if len(listed) == sessions || len(listed) < sessions*9/10 || !listed[id(0)] || !listed[id(sessions-1)] {
		t.Errorf("%d of %d sessions are listed", len(listed), sessions)
	}
	if n, err := st.Count(t.Context(), session.ListOptions{}); err != nil || n != len(listed) {
		t.Errorf("counted %d, %v; listed %d", n, err, len(listed))
	}
	result, err := st.Sweep(t.Context())
	if err != nil || result.Live != len(listed) || result.Corrupt == 0 {
		t.Errorf("sweep %+v, %v", result, err)
	}
	if stats, err := st.Stats(t.Context()); err != nil || stats.Damaged != result.Corrupt {
		t.Errorf("stats %+v, %v", stats, err)
	}
	if n := strings.Count(logged.String(), "a part of the storage cannot be read"); n == 0 || n > 8 {
		t.Errorf("the gaps are logged %d times", n)
	}

	damaged := 0
	for n := range sessions {
		_, err := st.Get(t.Context(), id(n))
		if err == nil {
			continue
		}
		if !errors.Is(err, session.ErrCorrupt) {
			t.Fatalf("get %s: %v", id(n), err)
		}
		damaged++
		if deleted, err := st.Delete(t.Context(), id(n)); err != nil || !deleted {
			t.Fatalf("delete of the damaged %s: %v, %v", id(n), deleted, err)
		}
		if _, err := st.Get(t.Context(), id(n)); !errors.Is(err, session.ErrNotFound) {
			t.Fatalf("get %s after its deletion: %v", id(n), err)
		}
		if _, _, err := st.Create(t.Context(), id(n), nil); err != nil {
			t.Fatalf("create %s again: %v", id(n), err)
		}
	}
	if damaged == 0 {
		t.Error("no session was damaged: the test does not see any")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}
