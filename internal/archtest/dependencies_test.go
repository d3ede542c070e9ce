package archtest_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documentedModule is the first column of the page's tables about libraries.
var documentedModule = regexp.MustCompile("(?m)^\\| `([a-z.]+\\.[a-z]+/[^` ]+)` \\|")

func TestEveryDependencyIsExplained(t *testing.T) {
	page := string(files(t, ".md")["docs/dependencies.md"])
	libraries, _, ok := strings.Cut(page, "\n## Tools\n")
	if !ok {
		t.Fatal("docs/dependencies.md has no section Tools")
	}
	var documented []string
	for _, m := range documentedModule.FindAllStringSubmatch(libraries, -1) {
		documented = append(documented, m[1])
	}
	imported := map[string][]string{} // path to the files that import it
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(name, "/")
			if strings.Contains(first, ".") && !strings.HasPrefix(name, "github.com/snakepit-go/snakepit") {
				imported[name] = append(imported[name], s.path)
			}
		}
	}
	for _, problem := range unexplained(documented, imported) {
		t.Error(problem)
	}
}

// unexplained compares the documented modules with the imported packages.
func unexplained(documented []string, imported map[string][]string) []string {
	var problems []string
	used := map[string]bool{}
	for name, by := range imported {
		i := slices.IndexFunc(documented, func(module string) bool { return name == module || strings.HasPrefix(name, module+"/") })
		if i < 0 {
			problems = append(problems, by[0]+" imports "+name+", which docs/dependencies.md does not explain")
			continue
		}
		used[documented[i]] = true
	}
	for _, module := range documented {
		if !used[module] {
			problems = append(problems, "docs/dependencies.md explains "+module+", which nothing imports")
		}
	}
	slices.Sort(problems)
	return problems
}

func TestUnexplained(t *testing.T) {
	got := unexplained([]string{"a.com/a", "b.com/b"}, map[string][]string{"a.com/a/sub": {"x.go"}, "a.com/ab": {"y.go"}})
	want := []string{
		"docs/dependencies.md explains b.com/b, which nothing imports",
		"y.go imports a.com/ab, which docs/dependencies.md does not explain",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
