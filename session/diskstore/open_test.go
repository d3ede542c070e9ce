package diskstore_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

// cannotOpen checks that opening fails, as what, and that the message names
// the directory and says what to do.
func cannotOpen(t *testing.T, dir string, opts *diskstore.Options, class error, advice string) error {
	t.Helper()
	s, err := diskstore.Open(t.Context(), dir, opts)
	if err == nil {
		_ = s.Close()
		t.Fatalf("opened %q, want %v", dir, class)
	}
	if !errors.Is(err, class) {
		t.Errorf("error %q, want %v", err, class)
	}
	if !strings.Contains(err.Error(), filepath.Base(dir)) || !strings.Contains(err.Error(), advice) {
		t.Errorf("error %q does not name the directory or does not say %q", err, advice)
	}
	return err
}

// made returns the directory of a closed store with one session.
func made(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := diskstore.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	store(t, s, "s", "text")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOpenMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s, err := diskstore.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := s.ID()
	if len(id) != 32 {
		t.Errorf("the store is named %q", id)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = diskstore.Open(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	if s.ID() != id {
		t.Errorf("the store was named %q and is now named %q", id, s.ID())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenMissingParent(t *testing.T) {
	err := cannotOpen(t, filepath.Join(t.TempDir(), "no", "store"), nil, driver.ErrInvalid, "parent directory")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %q, want %v", err, fs.ErrNotExist)
	}
}

func TestOpenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	cannotOpen(t, file, nil, driver.ErrInvalid, "not a directory")
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestOpenForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cannotOpen(t, dir, nil, driver.ErrInvalid, "thesis.tex")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory now holds %v, %v", entries, err)
	}
}

func TestOpenLocked(t *testing.T) {
	dir := made(t)
	s, err := diskstore.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	// By any name of the directory: the system's lock alone would not keep a
	// process from opening it twice.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, dir + "/", filepath.Join(dir, "db", ".."), link} {
		cannotOpen(t, name, nil, driver.ErrLocked, "stop that process")
	}
	store(t, s, "s2", "still works")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = diskstore.Open(t.Context(), link, nil); err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenLockedByAnotherProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerEnv+"="+dir)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// The first acknowledged write says that the child has it open.
	if _, err := output.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cannotOpen(t, dir, nil, driver.ErrLocked, "stop that process")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	s, err := diskstore.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatalf("after the other process was killed: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenNewerFormat(t *testing.T) {
	dir := made(t)
	if err := os.WriteFile(filepath.Join(dir, "STORE"), []byte("snakepit session store, format 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cannotOpen(t, dir, nil, driver.ErrUnsupported, "the version that wrote it")
}

func TestOpenNewerFormatInDatabase(t *testing.T) {
	dir := made(t)
	inside(t, dir, func(db *pebble.DB) error {
		return db.Set([]byte("Af"), []byte{0, 0, 0, 0, 0, 0, 0, 9}, pebble.Sync)
	})
	cannotOpen(t, dir, nil, driver.ErrUnsupported, "format 9")
}

// inside changes the database of a closed store.
func inside(t *testing.T, dir string, change func(*pebble.DB) error) {
	t.Helper()
	if err := diskstore.Inside(dir, change); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDamagedMark(t *testing.T) {
	for _, text := range []string{"", "x", "snakepit session store, format ", strings.Repeat("z", 1000)} {
		dir := made(t)
		if err := os.WriteFile(filepath.Join(dir, "STORE"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cannotOpen(t, dir, nil, driver.ErrCorrupt, "STORE")
	}
}

// TestOpenWithoutDatabase checks that a store whose files are gone is not
// silently replaced by an empty one.
func TestOpenWithoutDatabase(t *testing.T) {
	t.Run("no directory", func(t *testing.T) {
		dir := made(t)
		if err := os.RemoveAll(filepath.Join(dir, "db")); err != nil {
			t.Fatal(err)
		}
		cannotOpen(t, dir, nil, driver.ErrCorrupt, "backup")
	})
	t.Run("no files", func(t *testing.T) {
		dir := made(t)
		if err := os.RemoveAll(filepath.Join(dir, "db")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
			t.Fatal(err)
		}
		cannotOpen(t, dir, nil, driver.ErrCorrupt, "backup")
	})
	for _, part := range []string{"MANIFEST-*", "marker.manifest*", "*.log", "*.sst"} {
		t.Run(part, func(t *testing.T) {
			dir := made(t)
			inside(t, dir, func(db *pebble.DB) error { return db.Flush() })
			s, err := diskstore.Open(t.Context(), dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			store(t, s, "s2", "in the log")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "db", part))
			if err != nil || len(files) == 0 {
				t.Fatalf("no such files: %v", err)
			}
			for _, file := range files {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			s, err = diskstore.Open(t.Context(), dir, nil)
			if part == "*.log" && err == nil {
				// Pebble does not know which logs there were. What was flushed
				// is there; nothing is wrong, and the newest is missing.
				if r, err := s.Get(t.Context(), "s", driver.Read{}); err != nil || string(r.Head) != "text" {
					t.Errorf("Get: %v, %v", r, err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, driver.ErrCorrupt) {
				t.Errorf("error %v, want %v", err, driver.ErrCorrupt)
			}
		})
	}
}

func TestOpenContextEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := diskstore.Open(ctx, t.TempDir(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// TestOpenRefusedByDisk lets the disk refuse every change, with the errors of
// a read-only file system, of missing permission and of a full disk, for a new
// store and for one that exists.
func TestOpenRefusedByDisk(t *testing.T) {
	for _, refusal := range []struct {
		errno  syscall.Errno
		advice string
	}{
		{syscall.EROFS, "mount it writable"},
		{syscall.EACCES, "make the directory writable"},
		{syscall.ENOSPC, "free some space"},
		{syscall.EIO, "refused"},
	} {
		t.Run(refusal.errno.Error(), func(t *testing.T) {
			toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
					return &fs.PathError{Op: "write", Path: op.Path, Err: refusal.errno}
				}
				return nil
			})}
			disk := errorfs.Wrap(newCrashable(t), toggle)
			toggle.On()
			err := cannotOpen(t, powerDir, diskstore.Options{}.WithFS(disk), driver.ErrUnavailable, refusal.advice)
			if !errors.Is(err, refusal.errno) {
				t.Errorf("error %q, want %v", err, refusal.errno)
			}
			toggle.Off()
			s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
			if err != nil {
				t.Fatalf("after repair: %v", err)
			}
			store(t, s, "s", "text")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			toggle.On()
			cannotOpen(t, powerDir, diskstore.Options{}.WithFS(disk), driver.ErrUnavailable, refusal.advice)
			toggle.Off()
			if s, err = diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk)); err != nil {
				t.Fatalf("after repair: %v", err)
			}
			if r, err := s.Get(t.Context(), "s", driver.Read{}); err != nil || string(r.Head) != "text" {
				t.Errorf("Get: %v, %v", r, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOpenRefusedAtAnyStep lets the disk fail from the n-th change on, for
// every n: opening fails cleanly, never by a panic, and after repair works.
func TestOpenRefusedAtAnyStep(t *testing.T) {
	for _, exists := range []bool{false, true} {
		for n := 0; ; n++ {
			disk := newCrashable(t)
			if exists {
				s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
				if err != nil {
					t.Fatal(err)
				}
				store(t, s, "s", "text")
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			failing := errorfs.Wrap(disk, failAfter(n))
			s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(failing))
			if err == nil {
				if err := s.Close(); err != nil && !errors.Is(err, driver.ErrUnavailable) {
					t.Errorf("Close: %v", err)
				}
			} else if !errors.Is(err, driver.ErrUnavailable) || !errors.Is(err, syscall.EIO) {
				t.Errorf("change %d refused: error %v, want %v and %v", n, err, driver.ErrUnavailable, syscall.EIO)
			}
			for _, disk := range []vfs.FS{disk, disk.CrashClone(vfs.CrashCloneCfg{})} {
				s, err := diskstore.Open(t.Context(), powerDir, diskstore.Options{}.WithFS(disk))
				if err != nil {
					t.Fatalf("change %d refused, then repaired: %v", n, err)
				}
				if exists {
					if r, err := s.Get(t.Context(), "s", driver.Read{}); err != nil || string(r.Head) != "text" {
						t.Errorf("change %d refused, then repaired: Get: %v, %v", n, r, err)
					}
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if err == nil {
				if n < 10 {
					t.Errorf("opening makes only %d changes", n)
				}
				break
			}
		}
	}
}

// The root of a mounted volume holds a directory that is the file system's own.
func TestOpenRootOfAVolume(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		st, err := diskstore.Open(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
