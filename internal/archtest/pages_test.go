package archtest_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pageOf returns a page of the tree.
func pageOf(t *testing.T, name string) string {
	t.Helper()
	text, ok := files(t, ".md")[name]
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return string(text)
}

// Each kind of change has one list in a version, in the order of Keep a
// Changelog, and nothing stands twice: merges break that without a conflict.
func TestChangelogHasOneListOfEachKind(t *testing.T) {
	for _, problem := range changelogProblems(pageOf(t, "CHANGELOG.md")) {
		t.Errorf("CHANGELOG.md: %s", problem)
	}
	for name, text := range map[string]string{
		"two lists":   "## [Unreleased]\n### Fixed\n\n- a\n\n### Fixed\n\n- b\n",
		"wrong order": "## [Unreleased]\n### Fixed\n\n- a\n\n### Added\n\n- b\n",
		"twice":       "## [Unreleased]\n### Added\n\n- a\n  b\n\n### Fixed\n\n- a\n  b\n",
	} {
		if len(changelogProblems(text)) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}

func changelogProblems(text string) (problems []string) {
	kinds := []string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
	for block := range strings.SplitSeq(text, "\n## ") {
		last := -1
		for line := range strings.Lines(block) {
			kind, ok := strings.CutPrefix(strings.TrimSpace(line), "### ")
			if !ok {
				continue
			}
			at := slices.Index(kinds, kind)
			if at <= last {
				problems = append(problems, "the list "+kind+" stands twice, is out of order, or is none of "+strings.Join(kinds, ", "))
			}
			last = at
		}
	}
	entries := map[string]bool{}
	for _, entry := range strings.Split(text, "\n- ")[1:] {
		entry, _, _ = strings.Cut(entry, "\n\n")
		entry = strings.Join(strings.Fields(entry), " ")
		if entries[entry] {
			problems = append(problems, "stands twice: "+entry)
		}
		entries[entry] = true
	}
	return problems
}

// The overview names every package, and no file that is not there.
func TestArchitecturePageNamesPackagesAndFiles(t *testing.T) {
	page := pageOf(t, "docs/architecture.md")
	all := sources(t)
	for _, s := range all {
		dir := path.Dir(s.path)
		if dir == "." || s.test() || s.generated || strings.HasPrefix(dir, "test/") || strings.HasPrefix(dir, "examples/") {
			continue
		}
		if !strings.Contains(page, "`"+dir+"`") && !strings.Contains(page, "`"+dir+"/") {
			t.Errorf("docs/architecture.md does not name the package `%s`", dir)
		}
	}
	for _, match := range regexp.MustCompile("`([a-z_/]+\\.go)`").FindAllStringSubmatch(page, -1) {
		if !slices.ContainsFunc(all, func(s source) bool { return s.path == match[1] || strings.HasSuffix(s.path, "/"+match[1]) }) {
			t.Errorf("docs/architecture.md names %s, which is not there", match[1])
		}
	}
}
