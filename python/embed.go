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
	"path/filepath"
	"sync"
)

//go:embed snakepit/*.py snakepit/py.typed
var sdk embed.FS

// Unpack sees to it that dir holds this binary's SDK, as
// dir/sdk-<content hash>/snakepit, and returns the path for PYTHONPATH. It
// creates dir if need be. An SDK that is there already is compared and, if it
// was damaged, replaced.
func Unpack(dir string) (path string, err error) {
	path = filepath.Join(dir, "sdk-"+contentHash())
	if intact(path) {
		return path, nil
	}
	if err := install(dir, path); err != nil {
		return "", fmt.Errorf("unpack the python sdk to %s: %w", path, err)
	}
	return path, nil
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

// intact says whether every file is there with the right content. Further
// files, like Python's caches, do not matter.
func intact(path string) bool {
	return walk(func(name string, content []byte) error {
		found, err := os.ReadFile(filepath.Join(path, filepath.FromSlash(name)))
		if err == nil && !bytes.Equal(found, content) {
			err = errors.New("content differs")
		}
		return err
	}) == nil
}

// install writes the SDK beside path and renames it there as a whole.
func install(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, ".sdk-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }() // what stays is in nobody's way
	fresh := filepath.Join(temp, "new")
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
