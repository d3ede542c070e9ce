package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The program builds without cgo, is static then, and runs: it goes into a container that holds nothing but Python.
func TestStaticBuild(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "snakepit")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if runtime.GOOS == "linux" {
		file, err := elf.Open(binary)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if libraries, err := file.ImportedLibraries(); err == nil && len(libraries) > 0 || file.Section(".interp") != nil {
			t.Errorf("it needs %v", libraries)
		}
	}
	out, err := exec.CommandContext(t.Context(), binary, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "snakepit.v1") {
		t.Errorf("%v\n%s", err, out)
	}
}
