// Package owndir provides directories that nobody but this user can write to:
// what lies in them is run as Python code, or decides which processes are
// killed.
//
// Make checks the whole way from the root, as anyone who can write to a
// directory on it can put another one in place of ours. It keeps no state; any
// number of processes may make the same directory at the same time.
package owndir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrUnsafe: somebody else could change what lies in a directory.
var ErrUnsafe = errors.New("unsafe directory")

// writeAccess is W_OK of access(2).
const writeAccess = 2

// maxLinks bounds the symbolic links of a path.
const maxLinks = 40

// RunPaths are the places for what lives as long as a process, best first: in
// XDG_RUNTIME_DIR, in the user's cache directory, in the directory for temporary
// files, and in /dev/shm, which can be written to in a container whose own file
// system cannot.
func RunPaths() []string {
	var paths []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		paths = append(paths, filepath.Join(dir, "snakepit"))
	}
	own := "snakepit-" + strconv.Itoa(os.Geteuid())
	return append(append(paths, cachePath()...), filepath.Join(os.TempDir(), own), "/dev/shm/"+own)
}

// CachePaths are the places for what can be made again, best first: the user's
// cache directory, and those of RunPaths.
func CachePaths() []string {
	cache := cachePath()
	return append(cache, slices.DeleteFunc(RunPaths(), func(path string) bool { return slices.Contains(cache, path) })...)
}

func cachePath() []string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil // no home
	}
	return []string{filepath.Join(dir, "snakepit")}
}

// MakeFirst is Make for the first of several paths where files can be written,
// which a directory that is there may not allow: its file system may be
// read-only. The error says of each why it does not serve.
func MakeFirst(paths []string) (string, error) {
	var reasons []error
	for _, path := range paths {
		dir, err := Make(path)
		if err == nil {
			if err = syscall.Access(dir, writeAccess); err == nil {
				return dir, nil
			}
			err = fmt.Errorf("write to directory %s: %w", dir, err)
		}
		reasons = append(reasons, err)
	}
	return "", errors.Join(reasons...)
}

// Make creates a directory, if it is not there, and returns its path without
// symbolic links. Every directory on the way must belong to this user or to
// root, and nobody else may be able to write to it, unless it has the sticky
// bit, as /tmp has. The last one must belong to this user. Other errors than
// those of the file system match ErrUnsafe.
func Make(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	w := walk{at: "/", rest: names(abs)}
	for len(w.rest) > 0 {
		if err := w.step(); err != nil {
			return "", fmt.Errorf("make directory %s: %w", abs, err)
		}
	}
	info, err := os.Lstat(w.at)
	if err != nil {
		return "", fmt.Errorf("make directory %s: %w", abs, err)
	}
	if owner := ownerOf(info); owner != os.Geteuid() {
		return "", fmt.Errorf("make directory %s: %w: %s belongs to user %d, not to this one (%d): remove it, or use another directory",
			abs, ErrUnsafe, w.at, owner, os.Geteuid())
	}
	if !w.secluded && writable(info) {
		return "", fmt.Errorf("make directory %s: %w", abs, open(w.at, info))
	}
	return w.at, nil
}

// Owned returns an error unless what info describes is a regular file or a
// directory, and of this user.
func Owned(path string, info fs.FileInfo) error {
	switch owner := ownerOf(info); {
	case !info.IsDir() && !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is neither a file nor a directory (%v)", ErrUnsafe, path, info.Mode())
	case owner != os.Geteuid():
		return fmt.Errorf("%w: %s belongs to user %d, not to this one (%d)", ErrUnsafe, path, owner, os.Geteuid())
	}
	return nil
}

// walk is the way to a directory.
type walk struct {
	at    string // has no symbolic links
	rest  []string
	links int
	// secluded says that nobody else can get below at, whatever the modes
	// there are.
	secluded bool
}

func names(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

func (w *walk) step() error {
	name := w.rest[0]
	w.rest = w.rest[1:]
	if name == ".." { // in the target of a link
		w.at, w.secluded = filepath.Dir(w.at), false
		return nil
	}
	next := filepath.Join(w.at, name)
	info, err := os.Lstat(next)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(next, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err = os.Lstat(next)
	}
	if err != nil {
		return err
	}
	if owner := ownerOf(info); owner != os.Geteuid() && owner != 0 {
		return fmt.Errorf("%w: %s belongs to user %d, neither to this one (%d) nor to root: use another directory", ErrUnsafe, next, owner, os.Geteuid())
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return w.follow(next)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory: remove it, or use another path", next)
	case !w.secluded && writable(info) && info.Mode()&fs.ModeSticky == 0:
		return open(next, info)
	}
	w.at = next
	w.secluded = w.secluded || info.Mode().Perm()&0o011 == 0
	return nil
}

func (w *walk) follow(link string) error {
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("%s: more than %d symbolic links", link, maxLinks)
	}
	target, err := os.Readlink(link)
	if err != nil {
		return err
	}
	if filepath.IsAbs(target) {
		w.at, w.secluded = "/", false
	}
	w.rest = append(names(target), w.rest...)
	return nil
}

// writable reports whether others than the owner can write.
func writable(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }

func open(path string, info fs.FileInfo) error {
	return fmt.Errorf("%w: other users can write to %s (%v): run chmod go-w %s, or use another directory",
		ErrUnsafe, path, info.Mode(), path)
}

// ownerOf returns -1 on a file system without owners.
func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
