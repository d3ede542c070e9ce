package archtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/internal/archtest"
	"github.com/snakepit-go/snakepit/internal/testenv"
)

// load asks go list for the build: all packages of the module and all they link, for the machine's platform. A package
// that cannot be loaded is an error of the test, beside whatever else there is to say.
func load(t *testing.T) archtest.Graph {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Imports,Deps,Module,Error", "./...")
	cmd.Dir = testenv.Root(t)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	g := archtest.Graph{}
	module := ""
	var listed []archtest.Package
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath    string
			Imports, Deps []string
			Module        *struct {
				Path string
				Main bool
			}
			Error *struct{ Err string }
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("answer of go list: %v", err)
		}
		if p.Error != nil {
			t.Errorf("load %s: %s", p.ImportPath, p.Error.Err)
			continue
		}
		if p.Module != nil && p.Module.Main {
			module = p.Module.Path
		}
		listed = append(listed, archtest.Package{Path: p.ImportPath, Imports: p.Imports, Deps: p.Deps})
	}
	if module == "" {
		t.Fatal("go list names no package of the module")
	}
	short := func(path string) string {
		if path == module {
			return "."
		}
		if rest, ok := strings.CutPrefix(path, module+"/"); ok {
			return "./" + rest
		}
		return path
	}
	all := func(paths []string) []string {
		out := make([]string, len(paths))
		for i, p := range paths {
			out[i] = short(p)
		}
		return out
	}
	for _, p := range listed {
		path := short(p.Path)
		g[path] = archtest.Package{Path: path, Imports: all(p.Imports), Deps: all(p.Deps)}
	}
	return g
}
