package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// probeTimeout is how long an interpreter may take to say what it is. Shims of
// version managers are slow, but not that slow.
const probeTimeout = 5 * time.Second

// newestPython is the newest minor version looked for by name; newer ones are
// found as python3.
const newestPython = 14

// PythonQuery says which interpreter is wanted.
type PythonQuery struct {
	// Explicit is a path, or a name to be looked up on PATH. If it is given,
	// no other interpreter is considered.
	Explicit string
	// Min is the lowest version, {3, 9} if it is zero.
	Min [2]int
}

// Python is an interpreter that was probed.
type Python struct {
	// Path is the interpreter's own idea of where it is, so that a shim of a
	// version manager is passed over in later starts.
	Path string
	// Version is "3.11.7", Implementation "CPython".
	Version        string
	Implementation string
	// Why explains the choice.
	Why string
}

// FindPython chooses a Python interpreter by running the candidates, one after
// another, and asking for their version. The candidates are, in this order:
//
//   - query.Explicit
//   - the environment variable SNAKEPIT_PYTHON
//   - bin/python below the environment variable VIRTUAL_ENV
//   - python3, python, python3.14 down to python3.9 on PATH
//
// The first two are decisions: if one is given and does not serve, no other is
// tried. The error lists every candidate with the reason it was rejected.
//
// FindPython reads the environment variables named, and PATH; the candidates
// run with the whole environment, as a worker does.
func FindPython(ctx context.Context, query PythonQuery) (Python, error) {
	if query.Min == [2]int{} {
		query.Min = [2]int{3, 9}
	}
	var rejected []string
	seen := make(map[string]bool)
	for _, c := range candidates(query) {
		path, err := exec.LookPath(c.name)
		if err != nil {
			rejected = append(rejected, fmt.Sprintf("%s: not found", c))
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return Python{}, fmt.Errorf("find python: %w", err)
		}
		if seen[path] {
			continue
		}
		seen[path] = true
		python, err := probe(ctx, path, query.Min)
		if ctx.Err() != nil {
			return Python{}, fmt.Errorf("find python: %w", context.Cause(ctx))
		}
		if err != nil {
			rejected = append(rejected, fmt.Sprintf("%s (%s): %v", c, path, err))
			continue
		}
		python.Why = c.String()
		if path != python.Path {
			python.Why += ", found as " + path
		}
		if len(rejected) > 0 {
			python.Why += "; rejected before: " + strings.Join(rejected, "; ")
		}
		return python, nil
	}
	return Python{}, &PythonError{Min: query.Min, Rejected: rejected}
}

// PythonError says that no candidate serves.
type PythonError struct {
	Min [2]int
	// Rejected says of each candidate why it does not serve.
	Rejected []string
}

func (e *PythonError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no Python interpreter of version %d.%d or newer was found:", e.Min[0], e.Min[1])
	for _, r := range e.Rejected {
		b.WriteString("\n  " + r)
	}
	b.WriteString("\nname one in the configuration or in SNAKEPIT_PYTHON, activate a virtual environment, or put python3 on PATH")
	return b.String()
}

// candidate is a place to look for an interpreter.
type candidate struct{ name, from string }

func (c candidate) String() string { return c.name + " " + c.from }

func candidates(query PythonQuery) []candidate {
	if query.Explicit != "" {
		return []candidate{{query.Explicit, "as configured"}}
	}
	if name := os.Getenv("SNAKEPIT_PYTHON"); name != "" {
		return []candidate{{name, "from SNAKEPIT_PYTHON"}}
	}
	var cs []candidate
	if venv := os.Getenv("VIRTUAL_ENV"); venv != "" {
		cs = append(cs, candidate{filepath.Join(venv, "bin", "python"), "from VIRTUAL_ENV"})
	}
	cs = append(cs, candidate{"python3", "on PATH"}, candidate{"python", "on PATH"})
	for minor := newestPython; minor >= query.Min[1]; minor-- {
		cs = append(cs, candidate{"python3." + strconv.Itoa(minor), "on PATH"})
	}
	return cs
}

// probeCode runs under any Python since 2.6. Its answer is the last line, for
// whatever the site's start-up code may print before.
const probeCode = `import sys
n = getattr(sys, "implementation", None)
sys.stdout.write("\n%d %d %d|%s|%s\n" % (sys.version_info[0], sys.version_info[1], sys.version_info[2], n.name if n else "python", sys.executable))`

var implementations = map[string]string{"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalPy"}

// probe asks an interpreter what it is.
func probe(ctx context.Context, path string, least [2]int) (Python, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-c", probeCode)
	// A shim may be a script whose children keep the pipes open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return Python{}, fmt.Errorf("did not say its version within %v", probeTimeout)
	case err != nil:
		return Python{}, fmt.Errorf("does not run: %w%s", err, lastLine(stderr.Bytes(), ": "))
	}

	var v [3]int
	answer := strings.SplitN(lastLine(out, ""), "|", 3)
	if len(answer) != 3 {
		return Python{}, errors.New("is not a Python interpreter")
	}
	if _, err := fmt.Sscan(answer[0], &v[0], &v[1], &v[2]); err != nil {
		return Python{}, errors.New("is not a Python interpreter")
	}
	python := Python{
		Path:           answer[2],
		Version:        fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]),
		Implementation: answer[1],
	}
	if name, ok := implementations[answer[1]]; ok {
		python.Implementation = name
	}
	if v[0] < least[0] || v[0] == least[0] && v[1] < least[1] {
		return Python{}, fmt.Errorf("is version %s, at least %d.%d is needed", python.Version, least[0], least[1])
	}
	if python.Path == "" {
		python.Path = path // an embedded build may not know
	}
	return python, nil
}

// lastLine returns the last line that is not empty, with a prefix if there is
// one.
func lastLine(text []byte, prefix string) string {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return ""
	}
	return prefix + string(text[bytes.LastIndexByte(text, '\n')+1:])
}
