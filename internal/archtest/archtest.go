// Package archtest keeps the architecture: its tests fail when a package imports, links or lacks what it should not.
//
// This file is the judge: rules over a graph of packages, without any knowledge of this project. The graph comes from
// go list (load_test.go); the rules, each with its reason, are the tables of rules_test.go, which is the place to read
// and to edit; archtest_test.go shows on small made-up graphs that each kind of rule can fail. tree_test.go holds the
// rules that read source: doc comments, lengths of files, tests that sleep.
//
// A rule that matches nothing proves nothing. So every pattern must match some package, or say that it is about one yet
// to come (Future), and lose that mark when the package appears.
package archtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Package is one package of the build.
type Package struct {
	Path    string   // as go list writes it; for the packages of the module, "." or "./" and the directory
	Imports []string // direct imports of its non-test files, as Path
	Deps    []string // all packages it links, as Path
}

// Graph is a build by path, ours and everything they link.
type Graph map[string]Package

// Pattern names packages: a path, or a path that ends in "/..." for it and all below. Paths of the module begin with
// "."; "./..." is all of it. "std" is the whole standard library.
type Pattern string

// Future marks a pattern about packages that do not exist yet.
func Future(p Pattern) Pattern { return futureMark + p }

const futureMark = "future:"

// Only limits what packages may import directly, among the module's own packages and those of others. The standard
// library is always allowed.
type Only struct {
	From   Pattern
	May    []Pattern
	Reason string
}

// Never forbids packages to link others, directly or through anything they import.
type Never struct {
	From   Pattern
	Link   []Pattern
	Reason string
}

// Reserved lets only some packages of the module import others directly.
type Reserved struct {
	What   []Pattern
	For    []Pattern
	Reason string
}

// Check judges a graph. Each line of the answer is one violation or one pattern that matches nothing, in order.
func Check(g Graph, only []Only, never []Never, reserved []Reserved) []string {
	var found []string
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, r := range only {
		vacuous(complain, g, append([]Pattern{r.From}, r.May...))
		for _, from := range g.ours(r.From) {
			for _, to := range from.Imports {
				if !standard(to) && !matchAny(r.May, to) {
					complain("%s imports %s: %s", from.Path, to, r.Reason)
				}
			}
		}
	}
	for _, r := range never {
		vacuous(complain, g, append([]Pattern{r.From}, r.Link...))
		for _, from := range g.ours(r.From) {
			for _, to := range from.Deps {
				if matchAny(r.Link, to) {
					complain("%s links %s (%s): %s", from.Path, to, strings.Join(g.chain(from.Path, to), " -> "), r.Reason)
				}
			}
		}
	}
	for _, r := range reserved {
		vacuous(complain, g, slices.Concat(r.What, r.For))
		for _, from := range g.ours("./...") {
			for _, to := range from.Imports {
				// A package reserved as a family (prometheus/...) may use its own members.
				if matchAny(r.What, to) && !matchAny(r.What, from.Path) && !matchAny(r.For, from.Path) {
					complain("%s imports %s: %s", from.Path, to, r.Reason)
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// vacuous reports the patterns that match nothing and are not about the future, and those that no longer are.
func vacuous(complain func(string, ...any), g Graph, patterns []Pattern) {
	for _, p := range patterns {
		name, future := strings.CutPrefix(string(p), futureMark)
		matches := false
		for path := range g {
			matches = matches || match(Pattern(name), path)
		}
		switch {
		case !matches && !future:
			complain("pattern %s matches no package: the rule proves nothing; mend it or mark it Future", name)
		case matches && future:
			complain("pattern %s is marked Future but the package is there: remove the mark", name)
		}
	}
}

// ours are the packages of the module that match, in order.
func (g Graph) ours(p Pattern) []Package {
	var list []Package
	for _, path := range slices.Sorted(maps.Keys(g)) {
		if own(path) && match(p, path) {
			list = append(list, g[path])
		}
	}
	return list
}

// chain is a shortest way from one package to another along imports.
func (g Graph) chain(from, to string) []string {
	previous := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			var way []string
			for ; at != ""; at = previous[at] {
				way = append(way, at)
			}
			slices.Reverse(way)
			return way
		}
		for _, next := range g[at].Imports {
			if _, seen := previous[next]; !seen {
				previous[next] = at
				queue = append(queue, next)
			}
		}
	}
	return []string{from, "?", to}
}

func matchAny(patterns []Pattern, path string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return match(p, path) })
}

func match(p Pattern, path string) bool {
	pattern := strings.TrimPrefix(string(p), futureMark)
	if pattern == "std" {
		return standard(path)
	}
	base, tree := strings.CutSuffix(pattern, "/...")
	return path == base || tree && strings.HasPrefix(path, base+"/")
}

func own(path string) bool { return path == "." || strings.HasPrefix(path, "./") }

// standard tells the standard library by the rule that go itself has: no dot in the first element.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !own(path) && !strings.Contains(first, ".")
}
