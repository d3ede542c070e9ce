package archtest_test

import (
	"bytes"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/internal/testenv"
)

// The rules of this file read the source itself, on every platform's files and not just those of this machine's build.

// maxLines is how long a file may be before it is likely to hold two subjects.
const maxLines = 600

// longFiles are the exceptions, each with its reason.
var longFiles = map[string]string{}

// source is one Go file of the tree.
type source struct {
	path      string // slash-separated, from the root
	text      []byte
	file      *ast.File
	set       *token.FileSet
	generated bool
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	for name, text := range files(t, ".go") {
		list = append(list, parse(t, name, text))
	}
	slices.SortFunc(list, func(a, b source) int { return strings.Compare(a.path, b.path) })
	if len(list) < 10 {
		t.Fatalf("found only %d Go files", len(list))
	}
	return list
}

func parse(t *testing.T, name string, text []byte) source {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return source{name, text, file, set, ast.IsGenerated(file)}
}

// files reads every file of the tree with one of the endings; directories that hold no source are left out.
func files(t *testing.T, endings ...string) map[string][]byte {
	t.Helper()
	root := testenv.Root(t)
	found := map[string][]byte{}
	err := filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "__pycache__" || name != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.Type().IsRegular() && slices.Contains(endings, path.Ext(name)):
			text, err := os.ReadFile(full)
			found[name] = text
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestFilesAreShort(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.generated || !tooLong(s.text) {
			continue
		}
		if longFiles[s.path] == "" {
			t.Errorf("%s has %d lines, more than %d: split it by subject, or say in longFiles why it is one", s.path, bytes.Count(s.text, []byte("\n")), maxLines)
		}
		used[s.path] = true
	}
	for name := range longFiles {
		if !used[name] {
			t.Errorf("%s is no longer too long: remove it from longFiles", name)
		}
	}
}

func tooLong(text []byte) bool { return bytes.Count(text, []byte("\n")) > maxLines }

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	packages := map[string][]source{}
	for _, s := range sources(t) {
		if !s.test() && !s.generated {
			packages[path.Dir(s.path)] = append(packages[path.Dir(s.path)], s)
		}
	}
	for dir, files := range packages {
		for _, problem := range docProblems(files) {
			t.Errorf("%s: %s", dir, problem)
		}
	}
}

// docProblems judges the doc comment of one package: one, that begins as godoc has it, and says more than the name.
func docProblems(files []source) []string {
	var texts []string
	for _, s := range files {
		if s.file.Doc != nil {
			texts = append(texts, s.file.Doc.Text())
		}
	}
	switch len(texts) {
	case 0:
		return []string{"no doc comment: say what the package owns, what it promises under concurrency and failure, where to read on"}
	case 1:
	default:
		return []string{"more than one file has the doc comment of the package: keep one"}
	}
	want := "Package " + files[0].file.Name.Name + " "
	if files[0].file.Name.Name == "main" {
		want = "Command "
	}
	var problems []string
	if !strings.HasPrefix(texts[0], want) {
		problems = append(problems, "the doc comment should begin with "+want)
	}
	if words := len(strings.Fields(texts[0])); words < 15 {
		problems = append(problems, "the doc comment says little more than the name: "+new(doc.Package).Synopsis(texts[0]))
	} else if words > 700 {
		problems = append(problems, "the doc comment is a document: move the details to docs/ and point there")
	}
	return problems
}

// sleepers may wait for real time to pass, each with its reason.
var sleepers = map[string]string{
	"worker/process/main_test.go": "a process that does nothing for ever is what the test kills",
	"worker/frames/peer_test.go":  "a peer that answers nothing for ever is what the test kills",
	"session/faults_test.go":      "its faulty driver runs inside synctest.Test, in functions of its own",
	"worker/model_test.go":        "its model runs inside synctest.Test, in functions of its own",
}

func TestTestsDoNotSleep(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.test() || strings.HasSuffix(path.Dir(s.path), "test") {
			for _, at := range sleeps(s) {
				if used[s.path] = true; sleepers[s.path] != "" {
					continue
				}
				t.Errorf("%s: a test that sleeps is slow or flaky, or both: wait for the event, use testing/synctest, or testenv.Eventually for other processes", at)
			}
		}
	}
	for name := range sleepers {
		if !used[name] {
			t.Errorf("%s no longer sleeps: remove it from sleepers", name)
		}
	}
}

