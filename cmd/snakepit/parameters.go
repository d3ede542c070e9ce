package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// parameters are the parameters of a tool, from the JSON Schema that it announces.
type parameters struct {
	root     schema
	required []string
	names    []string // in the order of the function
}

// schema is a JSON Schema, or a part of one. What is unknown in it is passed over: a worker in another language may
// announce anything.
type schema map[string]json.RawMessage

func readParameters(text json.RawMessage) (*parameters, error) {
	p := &parameters{root: schema{}}
	if len(text) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(text, &p.root); err != nil {
		return nil, fmt.Errorf("the schema of the parameters: %w", err)
	}
	p.required = field[[]string](p.root, "required")
	p.names = keys(p.root["properties"])
	return p, nil
}

// field decodes a member of a schema; the zero value if it has none of that type.
func field[T any](s schema, name string) (v T) {
	if err := json.Unmarshal(s[name], &v); err != nil {
		var none T
		return none
	}
	return v
}

// keys returns the names of a JSON object in their order.
func keys(object json.RawMessage) (names []string) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return names
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return names
		}
		names = append(names, name.(string))
	}
	return names
}

// of returns the schema of a parameter.
func (p *parameters) of(name string) schema {
	return field[map[string]schema](p.root, "properties")[name]
}

func (p *parameters) isRequired(name string) bool { return slices.Contains(p.required, name) }

// maxDepth bounds how deep descriptions and examples go; a schema may refer to itself.
const maxDepth = 6

// resolve follows references into the same schema.
func (p *parameters) resolve(s schema) schema {
	for range maxDepth {
		name, ok := strings.CutPrefix(field[string](s, "$ref"), "#/$defs/")
		if !ok {
			return s
		}
		s = field[map[string]schema](p.root, "$defs")[name]
	}
	return s
}

// marker returns what a schema of {"$bytes": ...} and the like stands for: "bytes".
func (p *parameters) marker(s schema) (string, bool) {
	names := keys(p.resolve(s)["properties"])
	if len(names) != 1 {
		return "", false
	}
	return strings.CutPrefix(names[0], "$")
}

// options are the alternatives of a schema: those that JSON has by itself first.
func (p *parameters) options(s schema) []schema {
	list := field[[]schema](s, "anyOf")
	if list == nil {
		list = field[[]schema](s, "oneOf")
	}
	rank := func(s schema) int {
		if _, is := p.marker(s); is {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b schema) int { return rank(a) - rank(b) })
	return list
}

// typeOf describes a schema for people: "integer", "array of string", "bytes".
func (p *parameters) typeOf(s schema, depth int) string {
	s = p.resolve(s)
	if choices := field[[]json.RawMessage](s, "enum"); choices != nil {
		texts := make([]string, len(choices))
		for i, c := range choices {
			texts[i] = string(c)
		}
		return strings.Join(texts, " | ")
	}
	if value, ok := s["const"]; ok {
		return string(value)
	}
	if options := p.options(s); options != nil {
		var texts []string
		for _, o := range options {
			text := p.typeOf(o, depth+1)
			if _, is := p.marker(o); is && text == "float" {
				continue // NaN and infinity, beside number
			}
			if !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
		}
		return strings.Join(texts, " | ")
	}
	if name, is := p.marker(s); is {
		return name
	}
	kind := field[string](s, "type")
	switch {
	case kind == "" && s["properties"] == nil:
		return "any"
	case depth >= maxDepth:
		return kind
	case kind == "array" && s["prefixItems"] != nil:
		var texts []string
		for _, item := range field[[]schema](s, "prefixItems") {
			texts = append(texts, p.typeOf(item, depth+1))
		}
		return "[" + strings.Join(texts, ", ") + "]"
	case kind == "array" && s["items"] != nil:
		return "array of " + p.typeOf(field[schema](s, "items"), depth+1)
	case s["properties"] != nil:
		return p.fields(s, depth)
	case kind == "object" && field[schema](s, "additionalProperties") != nil:
		return "object of " + p.typeOf(field[schema](s, "additionalProperties"), depth+1)
	case kind == "string" && s["format"] != nil:
		return field[string](s, "format")
	}
	return kind
}

func (p *parameters) fields(s schema, depth int) string {
	required := field[[]string](s, "required")
	members := field[map[string]schema](s, "properties")
	var texts []string
	for _, name := range keys(s["properties"]) {
		mark := ""
		if !slices.Contains(required, name) {
			mark = "?"
		}
		texts = append(texts, name+mark+": "+p.typeOf(members[name], depth+1))
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

// examples of texts by their format.
var formats = map[string]string{
	"date-time": "2026-01-31T12:30:00Z", "date": "2026-01-31", "time": "12:30:00", "duration": "PT90S",
	"uuid": "123e4567-e89b-12d3-a456-426614174000", "uri": "https://example.com",
}

// example is a value that fits a schema, as far as its types go. A marker of bytes is a number of an attachment, which
// attach gives.
func (p *parameters) example(name string, s schema, attach func(name string) int, depth int) any {
	s = p.resolve(s)
	for _, key := range []string{"examples", "enum"} {
		if values := field[[]json.RawMessage](s, key); len(values) > 0 {
			return values[0]
		}
	}
	for _, key := range []string{"default", "const"} {
		if value, ok := s[key]; ok {
			return value
		}
	}
	if options := p.options(s); len(options) > 0 {
		return p.example(name, options[0], attach, depth+1)
	}
	if marker, is := p.marker(s); is {
		inner := field[map[string]schema](s, "properties")["$"+marker]
		if marker == "bytes" {
			return map[string]any{"$bytes": attach(name)}
		}
		return map[string]any{"$" + marker: p.example(name, inner, attach, depth+1)}
	}
	if depth > maxDepth {
		return nil
	}
	switch field[string](s, "type") {
	case "integer":
		return max(1, field[int](s, "minimum"))
	case "number":
		return 1.5
	case "boolean":
		return true
	case "string":
		if text, ok := formats[field[string](s, "format")]; ok {
			return text
		}
		return name
	case "array":
		list := []any{}
		for _, item := range field[[]schema](s, "prefixItems") {
			list = append(list, p.example(name, item, attach, depth+1))
		}
		if items := field[schema](s, "items"); items != nil && len(list) == 0 {
			list = append(list, p.example(name, items, attach, depth+1))
		}
		return list
	case "object":
		object := make(map[string]any)
		members := field[map[string]schema](s, "properties")
		for _, name := range field[[]string](s, "required") {
			object[name] = p.example(name, members[name], attach, depth+1)
		}
		return object
	case "":
		return name // any value will do
	}
	return nil
}
