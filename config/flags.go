package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Flag is a setting that people type on the command line.
type Flag struct {
	Name  string // without dashes
	Key   string // what it sets
	Usage string
	Bool  bool // may stand without a value
}

// flagKeys names the settings that have a flag; the others are for the file. A flag about a pool sets the first pool.
var flagKeys = []string{
	"listen", "allow_remote", "node", "data", "run_dir",
	"pools[0].python", "pools[0].workers", "pools[0].interpreter",
	"log.level", "log.format",
}

// Flags are the flags of the daemon, in the order of a help text.
func Flags() []Flag {
	var list []Flag
	for _, key := range flagKeys {
		s := flagSetting(key)
		name := strings.NewReplacer("pools[0].", "", ".", "-", "_", "-").Replace(key)
		usage := strings.TrimSuffix(s.doc, ".")
		if choices := s.choices(); len(choices) > 0 {
			usage += ": " + strings.Join(choices, ", ")
		}
		list = append(list, Flag{Name: name, Key: key, Usage: usage, Bool: s.kind == kindBool})
	}
	return list
}

// flagSetting finds the setting behind a key of flagKeys.
func flagSetting(key string) *setting {
	s := root
	for name := range strings.SplitSeq(strings.ReplaceAll(key, "[0]", ""), ".") {
		s = s.child(name)
	}
	return s
}

func readFlags(given map[string]string) (layer, error) {
	flags := Flags()
	l, errs := newLayer(), []error(nil)
	for name, text := range given {
		i := slices.IndexFunc(flags, func(f Flag) bool { return f.Name == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("flags: no setting has the flag --%s", name))
			continue
		}
		key := flags[i].Key
		value, err := flagSetting(key).parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("flag --%s: %w", name, err))
			continue
		}
		l.values[key], l.origins[key] = value, "flag --"+name
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return l, errors.Join(errs...)
}