// sleeps finds the places where real time is waited for. Inside synctest.Test time is virtual, and sleeping is fine.
func sleeps(s source) []string {
	var found []string
	var visit func(ast.Node) bool
	visit = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if calls(n, "synctest", "Test") {
				return false
			}
			if calls(n, "time", "Sleep") {
				found = append(found, s.set.Position(n.Pos()).String())
			}
		case *ast.ExprStmt: // <-time.After(d) by itself is a sleep; in a select it is a timeout
			if recv, ok := n.X.(*ast.UnaryExpr); ok && recv.Op == token.ARROW {
				if call, ok := recv.X.(*ast.CallExpr); ok && calls(call, "time", "After") {
					found = append(found, s.set.Position(n.Pos()).String())
				}
			}
		case *ast.CommClause: // its Comm is an ExprStmt too
			for _, body := range n.Body {
				ast.Inspect(body, visit)
			}
			return false
		}
		return true
	}
	ast.Inspect(s.file, visit)
	return found
}

func calls(call *ast.CallExpr, pkg, name string) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != name {
		return false
	}
	x, ok := f.X.(*ast.Ident)
	return ok && x.Name == pkg
}

var variable = regexp.MustCompile(`SNAKEPIT_[A-Z0-9_]*[A-Z0-9]`)

// TestEveryVariableIsDocumented finds the names of our environment variables in all source and looks each up in the
// pages of docs/ and the Makefile's help.
func TestEveryVariableIsDocumented(t *testing.T) {
	var pages []byte
	for name, text := range files(t, ".md") {
		if strings.HasPrefix(name, "docs/") {
			pages = append(pages, text...)
		}
	}
	documented := map[string]bool{}
	for _, name := range variable.FindAll(pages, -1) {
		documented[string(name)] = true
	}
	for name, text := range files(t, ".go", ".py") {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(path.Base(name), "test_") {
			continue // tests have wrong names on purpose, and some for their own processes
		}
		for _, v := range variable.FindAll(text, -1) {
			if !documented[string(v)] {
				t.Errorf("%s: the variable %s is in no page of docs/", name, v)
			}
		}
	}
}

func TestRulesOfSourceCanFail(t *testing.T) {
	head := "package p_test\n\nimport (\"testing\"; \"testing/synctest\"; \"time\")\n\n"
	for text, want := range map[string]int{
		`func TestA(t *testing.T) { time.Sleep(1) }`:                                                     1,
		`func TestA(t *testing.T) { for !ok() { time.Sleep(1) }; <-time.After(1) }`:                      2,
		`func TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }`:            0,
		`func TestA(t *testing.T) { select { case <-time.After(1): t.Fatal("late"); case <-c: } }`:       0,
		`func TestA(t *testing.T) { select { case <-time.After(1): time.Sleep(1); case <-c: } }`:         1,
		`func TestA(t *testing.T) { synctest.Test(t, f); time.Sleep(1) }`:                                1,
		`func help() { go func() { time.Sleep(1) }() }`:                                                  1,
		`func TestA(t *testing.T) { clock.Sleep(1); at := time.After(1); <-at }`:                         0,
		`func TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { <-time.After(1) }); f(t, 1) }`: 0,
	} {
		if got := sleeps(parse(t, "p_test.go", []byte(head+text))); len(got) != want {
			t.Errorf("%s\nfound %v, want %d places", text, got, want)
		}
	}

	long := strings.Repeat("word ", 20)
	for _, tt := range []struct {
		name    string
		files   []string
		problem string
	}{
		{"fine", []string{"// Package p does things. " + long + "\npackage p", "package p"}, ""},
		{"none", []string{"package p", "package p"}, "no doc comment"},
		{"two", []string{"// Package p does.\npackage p", "// Package p does.\npackage p"}, "more than one file"},
		{"other beginning", []string{"// This does things. " + long + "\npackage p"}, "should begin with Package p"},
		{"a command", []string{"// Command p does things. " + long + "\npackage main"}, ""},
		{"only the name", []string{"// Package p is p.\npackage p"}, "little more than the name"},
		{"a book", []string{"// Package p does things. " + strings.Repeat(long, 40) + "\npackage p"}, "is a document"},
	} {
		var list []source
		for _, text := range tt.files {
			list = append(list, parse(t, "p.go", []byte(text)))
		}
		got := strings.Join(docProblems(list), "; ")
		if tt.problem == "" && got != "" || !strings.Contains(got, tt.problem) {
			t.Errorf("%s: problems %q, want %q", tt.name, got, tt.problem)
		}
	}

	if tooLong([]byte(strings.Repeat("\n", maxLines))) || !tooLong([]byte(strings.Repeat("\n", maxLines+1))) {
		t.Errorf("the limit of a file is not %d lines", maxLines)
	}
}
