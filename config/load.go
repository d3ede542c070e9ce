package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Source is where settings come from beside the defaults. A nil field holds none.
type Source struct {
	File  string            // path of a YAML file; if empty, that in SNAKEPIT_CONFIG
	Env   []string          // in the form of os.Environ
	Flags map[string]string // the flags that were given, by name as in Flags
}

// FileVariable names the configuration file in the environment.
const FileVariable = "SNAKEPIT_CONFIG"

// layer is what one source holds, already checked: values by key (pools as a list of maps) and where each came from.
type layer struct {
	values  map[string]any
	origins map[string]string
}

func newLayer() layer { return layer{map[string]any{}, map[string]string{}} }

// Load merges the defaults and the sources. The error joins every unknown key, wrong type and unreadable file; each
// line names the source; beside it stands what could be read, for who wants to tell all problems at once. Whether the
// values make sense together is for Validate to say.
func Load(src Source) (Config, error) {
	if src.File == "" {
		src.File = lookup(src.Env, FileVariable)
	}
	file, fileErr := readFile(src.File)
	env, envErr := readEnvironment(src.Env)
	flags, flagErr := readFlags(src.Flags)
	mistakes := errors.Join(fileErr, envErr, flagErr)

	k := koanf.New(".")
	origins := map[string]string{}
	for _, l := range []layer{defaults(), file, env} {
		if err := merge(k, origins, l); err != nil {
			return Config{}, err
		}
	}
	if err := merge(k, origins, flags.onto(k)); err != nil {
		return Config{}, err
	}

	var c Config
	if err := k.Unmarshal("", &c); err != nil {
		return Config{}, fmt.Errorf("decode configuration: %w", err)
	}
	c.origins = origins
	return c, mistakes
}

func merge(k *koanf.Koanf, origins map[string]string, l layer) error {
	maps.Copy(origins, l.origins)
	if err := k.Load(confmap.Provider(l.values, "."), nil); err != nil {
		return fmt.Errorf("merge configuration: %w", err)
	}
	return nil
}

// onto turns the values that a layer has for the first pool into a list of pools, based on the one merged so far:
// koanf replaces lists as a whole.
func (l layer) onto(k *koanf.Koanf) layer {
	out := layer{map[string]any{}, l.origins}
	var first map[string]any
	for key, value := range l.values {
		name, ok := strings.CutPrefix(key, poolKey(0)+".")
		if !ok {
			out.values[key] = value
			continue
		}
		if first == nil {
			pools, _ := k.Get("pools").([]any)
			if len(pools) == 0 {
				pools = []any{valuesOf(DefaultPool(), root.child("pools"))}
			}
			pools = slices.Clone(pools)
			entry, _ := pools[0].(map[string]any)
			first = maps.Clone(entry)
			pools[0] = first
			out.values["pools"] = pools
		}
		first[name] = value
	}
	return out
}

// defaults is Default as a layer.
func defaults() layer {
	l := newLayer()
	c := Default()
	collect(reflect.ValueOf(c), root, func(s *setting, v any) { l.values[s.key] = v })
	pools := []any{}
	for _, p := range c.Pools {
		pools = append(pools, valuesOf(p, root.child("pools")))
	}
	l.values["pools"] = pools
	return l
}

// valuesOf is one element of a list as a map from name to value.
func valuesOf(element any, list *setting) map[string]any {
	m := map[string]any{}
	collect(reflect.ValueOf(element), list, func(s *setting, v any) { m[s.name] = v })
	return m
}

// collect calls f with every value of a struct described by s, lists excepted.
func collect(v reflect.Value, s *setting, f func(*setting, any)) {
	for _, c := range s.children {
		switch field := v.Field(c.index); c.kind {
		case kindGroup:
			collect(field, c, f)
		case kindList:
		default:
			f(c, field.Interface())
		}
	}
}

// readEnvironment takes the variables that begin with SNAKEPIT_ and belong to this process.
func readEnvironment(environ []string) (layer, error) {
	known := map[string]*setting{}
	for s := range root.leaves {
		if s.scalar() {
			known[s.environment()] = s
		}
	}
	l, errs := newLayer(), []error(nil)
	for _, entry := range environ {
		name, text, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(name, "SNAKEPIT_") || foreign(name) {
			continue
		}
		s := known[name]
		if s == nil {
			errs = append(errs, fmt.Errorf("environment: unknown variable %s%s", name, hint(name, slices.Collect(maps.Keys(known)))))
			continue
		}
		value, err := s.parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("environment: %s: %w", name, err))
			continue
		}
		l.values[s.key], l.origins[s.key] = value, "environment "+name
	}
	return l, errors.Join(errs...)
}

// foreign reports whether a variable with our prefix is meant for another program than the daemon.
func foreign(name string) bool {
	switch name {
	case FileVariable,
		"SNAKEPIT_SERVER", "SNAKEPIT_OUTPUT", // the client commands
		"SNAKEPIT_PYTHON",                                   // the interpreter, for whoever looks for one
		"SNAKEPIT_FD", "SNAKEPIT_WORKER", "SNAKEPIT_RUN_ID", // set for a worker, whose tools may start us
		"SNAKEPIT_CHAOS", "SNAKEPIT_SEED": // set for tests
		return true
	}
	// Kubernetes sets these in every pod for a service called snakepit.
	return name == "SNAKEPIT_PORT" || strings.HasPrefix(name, "SNAKEPIT_PORT_") || strings.HasPrefix(name, "SNAKEPIT_SERVICE_")
}

// lookup is os.Getenv over a list: the last entry wins.
func lookup(environ []string, name string) string {
	value := ""
	for _, entry := range environ {
		if text, ok := strings.CutPrefix(entry, name+"="); ok {
			value = text
		}
	}
	return value
}

// readFile reads and checks a YAML file; no path means no values.
func readFile(path string) (layer, error) {
	if path == "" {
		return newLayer(), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return newLayer(), fmt.Errorf("read configuration: %w", err)
	}
	return readYAML(path, text)
}
