package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is what a setting holds; it decides how text becomes a value.
type kind uint8

const (
	kindText kind = iota
	kindBool
	kindInt
	kindNumber
	kindDuration
	kindSize
	kindTexts   // []string
	kindTextMap // map[string]string
	kindGroup   // a struct
	kindList    // a list of structs
)

// expects describes a kind to the person who wrote something else.
var expects = [...]string{
	kindText:     "text",
	kindBool:     "true or false",
	kindInt:      "a whole number",
	kindNumber:   "a number",
	kindDuration: `a duration such as "10s" or "1h30m"`,
	kindSize:     `a size such as "256MiB"`,
	kindTexts:    "a list of texts",
	kindTextMap:  "a mapping of names to texts",
	kindGroup:    "a mapping",
	kindList:     "a list of mappings",
}

// setting is a node of the tree of everything that can be set, built once from the struct tags of Config.
type setting struct {
	name     string // within its parent: cache_bytes
	key      string // from the root: store.disk.cache_bytes; below a list with []: pools[].name
	kind     kind
	doc      string
	enum     []string
	index    int        // of the struct field
	children []*setting // of a group, or of one element of a list
}

var root = describe(reflect.TypeFor[Config](), "")

func describe(t reflect.Type, key string) *setting {
	s := &setting{key: key}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		s.kind = kindDuration
	case t == reflect.TypeFor[Size]():
		s.kind = kindSize
	case t == reflect.TypeFor[[]string]():
		s.kind = kindTexts
	case t == reflect.TypeFor[map[string]string]():
		s.kind = kindTextMap
	case t.Kind() == reflect.String:
		s.kind = kindText
	case t.Kind() == reflect.Bool:
		s.kind = kindBool
	case t.Kind() == reflect.Int:
		s.kind = kindInt
	case t.Kind() == reflect.Float64:
		s.kind = kindNumber
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		s.kind, s.children = kindList, describe(t.Elem(), key+"[]").children
	case t.Kind() == reflect.Struct:
		s.kind = kindGroup
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() {
				continue
			}
			name := f.Tag.Get("koanf")
			child := describe(f.Type, join(key, name))
			child.name, child.doc, child.index = name, f.Tag.Get("doc"), i
			if enum := f.Tag.Get("enum"); enum != "" {
				child.enum = strings.Split(enum, ",")
			}
			s.children = append(s.children, child)
		}
	default:
		panic(fmt.Sprintf("config: %s has type %v, which has no form in text", key, t))
	}
	return s
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func (s *setting) child(name string) *setting {
	for _, c := range s.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// leaves iterates over the settings that hold one value, in the order of the structs; lists are not entered.
func (s *setting) leaves(yield func(*setting) bool) { s.walk(yield) }

func (s *setting) walk(yield func(*setting) bool) bool {
	for _, c := range s.children {
		switch c.kind {
		case kindGroup:
			if !c.walk(yield) {
				return false
			}
		case kindList:
		default:
			if !yield(c) {
				return false
			}
		}
	}
	return true
}

// scalar reports whether one text can hold the value, so that the environment and flags can; a list stands there with
// commas between its texts.
func (s *setting) scalar() bool { return s.kind <= kindTexts }

// environment is the name of the setting there. It is derived from the key, never the key from it: cache_bytes has an
// underscore of its own.
func (s *setting) environment() string {
	return "SNAKEPIT_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// parse turns text into a value of the setting's kind. The error names the value and what was expected.
func (s *setting) parse(text string) (any, error) {
	var value any
	var err error
	switch s.kind {
	case kindText:
		value = text
	case kindBool:
		value, err = strconv.ParseBool(text)
	case kindInt:
		value, err = strconv.Atoi(text)
	case kindNumber:
		value, err = strconv.ParseFloat(text, 64)
	case kindDuration:
		value, err = time.ParseDuration(text)
	case kindSize:
		value, err = ParseSize(text)
	case kindTexts:
		list := []string{}
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		value = list
	default:
		err = fmt.Errorf("%s has no form in one text", s.key)
	}
	if err != nil {
		return nil, s.mismatch(strconv.Quote(text))
	}
	return value, s.allows(text)
}

// allows checks a text against the setting's list of allowed ones.
func (s *setting) allows(text string) error {
	if s.enum == nil || slices.Contains(s.enum, text) {
		return nil
	}
	return s.mismatch(strconv.Quote(text))
}

// mismatch is the error about a value that is not of the kind or not among the choices.
func (s *setting) mismatch(got string) error {
	expected := expects[s.kind]
	if s.enum != nil {
		expected = "one of " + strings.Join(s.choices(), ", ")
	}
	return fmt.Errorf("expected %s, got %s", expected, got)
}

// choices are the allowed texts that are worth naming: the empty one means "decide for me".
func (s *setting) choices() []string {
	return slices.DeleteFunc(slices.Clone(s.enum), func(e string) bool { return e == "" })
}

// format writes a value as YAML and the flags take it.
func format(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return formatDuration(v)
	case fmt.Stringer:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []string:
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}

// formatDuration drops the zero parts that time.Duration prints: 1h, not 1h0m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
