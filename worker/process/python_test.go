package process_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/worker/process"
)

// script writes an executable and returns its path.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func answer(version, path string) string {
	return "printf '\\n" + version + "|cpython|" + path + "\\n'"
}

// onlyPath makes dir the whole PATH and clears what else is read.
func onlyPath(t *testing.T, dir string) {
	t.Setenv("PATH", dir)
	t.Setenv("SNAKEPIT_PYTHON", "")
	t.Setenv("VIRTUAL_ENV", "")
}

func TestFindPythonFindsARealOne(t *testing.T) {
	testenv.Python(t) // there is one, or the test says how to get it
	python, err := process.FindPython(t.Context(), process.PythonQuery{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := process.FindPython(t.Context(), process.PythonQuery{Explicit: python.Path})
	if err != nil {
		t.Fatal(err)
	}
	if again.Version != python.Version || again.Path != python.Path || !strings.Contains(again.Why, "as configured") {
		t.Errorf("first %+v, by its path %+v", python, again)
	}
}

func TestFindPythonPassesOverWhatDoesNotServe(t *testing.T) {
	dir := t.TempDir()
	onlyPath(t, dir)
	script(t, dir, "python3", answer("3 8 10", "/old"))
	script(t, dir, "python", "echo broken >&2; exit 3")
	script(t, dir, "python3.14", "echo no interpreter")
	script(t, dir, "python3.12", "echo hello from sitecustomize\n"+answer("3 12 1", "/real/python3.12"))

	got, err := process.FindPython(t.Context(), process.PythonQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Path != "/real/python3.12" || got.Version != "3.12.1" || got.Implementation != "CPython" {
		t.Errorf("got %+v", got)
	}
	for _, part := range []string{"python3.12 on PATH, found as " + dir, "is version 3.8.10, at least 3.9 is needed", "broken", "is not a Python interpreter", "python3.13 on PATH: not found"} {
		if !strings.Contains(got.Why, part) {
			t.Errorf("%q is missing in %q", part, got.Why)
		}
	}
}

func TestFindPythonOrder(t *testing.T) {
	dir := t.TempDir()
	onlyPath(t, dir)
	script(t, dir, "python3", answer("3 11 0", "/path"))
	venv := t.TempDir()
	script(t, filepath.Join(venv, "bin"), "python", answer("3 11 0", "/venv"))
	env := script(t, t.TempDir(), "mine", answer("3 11 0", "/env"))
	explicit := script(t, t.TempDir(), "given", answer("3 11 0", "/explicit"))

	find := func(query process.PythonQuery) string {
		t.Helper()
		got, err := process.FindPython(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		return got.Path
	}
	var got []string
	got = append(got, find(process.PythonQuery{}))
	t.Setenv("VIRTUAL_ENV", venv)
	got = append(got, find(process.PythonQuery{}))
	t.Setenv("SNAKEPIT_PYTHON", env)
	got = append(got, find(process.PythonQuery{}))
	got = append(got, find(process.PythonQuery{Explicit: explicit}))
	if want := []string{"/path", "/venv", "/env", "/explicit"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFindPythonSaysWhyNoneServes(t *testing.T) {
	dir := t.TempDir()
	onlyPath(t, dir)
	script(t, dir, "python3", answer("3 11 0", "/path"))

	_, err := process.FindPython(t.Context(), process.PythonQuery{Min: [2]int{3, 12}})
	var none *process.PythonError
	if !errors.As(err, &none) || len(none.Rejected) != 5 {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"3.12 or newer", "is version 3.11.0", "python3.14 on PATH: not found", "SNAKEPIT_PYTHON"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %q", part, err)
		}
	}
	// A decision is not overruled by what else there is.
	if _, err := process.FindPython(t.Context(), process.PythonQuery{Explicit: "no-such-python"}); !errors.As(err, &none) || len(none.Rejected) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestFindPythonEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	onlyPath(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	// The candidate hangs, and so does a child that has its output.
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	hanging := script(t, dir, "python3", "(while :; do :; done) &\necho running >"+fifo+"\nwhile :; do :; done")
	go func() {
		os.ReadFile(fifo) // returns when the candidate runs
		cancel()
	}()
	if _, err := process.FindPython(ctx, process.PythonQuery{Explicit: hanging}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
