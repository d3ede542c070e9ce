package diskstore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

// TestRepair damages stores, and wants Check to see it without changing
// anything, and Repair to keep all that is not damaged and to say what it dropped.
func TestRepair(t *testing.T) {
	killed, closed := written(t, false, nil), written(t, true, nil)
	random := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name    string
		master  string
		damage  func(t *testing.T, dir string)
		atLeast int // sessions left
	}{
		{"one bit of a log", killed, func(t *testing.T, dir string) { flipBit(t, newestLog(t, dir), 300, random) }, inLog * 9 / 10},
		{"log deleted", killed, func(t *testing.T, dir string) {
			if err := os.Remove(newestLog(t, dir)); err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"log deleted after a stop", closed, func(t *testing.T, dir string) {
			if err := os.Remove(newestLog(t, dir)); err != nil {
				t.Fatal(err)
			}
		}, inLog},
		{"block of a table", closed, func(t *testing.T, dir string) {
			tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
			if err != nil || len(tables) == 0 {
				t.Fatalf("no tables: %v", err)
			}
			flipBit(t, tables[0], 200, random)
		}, 1},
		{"SYNCED deleted", closed, func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "SYNCED")); err != nil {
				t.Fatal(err)
			}
		}, inLog},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyOf(t, c.master)
			if sound, err := diskstore.Check(t.Context(), dir, nil); err != nil || len(sound.Damage) > 0 || sound.Sessions != inLog {
				t.Fatalf("check of a sound store: %+v, %v", sound, err)
			}
			c.damage(t, dir)
			for range 2 {
				report, err := diskstore.Check(t.Context(), dir, nil)
				if err != nil || len(report.Damage) == 0 || report.Sessions < c.atLeast {
					t.Errorf("check: %+v, %v", report, err)
				}
			}
			report, err := diskstore.Repair(t.Context(), dir, nil)
			if err != nil || len(report.Damage) == 0 || report.Sessions < c.atLeast {
				t.Fatalf("repair: %+v, %v", report, err)
			}
			if _, err := os.Stat(report.Aside); err != nil {
				t.Errorf("the old database is not set aside: %v", err)
			}

			s, err := diskstore.Open(t.Context(), dir, nil)
			if err != nil {
				t.Fatalf("open after repair: %v", err)
			}
			left := 0
			for n := range inLog {
				r, err := s.Get(t.Context(), fmt.Sprint(n), driver.Read{})
				if err != nil {
					continue
				}
				if left++; string(r.Body) != string(corruptBody(n)) {
					t.Errorf("session %d came back wrong", n)
				}
			}
			if n, err := s.Count(t.Context()); err != nil || n != left || left != report.Sessions {
				t.Errorf("count %d, %v; found %d; reported %d", n, err, left, report.Sessions)
			}
			store(t, s, "new", "text")
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if after, err := diskstore.Check(t.Context(), dir, nil); err != nil || len(after.Damage) > 0 {
				t.Errorf("check after repair: %+v, %v", after, err)
			}
		})
	}
}
