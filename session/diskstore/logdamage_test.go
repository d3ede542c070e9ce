package diskstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

// inLog is how many acknowledged writes the damaged logs hold.
const inLog = 200

// written returns a directory with inLog sessions whose writes were
// acknowledged, as kill -9 would leave it, or as Close does.
func written(t *testing.T, closed bool, opts *diskstore.Options) string {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live")
	s, err := diskstore.Open(t.Context(), live, opts)
	if err != nil {
		t.Fatal(err)
	}
	for n := range inLog {
		if _, err := s.Apply(t.Context(), fmt.Sprint(n), &driver.Batch{Head: fmt.Append(nil, n), Body: corruptBody(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if closed {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return live
	}
	// What the system has of the files is what a killed process leaves.
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return killed
}

// logs are the paths of all logs of a store.
func logs(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "db", "*.log"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no logs in %s: %v", dir, err)
	}
	return found
}

// newestLog is the log to which a store wrote last.
func newestLog(t *testing.T, dir string) string {
	t.Helper()
	found := logs(t, dir)
	return found[len(found)-1]
}

// refusedOrWhole opens a damaged store: it must be refused, saying what to do,
// or have every session.
func refusedOrWhole(t *testing.T, what, dir string) (refused bool) {
	t.Helper()
	s, err := diskstore.Open(t.Context(), dir, nil)
	if err != nil {
		if !errors.Is(err, driver.ErrCorrupt) || !strings.Contains(err.Error(), "snakepit store check") {
			t.Errorf("%s: error %q, want %v and the command that goes on", what, err, driver.ErrCorrupt)
		}
		return true
	}
	lost := 0
	for n := range inLog {
		if r, err := s.Get(t.Context(), fmt.Sprint(n), driver.Read{}); err != nil || string(r.Body) != string(corruptBody(n)) {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%s: the store opened and %d of %d acknowledged writes are lost", what, lost, inLog)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return false
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestLogIsDamaged damages the log of a store that was killed, or closed, in
// all the ways in which its end can look like one that a crash has torn.
func TestLogIsDamaged(t *testing.T) {
	for _, c := range []struct {
		name   string
		closed bool
		opts   diskstore.Options
	}{
		{"killed", false, diskstore.Options{}},
		{"closed", true, diskstore.Options{}},
		{"closed, relaxed", true, diskstore.Options{Relaxed: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			master := written(t, c.closed, &c.opts)
			if refusedOrWhole(t, "sound", copyOf(t, master)) {
				t.Fatal("a sound store was refused")
			}

			dir := copyOf(t, master)
			for _, log := range logs(t, dir) {
				if err := os.Remove(log); err != nil {
					t.Fatal(err)
				}
			}
			if !refusedOrWhole(t, "all logs deleted", dir) {
				t.Error("a store without its log was opened")
			}
			dir = copyOf(t, master)
			if err := os.Truncate(newestLog(t, dir), 0); err != nil {
				t.Fatal(err)
			}
			if !refusedOrWhole(t, "log emptied", dir) {
				t.Error("a store with an emptied log was opened")
			}

			info, err := os.Stat(newestLog(t, master))
			if err != nil {
				t.Fatal(err)
			}
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			for range 8 {
				dir, size := copyOf(t, master), random.Int64N(info.Size())
				if err := os.Truncate(newestLog(t, dir), size); err != nil {
					t.Fatal(err)
				}
				if !refusedOrWhole(t, fmt.Sprintf("seed %d: log cut at %d of %d", seed, size, info.Size()), dir) && !c.closed {
					t.Errorf("seed %d: a log cut at %d of %d was taken", seed, size, info.Size())
				}
			}
			// The first and last bytes, which are in no block but their own,
			// and any others.
			for n := range 20 {
				at := random.Int64N(info.Size())
				if n < 10 {
					at = max(0, info.Size()-1-int64(n))
				}
				dir := copyOf(t, master)
				flipBit(t, newestLog(t, dir), at, random)
				refusedOrWhole(t, fmt.Sprintf("seed %d: bit flipped in byte %d of %d", seed, at, info.Size()), dir)
			}
		})
	}
}

func flipBit(t *testing.T, file string, at int64, random *rand.Rand) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1 << random.IntN(8)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTornLogIsNormal lets a killed store have a write in its log that was never
// acknowledged, whole, in part, or nothing but garbage.
func TestTornLogIsNormal(t *testing.T) {
	master := written(t, false, nil)
	for _, tail := range []string{"x", strings.Repeat("\x00", 5000), strings.Repeat("torn", 20_000)} {
		dir := copyOf(t, master)
		f, err := os.OpenFile(newestLog(t, dir), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(tail)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if refusedOrWhole(t, "torn", dir) {
			t.Errorf("a store whose log ends with %d bytes of garbage was refused", len(tail))
		}
	}
}

// TestManifestIsDamaged damages the list of tables of a closed store.
func TestManifestIsDamaged(t *testing.T) {
	master := written(t, true, nil)
	manifests, err := filepath.Glob(filepath.Join(master, "db", "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no manifest: %v", err)
	}
	newest := filepath.Base(manifests[len(manifests)-1])
	info, err := os.Stat(filepath.Join(master, "db", newest))
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 12 {
		dir := copyOf(t, master)
		at := random.Int64N(info.Size())
		flipBit(t, filepath.Join(dir, "db", newest), at, random)
		if !refusedOrWhole(t, fmt.Sprintf("seed %d: bit flipped in byte %d", seed, at), dir) {
			t.Errorf("seed %d: byte %d of the manifest was damaged and not noticed", seed, at)
		}
	}
}

// TestSyncedFileIsDamaged takes away what the store knows of its logs.
func TestSyncedFileIsDamaged(t *testing.T) {
	master := written(t, false, nil)
	dir := copyOf(t, master)
	if err := os.Remove(filepath.Join(dir, "SYNCED")); err != nil {
		t.Fatal(err)
	}
	cannotOpen(t, dir, nil, driver.ErrCorrupt, "SYNCED: it is missing")
	cannotOpen(t, dir, nil, driver.ErrCorrupt, "SYNCED: it is missing") // looking has not made it
	dir = copyOf(t, master)
	flipBit(t, filepath.Join(dir, "SYNCED"), 4, rand.New(rand.NewPCG(0, 0)))
	cannotOpen(t, dir, nil, driver.ErrCorrupt, "SYNCED")
}

// TestOlderFormat opens a store as the version before SYNCED has left it.
func TestOlderFormat(t *testing.T) {
	dir := written(t, false, nil)
	if err := os.Remove(filepath.Join(dir, "SYNCED")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "STORE"), []byte("snakepit session store, format 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	switch report, err := diskstore.Check(t.Context(), dir, nil); {
	case err != nil:
		t.Errorf("check of a store of format 1: %v", err)
	case len(report.Damage) > 0:
		t.Errorf("a store of format 1 counts as damaged: %v", report.Damage)
	}
	if _, err := os.Stat(filepath.Join(dir, "SYNCED")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the check, which changes nothing, has made a SYNCED file: %v", err)
	}
	if refusedOrWhole(t, "format 1", dir) {
		t.Error("a store of format 1 was refused")
	}
	if _, err := os.Stat(filepath.Join(dir, "SYNCED")); errors.Is(err, fs.ErrNotExist) {
		t.Error("the store was opened and has no SYNCED file")
	}
	refusedOrWhole(t, "opened again", dir)
}
