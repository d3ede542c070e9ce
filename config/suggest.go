package config

import (
	"slices"
	"strings"
)

// hintChild ends the message about an unknown key: the sibling that was probably meant, else the place where a key of
// that name does belong, else what is known here.
func hintChild(name string, parent *setting) string {
	var siblings []string
	for _, c := range parent.children {
		siblings = append(siblings, c.name)
	}
	if best, ok := nearest(name, siblings); ok {
		return ", did you mean " + best + "?"
	}
	if elsewhere := find(root, name); elsewhere != nil {
		return ", did you mean " + elsewhere.key + "?"
	}
	return "; known here: " + strings.Join(siblings, ", ")
}

// hint is the same for a flat set of names.
func hint(name string, known []string) string {
	slices.Sort(known)
	if best, ok := nearest(name, known); ok {
		return ", did you mean " + best + "?"
	}
	return "; docs/configuration.md lists what is known"
}

func find(s *setting, name string) *setting {
	for _, c := range s.children {
		if c.name == name {
			return c
		}
		if below := find(c, name); below != nil {
			return below
		}
	}
	return nil
}

// nearest picks the name with the fewest typing errors, if they are few for its length.
func nearest(name string, known []string) (best string, ok bool) {
	limit := len(name)/3 + 1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d <= limit {
			best, limit, ok = k, d-1, true
		}
	}
	return best, ok
}

// distance is Levenshtein's: the insertions, deletions and replacements that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
