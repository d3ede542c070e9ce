package archtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/internal/archtest"
)

// graph builds a graph from lines "package: imports", and works out what each links.
func graph(lines ...string) archtest.Graph {
	g := archtest.Graph{}
	for _, line := range lines {
		path, imports, _ := strings.Cut(line, ":")
		g[path] = archtest.Package{Path: path, Imports: strings.Fields(imports)}
		for i := range strings.FieldsSeq(imports) {
			if _, ok := g[i]; !ok {
				g[i] = archtest.Package{Path: i}
			}
		}
	}
	for path, p := range g {
		p.Deps = reach(g, path, map[string]bool{path: true})
		g[path] = p
	}
	return g
}

func reach(g archtest.Graph, path string, seen map[string]bool) []string {
	var deps []string
	for _, i := range g[path].Imports {
		if !seen[i] {
			seen[i] = true
			deps = append(append(deps, i), reach(g, i, seen)...)
		}
	}
	return deps
}

func TestOnly(t *testing.T) {
	rule := archtest.Only{From: "./store", May: []archtest.Pattern{"./driver", "github.com/x/codec/..."}, Reason: "stores know drivers"}
	for _, tt := range []struct{ name, imports, want string }{
		{"allowed", "./driver github.com/x/codec/json errors", ""},
		{"the standard library", "./driver github.com/x/codec net/http os/exec", ""},
		{"ours", "./driver github.com/x/codec ./worker", "./store imports ./worker: stores know drivers"},
		{"a child of an allowed one", "./driver github.com/x/codec ./driver/mem", "./store imports ./driver/mem: stores know drivers"},
		{"third party", "./driver github.com/x/codec github.com/x/codecs", "./store imports github.com/x/codecs: stores know drivers"},
		{"the root", "./driver github.com/x/codec .", "./store imports .: stores know drivers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, archtest.Check(graph("./store:"+tt.imports, "./worker: ./app"), []archtest.Only{rule}, nil, nil), tt.want)
		})
	}
}

func TestNever(t *testing.T) {
	rule := archtest.Never{From: ".", Link: []archtest.Pattern{"github.com/pebble/..."}, Reason: "a library user pays only for what is used"}
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"not linked", []string{".: ./mem", "./disk: github.com/pebble/v2"}, ""},
		{"directly", []string{".: github.com/pebble/v2"}, ". links github.com/pebble/v2 (. -> github.com/pebble/v2): a library user pays only for what is used"},
		{"through others", []string{".: ./mem ./exec", "./exec: ./disk", "./disk: github.com/pebble/v2"}, ". links github.com/pebble/v2 (. -> ./exec -> ./disk -> github.com/pebble/v2): a library user pays only for what is used"},
		{"only a namesake", []string{".: github.com/pebbles", "./disk: github.com/pebble"}, ""},
		{"a child is another package", []string{".: ./mem", "./cmd: github.com/pebble"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, archtest.Check(graph(tt.lines...), nil, []archtest.Never{rule}, nil), tt.want)
		})
	}
}

func TestReserved(t *testing.T) {
	rule := archtest.Reserved{What: []archtest.Pattern{"os/exec"}, For: []archtest.Pattern{"./process", "./cmd/..."}, Reason: "one place starts processes"}
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"where it belongs", []string{"./process: os/exec", "./cmd/tool: os/exec", "./worker: ./process"}, ""},
		{"elsewhere", []string{"./process: os/exec", "./cmd: os", "./worker: os/exec"}, "./worker imports os/exec: one place starts processes"},
		{"in somebody else's module", []string{"./process: os/exec", "./cmd: github.com/x", "github.com/x: os/exec"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, archtest.Check(graph(tt.lines...), nil, nil, []archtest.Reserved{rule}), tt.want)
		})
	}
	family := archtest.Reserved{What: []archtest.Pattern{"./test/..."}, Reason: "for tests"}
	expect(t, archtest.Check(graph("./test/a: ./test/b", "./app: ./test/a"), nil, nil, []archtest.Reserved{family}), "./app imports ./test/a: for tests")
}

func TestRulesThatMatchNothing(t *testing.T) {
	g := graph("./a: ./b")
	for _, tt := range []struct {
		name    string
		pattern archtest.Pattern
		want    string
	}{
		{"there", "./b", ""},
		{"tree", "./...", ""},
		{"misspelt", "./bb", "pattern ./bb matches no package: the rule proves nothing; mend it or mark it Future"},
		{"yet to come", archtest.Future("./bb"), ""},
		{"come", archtest.Future("./b"), "pattern ./b is marked Future but the package is there: remove the mark"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := []archtest.Pattern{tt.pattern}
			expect(t, archtest.Check(g, []archtest.Only{{From: "./a", May: append(p, "./b")}}, nil, nil), tt.want)
			expect(t, archtest.Check(g, []archtest.Only{{From: tt.pattern, May: []archtest.Pattern{"./b"}}}, nil, nil), tt.want)
			expect(t, archtest.Check(g, nil, []archtest.Never{{From: "./b", Link: p}}, nil), tt.want)
			expect(t, archtest.Check(g, nil, []archtest.Never{{From: tt.pattern, Link: []archtest.Pattern{"./a"}}}, nil), tt.want)
			expect(t, archtest.Check(g, nil, nil, []archtest.Reserved{{What: p, For: []archtest.Pattern{"./a"}}}), tt.want)
			expect(t, archtest.Check(g, nil, nil, []archtest.Reserved{{What: []archtest.Pattern{"./a"}, For: p}}), tt.want)
		})
	}
}

// expect compares the violations with the one wanted; "" wants none.
func expect(t *testing.T, got []string, want string) {
	t.Helper()
	var wants []string
	if want != "" {
		wants = []string{want}
	}
	if !slices.Equal(got, wants) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), want)
	}
}
