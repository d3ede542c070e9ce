package python_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/snakepit-go/snakepit/python"
)

// The test binary unpacks, as a process of its own, when this is set.
const unpackInto = "SNAKEPIT_TEST_UNPACK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(unpackInto); dir != "" {
		path, err := python.Unpack(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(path)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sources are the files of the SDK in the tree, by their path in a PYTHONPATH.
func sources(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("snakepit/*")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			if filepath.Base(name) != "__pycache__" {
				t.Errorf("%s is a folder that the pattern of go:embed leaves out", name)
			}
			continue
		}
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	return files
}

func checkComplete(t *testing.T, path string) {
	t.Helper()
	for name, want := range sources(t) {
		got, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			t.Error(err)
		} else if string(got) != want {
			t.Errorf("%s: content differs from the tree", name)
		}
	}
}

func checkEntries(t *testing.T, dir, only string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != filepath.Base(only) {
		t.Errorf("directory holds %v, want only %s", entries, filepath.Base(only))
	}
}

func TestUnpackWritesEverythingOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "deep")
	path, err := python.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	checkComplete(t, path)
	checkEntries(t, dir, path)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := python.Unpack(dir)
	if err != nil || again != path {
		t.Fatalf("second Unpack: %q, %v; want %q", again, err, path)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("an intact sdk was written again")
	}
}

func TestUnpackRepairs(t *testing.T) {
	dir := t.TempDir()
	path, err := python.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string]func() error{
		"truncated": func() error { return os.Truncate(filepath.Join(path, "snakepit", "codec.py"), 10) },
		"removed":   func() error { return os.Remove(filepath.Join(path, "snakepit", "py.typed")) },
		"emptied":   func() error { return os.RemoveAll(filepath.Join(path, "snakepit")) },
		// What Python would run by itself, or instead of the standard library.
		"added beside":   func() error { return os.WriteFile(filepath.Join(path, "sitecustomize.py"), nil, 0o600) },
		"added inside":   func() error { return os.WriteFile(filepath.Join(path, "snakepit", "json.py"), nil, 0o600) },
		"a folder added": func() error { return os.Mkdir(filepath.Join(path, "json"), 0o700) },
		"a cache of nothing": func() error {
			cache := filepath.Join(path, "snakepit", "__pycache__")
			return errors.Join(os.MkdirAll(cache, 0o700), os.WriteFile(filepath.Join(cache, "json.cpython-311.pyc"), nil, 0o600))
		},
		"a link": func() error {
			file := filepath.Join(path, "snakepit", "codec.py")
			return errors.Join(os.Rename(file, filepath.Join(dir, "codec.py")), os.Symlink("../../codec.py", file))
		},
		// To read a pipe that nobody writes would take for ever.
		"a pipe": func() error {
			file := filepath.Join(path, "snakepit", "codec.py")
			return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600))
		},
		"open to others": func() error { return os.Chmod(path, 0o777) },
		"a file": func() error {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return os.WriteFile(path, []byte("x"), 0o644)
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			if err := do(); err != nil {
				t.Fatal(err)
			}
			again, err := python.Unpack(dir)
			if err != nil || again != path {
				t.Fatalf("Unpack: %q, %v; want %q", again, err, path)
			}
			_ = os.Remove(filepath.Join(dir, "codec.py"))
			checkComplete(t, path)
			checkEntries(t, dir, path)
			checkEntries(t, path, filepath.Join(path, "snakepit"))
		})
	}
}

// Python's caches of the package's own files may stay.
func TestUnpackLeavesCachesAlone(t *testing.T) {
	dir := t.TempDir()
	path, err := python.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(path, "snakepit", "__pycache__")
	if err := os.Mkdir(cache, 0o775); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"codec.cpython-311.pyc", "codec.cpython-313.opt-1.pyc", "tools.cpython-311.pyc.140126"} {
		if err := os.WriteFile(filepath.Join(cache, name), []byte("x"), 0o664); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := python.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(cache); err != nil || len(entries) != 3 {
		t.Errorf("the caches are %v, %v", entries, err)
	}
}

func TestUnpackTakesTheFirstDirectoryThatServes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := python.Unpack(file, dir)
	if err != nil || filepath.Dir(path) != dir {
		t.Fatalf("got %q, %v; want a path in %s", path, err, dir)
	}
	checkComplete(t, path)
}

func TestUnpackFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if path, err := python.Unpack(file); err == nil {
		t.Errorf("Unpack below a file returned %q", path)
	}
}

func TestUnpackConcurrentProcesses(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const processes = 8
	paths := make([]string, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), unpackInto+"="+dir)
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			paths[i] = string(out)
		})
	}
	wg.Wait()
	for _, path := range paths {
		if path != paths[0] {
			t.Errorf("paths differ: %q and %q", path, paths[0])
		}
	}
	checkComplete(t, paths[0])
	checkEntries(t, dir, paths[0])
}
