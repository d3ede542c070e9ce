package owndir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/internal/owndir"
)

// visible returns a directory that other users can get to, as most are.
func visible(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	chmod(t, filepath.Dir(dir), 0o755)
	chmod(t, dir, 0o755)
	return dir
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, mode fs.FileMode, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir, mode)
	return dir
}

func link(t *testing.T, target string, parts ...string) string {
	t.Helper()
	path := filepath.Join(parts...)
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// stranger gives a file to another user, which only root can do.
func stranger(t *testing.T, path string) {
	t.Helper()
	if err := os.Lchown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
}

func TestMake(t *testing.T) {
	for name, tc := range map[string]struct {
		// at prepares base and returns what to make and the directory that
		// this is.
		at func(t *testing.T, base string) (path, is string)
	}{
		"new, with parents": {func(t *testing.T, base string) (string, string) {
			return filepath.Join(base, "a", "b"), filepath.Join(base, "a", "b")
		}},
		"there already": {func(t *testing.T, base string) (string, string) {
			dir := mkdir(t, 0o755, base, "a")
			return dir + "/../a/.", dir
		}},
		"below a sticky directory": {func(t *testing.T, base string) (string, string) {
			tmp := mkdir(t, 0o777|fs.ModeSticky, base, "tmp")
			return filepath.Join(tmp, "a"), filepath.Join(tmp, "a")
		}},
		"by a link": {func(t *testing.T, base string) (string, string) {
			real := mkdir(t, 0o700, base, "real")
			link(t, "../real", mkdir(t, 0o755, base, "x"), "relative")
			return filepath.Join(link(t, filepath.Join(base, "x", "relative"), base, "absolute"), "a"), filepath.Join(real, "a")
		}},
		"open to all, where nobody gets to": {func(t *testing.T, base string) (string, string) {
			dir := mkdir(t, 0o777, mkdir(t, 0o700, base, "closed"), "a")
			return dir, dir
		}},
	} {
		t.Run(name, func(t *testing.T) {
			path, is := tc.at(t, visible(t))
			for range 2 {
				if got, err := owndir.Make(path); err != nil || got != is {
					t.Fatalf("Make(%s) = %q, %v; want %q", path, got, err, is)
				}
			}
			if info, err := os.Lstat(is); err != nil || !info.IsDir() {
				t.Errorf("%s is %v, %v", is, info, err)
			}
		})
	}
	t.Run("new ones are closed to others", func(t *testing.T) {
		base := visible(t)
		if _, err := owndir.Make(filepath.Join(base, "a", "b")); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"a", "a/b"} {
			if info, err := os.Stat(filepath.Join(base, dir)); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s: %v, %v", dir, info.Mode(), err)
			}
		}
	})
}

func TestMakeRefuses(t *testing.T) {
	cases := map[string]struct {
		at     func(t *testing.T, base string) string
		unsafe bool
		says   string
	}{
		"open to all": {func(t *testing.T, base string) string { return mkdir(t, 0o777, base, "a") }, true, "chmod go-w"},
		"open to all, sticky": {func(t *testing.T, base string) string {
			return mkdir(t, 0o777|fs.ModeSticky, base, "a")
		}, true, "chmod go-w"},
		"open to the group": {func(t *testing.T, base string) string { return mkdir(t, 0o770|0o001, base, "a") }, true, "/a ("},
		"below one open to all": {func(t *testing.T, base string) string {
			return filepath.Join(mkdir(t, 0o777, base, "open"), "a")
		}, true, "/open ("},
		"a link into one open to all": {func(t *testing.T, base string) string {
			mkdir(t, 0o777, base, "open")
			return filepath.Join(link(t, "../open", mkdir(t, 0o700, base, "closed"), "l"), "a")
		}, true, "/open ("},
		"a file": {func(t *testing.T, base string) string {
			path := filepath.Join(base, "f")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(path, "a")
		}, false, "/f is not a directory"},
		"links in a circle": {func(t *testing.T, base string) string {
			link(t, "b", base, "a")
			return link(t, "a", base, "b")
		}, false, "symbolic links"},
		"one of root": {func(t *testing.T, base string) string {
			if os.Geteuid() == 0 {
				dir := mkdir(t, 0o755, base, "a")
				stranger(t, dir)
				return dir
			}
			return "/"
		}, true, "belongs to user"},
		"no room for a directory": {func(*testing.T, string) string { return "/proc/snakepit/a" }, false, "/proc/snakepit"},
	}
	if os.Geteuid() == 0 { // only root can make what others would
		cases["a directory that somebody was faster to make"] = struct {
			at     func(t *testing.T, base string) string
			unsafe bool
			says   string
		}{func(t *testing.T, base string) string {
			dir := mkdir(t, 0o700, mkdir(t, 0o777|fs.ModeSticky, base, "tmp"), "snakepit-0")
			stranger(t, dir)
			return dir
		}, true, "belongs to user 12345"}
		cases["a link of somebody else"] = struct {
			at     func(t *testing.T, base string) string
			unsafe bool
			says   string
		}{func(t *testing.T, base string) string {
			mkdir(t, 0o700, base, "real")
			path := link(t, "../real", mkdir(t, 0o777|fs.ModeSticky, base, "tmp"), "snakepit-0")
			stranger(t, path)
			return path
		}, true, "belongs to user 12345"}
		cases["below a directory of somebody else"] = struct {
			at     func(t *testing.T, base string) string
			unsafe bool
			says   string
		}{func(t *testing.T, base string) string {
			dir := mkdir(t, 0o755, base, "theirs")
			stranger(t, dir)
			return filepath.Join(dir, "a")
		}, true, "belongs to user 12345"}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			path := tc.at(t, visible(t))
			got, err := owndir.Make(path)
			if err == nil || errors.Is(err, owndir.ErrUnsafe) != tc.unsafe || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("Make(%s) = %q, %v; want an error that says %q (unsafe: %t)", path, got, err, tc.says, tc.unsafe)
			}
		})
	}
}

func TestMakeFirstTakesTheFirstThatServes(t *testing.T) {
	base := visible(t)
	unsafe, good := mkdir(t, 0o777, base, "unsafe"), filepath.Join(base, "good")
	if got, err := owndir.MakeFirst([]string{unsafe, good, filepath.Join(base, "other")}); err != nil || got != good {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(base, "other")); err == nil {
		t.Error("more than one was made")
	}
	_, err := owndir.MakeFirst([]string{unsafe, "/proc/snakepit"})
	if err == nil || !strings.Contains(err.Error(), unsafe) || !strings.Contains(err.Error(), "/proc/snakepit") {
		t.Errorf("the error does not say why of each: %v", err)
	}
}

func TestPaths(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("TMPDIR", "/tmp")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	run, cache := owndir.RunPaths(), owndir.CachePaths()
	if run[0] != "/run/user/7/snakepit" || cache[1] != run[0] || len(cache) != len(run) {
		t.Errorf("run %v, cache %v", run, cache)
	}
	t.Setenv("XDG_RUNTIME_DIR", "relative")
	t.Setenv("HOME", "")
	run = owndir.RunPaths()
	if len(run) != 2 || !strings.HasPrefix(run[0], "/tmp/snakepit-") || !strings.HasPrefix(run[1], "/dev/shm/snakepit-") {
		t.Errorf("without a home: %v", run)
	}
}
