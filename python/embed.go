// Package python carries the Python SDK inside of the binary, so that a worker
// needs nothing installed but an interpreter.
//
// Unpack writes it to a directory named after its content. Any number of
// processes may do so at the same time in the same place: each sees either
// nothing or a complete SDK. What the SDK does is described in docs/python.md
// and docs/protocol.md.
package python

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/snakepit-go/snakepit/internal/owndir"
)

//go:embed snakepit/*.py snakepit/py.typed
var sdk embed.FS

// Unpack sees to it that the first of dirs that serves holds this binary's SDK,
// as dir/sdk-<content hash>/snakepit and with nothing beside it, and returns the
// path for PYTHONPATH. It creates the directory if need be. What is there
// already is compared file by file: an SDK that was damaged, or to which
// something was added, is replaced. It takes about a millisecond, so that it
// can be done before each start of a worker.
//
// A directory serves if nobody but this user can write to it; see
// internal/owndir. The error says of each why it does not.
func Unpack(dirs ...string) (path string, err error) {
	var reasons []error
	for _, dir := range dirs {
		if path, err = unpack(dir); err == nil {
			return path, nil
		}
		reasons = append(reasons, err)
	}
	return "", fmt.Errorf("unpack the python sdk: %w", errors.Join(reasons...))
}

func unpack(dir string) (path string, err error) {
	if dir, err = owndir.Make(dir); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "sdk-"+contentHash())
	if intact(path) {
		return path, nil
	}
	return path, install(dir, path)
}

// contentHash names the SDK's content: every file's name and bytes.
var contentHash = sync.OnceValue(func() string {
	h := sha256.New()
	err := walk(func(name string, content []byte) error {
		fmt.Fprintf(h, "%s %d\n", name, len(content))
		h.Write(content)
		return nil
	})
	if err != nil {
		panic(err) // what is embedded can be read
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
})

// walk calls fn for every file in lexical order and returns its first error.
func walk(fn func(name string, content []byte) error) error {
	return fs.WalkDir(sdk, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := sdk.ReadFile(name)
		if err != nil {
			return err
		}
		return fn(name, content)
	})
}

// intact says whether every file is there with the right content, and nothing
// else but Python's caches of them: a sitecustomize.py, for example, would be run
// by every interpreter that has the path.
func intact(path string) bool {
	return onlyOurs(path) == nil && walk(func(name string, content []byte) error {
		found, err := os.ReadFile(filepath.Join(path, filepath.FromSlash(name)))
		if err == nil && !bytes.Equal(found, content) {
			err = errors.New("content differs")
		}
		return err
	}) == nil
}

// onlyOurs looks at what is there without reading it, for to read a pipe could
// take for ever.
func onlyOurs(path string) error {
	return filepath.WalkDir(path, func(found string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(path, found)
		if err == nil && !belongs(filepath.ToSlash(name), entry.IsDir()) {
			err = fmt.Errorf("%s is not part of the sdk", name)
		} else if name == "." && info.Mode().Perm() != privateMode {
			err = fmt.Errorf("%s has the mode %v", found, info.Mode())
		} else if !info.IsDir() && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is no regular file", found)
		}
		return errors.Join(err, owndir.Owned(found, info))
	})
}

const (
	cacheDir = "snakepit/__pycache__"
	// privateMode keeps others out, whatever modes Python gives its caches.
	privateMode = 0o700
)

func belongs(name string, dir bool) bool {
	if dir {
		return name == "." || name == "snakepit" || name == cacheDir
	}
	if _, err := fs.Stat(sdk, name); err == nil {
		return true
	}
	folder, file := pathpkg.Split(name)
	module, _, _ := strings.Cut(file, ".")
	if folder != cacheDir+"/" || !strings.Contains(file, ".pyc") {
		return false // also while Python writes one: x.cpython-311.pyc.140
	}
	_, err := fs.Stat(sdk, "snakepit/"+module+".py")
	return err == nil
}

// install writes the SDK beside path and renames it there as a whole.
func install(dir, path string) error {
	temp, err := os.MkdirTemp(dir, ".sdk-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }() // what stays is in nobody's way
	fresh := filepath.Join(temp, "new")
	if err := os.Mkdir(fresh, privateMode); err != nil {
		return err
	}
	if err := write(fresh); err != nil {
		return err
	}
	for range 3 {
		err = os.Rename(fresh, path)
		if err == nil || intact(path) {
			return nil // ours, or another process was faster
		}
		// A directory that is not empty cannot be replaced, only moved away.
		_ = os.Rename(path, filepath.Join(temp, "damaged"))
	}
	return err
}

func write(root string) error {
	return walk(func(name string, content []byte) error {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		return os.WriteFile(file, content, 0o644)
	})
}
