package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/snakepit-go/snakepit/config"
)

const (
	// reloadInterval is the pause between two looks at the files, and how long they have to be quiet before the workers are
	// restarted.
	reloadInterval = 300 * time.Millisecond
	// reloadMost bounds the files and directories that are looked at.
	reloadMost = 20_000
)

// reloader restarts the workers when a Python file changes. It looks again and again rather than being told by the system:
// that works on every file system, and with every editor's way of saving.
type reloader struct {
	dirs    []string
	restart func(context.Context) error
	log     io.Writer
}

// watchedDirs are where the tools of the configuration are, and what they import of their author's.
func watchedDirs(c config.Config) []string {
	var dirs []string
	for _, p := range c.Pools {
		dir := p.Dir
		if dir == "" {
			dir = "."
		}
		if strings.HasSuffix(p.Python, ".py") || strings.ContainsRune(p.Python, filepath.Separator) {
			file := p.Python
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			dir = filepath.Dir(file)
		}
		dirs = append(append(dirs, dir), p.PythonPath...)
	}
	return dirs
}

// run watches until ctx ends.
func (r *reloader) run(ctx context.Context) {
	loaded, err := pythonFiles(r.dirs)
	if err != nil {
		fmt.Fprintf(r.log, "snakepit: --reload: %v\n", err)
		return
	}
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	last := loaded
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, err := pythonFiles(r.dirs)
		if err != nil {
			fmt.Fprintf(r.log, "snakepit: --reload: %v\n", err)
			return
		}
		quiet := maps.Equal(now, last)
		last = now
		if !quiet || maps.Equal(now, loaded) {
			continue
		}
		loaded = now
		fmt.Fprintln(r.log, "snakepit: the tools have changed; restarting the workers")
		switch err := r.restart(ctx); {
		case ctx.Err() != nil:
			return
		case err != nil:
			fmt.Fprintf(r.log, "snakepit: the changed tools cannot be used: %v\n", err)
		default:
			fmt.Fprintln(r.log, "snakepit: the workers run the changed tools")
		}
	}
}

// version tells one state of a file from another.
type version struct {
	changed time.Time
	size    int64
}

// pythonFiles finds the Python files below directories. What disappears meanwhile is not there.
func pythonFiles(dirs []string) (map[string]version, error) {
	files := make(map[string]version)
	seen := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // gone, or not ours to read
			}
			if seen++; seen > reloadMost {
				return fmt.Errorf("there are more than %d files below %s; put the tools into a directory of their own", reloadMost, dir)
			}
			name := d.Name()
			switch {
			case d.IsDir() && path != dir && (strings.HasPrefix(name, ".") || name == "__pycache__" || name == "site-packages" || name == "node_modules"):
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(name, ".py"):
				return nil
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			files[path] = version{info.ModTime(), info.Size()}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
