package snakepit

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/snakepit-go/snakepit/internal/owndir"
	"github.com/snakepit-go/snakepit/python"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/frames"
	"github.com/snakepit-go/snakepit/worker/process"
)

// pythonWorkers puts together what a Python worker needs: an interpreter, our
// library, and a launcher. Nothing is made before a pool asks for it, so that
// an engine with other transports needs no Python.
type pythonWorkers struct {
	// runDir is as configured, or empty.
	runDir   string
	logger   *slog.Logger
	launcher *process.Launcher
	// libraries are the places for our library, best first.
	libraries []string
}

func newPython(cfg Config) *pythonWorkers {
	return &pythonWorkers{runDir: cfg.RunDir, logger: cfg.Logger}
}

func (w *pythonWorkers) close() error {
	if w.launcher == nil {
		return nil
	}
	return w.launcher.Close()
}

// transport returns the transport of a pool of Python workers.
func (w *pythonWorkers) transport(ctx context.Context, cfg PoolConfig) (worker.Transport, error) {
	tools, err := resolveTools(cfg)
	if err != nil {
		return nil, err
	}
	interpreter, err := process.FindPython(ctx, process.PythonQuery{Explicit: cfg.Interpreter})
	if err != nil {
		return nil, err
	}
	w.logger.Info("python interpreter chosen", "pool", cfg.Name,
		"path", interpreter.Path, "version", interpreter.Version, "why", interpreter.Why)
	if err := w.prepare(); err != nil {
		return nil, err
	}
	return frames.New(frames.Options{
		Launcher: w.launcher,
		Command: func(worker.Spec) (worker.Command, error) {
			// Each time: what was unpacked may have been deleted since.
			library, err := w.library()
			if err != nil {
				return worker.Command{}, err
			}
			return worker.Command{
				Path: interpreter.Path,
				Args: []string{"-m", "snakepit", tools},
				Env: append([]string{
					"PYTHONPATH=" + searchPath(library, cfg.PythonPath),
					"PYTHONUNBUFFERED=1",
				}, cfg.Env...),
				Dir: cfg.Dir,
			}, nil
		},
	}), nil
}

// prepare makes what all pools share.
func (w *pythonWorkers) prepare() error {
	if w.launcher != nil {
		return nil
	}
	runDirs, libraries := owndir.RunPaths(), owndir.CachePaths()
	if w.runDir != "" {
		runDirs, libraries = []string{w.runDir}, []string{w.runDir}
	}
	runDir, err := owndir.MakeFirst(runDirs)
	if err != nil {
		return runDirError(err)
	}
	w.libraries = libraries
	library, err := w.library()
	if err != nil {
		return err
	}
	if w.launcher, err = process.New(process.Options{RunDir: runDir, Logger: w.logger}); err != nil {
		return err
	}
	w.logger.Info("directories of python workers", "run_dir", runDir, "library", library)
	return nil
}

// library unpacks our library, if it is not there, and returns its path.
func (w *pythonWorkers) library() (string, error) {
	path, err := python.Unpack(w.libraries...)
	if err != nil {
		return "", runDirError(err)
	}
	return path, nil
}

// runDirError adds what to do.
func runDirError(err error) error {
	return fmt.Errorf("%w; name a directory that only this user can write to (run_dir, --run-dir, Config.RunDir)", err)
}

// resolveTools returns the absolute path of a tools file, or the module's name
// unchanged. A missing file is noticed here, before any process is started.
func resolveTools(cfg PoolConfig) (string, error) {
	if !strings.HasSuffix(cfg.Tools, ".py") && !strings.ContainsRune(cfg.Tools, filepath.Separator) {
		return cfg.Tools, nil
	}
	path := cfg.Tools
	if !filepath.IsAbs(path) {
		path = filepath.Join(cfg.Dir, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("tools file %q: %w", cfg.Tools, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("%w: tools file: %w", session.ErrInvalid, err)
	}
	if info.IsDir() {
		return "", fmt.Errorf("%w: tools file %s is a directory: name a Python file, or a module together with PythonPath", session.ErrInvalid, path)
	}
	return path, nil
}

// Check looks for what workers of the pool need, without starting one: the tools
// file, an interpreter that runs and is new enough, the directories. It yields
// the setting at fault, in the words of the daemon's configuration, with what is
// wrong.
func (p PoolConfig) Check(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if p.Tools != "" { // whether it must be given, others say
			if _, err := resolveTools(p); err != nil && !yield("python", err) {
				return
			}
		}
		if _, err := process.FindPython(ctx, process.PythonQuery{Explicit: p.Interpreter}); err != nil && !yield("interpreter", err) {
			return
		}
		for _, dir := range p.PythonPath {
			if _, err := os.Stat(dir); err != nil && !yield("python_path", err) { // a zip file is good too
				return
			}
		}
		if p.Dir == "" {
			return
		}
		if info, err := os.Stat(p.Dir); err != nil {
			yield("dir", err)
		} else if !info.IsDir() {
			yield("dir", fmt.Errorf("%s is no directory", p.Dir))
		}
	}
}

func searchPath(library string, more []string) string {
	path := append([]string{library}, more...)
	if inherited := os.Getenv("PYTHONPATH"); inherited != "" {
		path = append(path, inherited)
	}
	return strings.Join(path, string(os.PathListSeparator))
}
