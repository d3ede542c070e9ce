package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// reader walks the nodes of one YAML file beside the tree of settings. It keeps going after an error, to report all.
type reader struct {
	layer
	path string
	errs []error
}

func readYAML(path string, text []byte) (layer, error) {
	r := &reader{layer: newLayer(), path: filepath.Base(path)}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // an empty file is an empty layer
		return r.layer, nil
	case err != nil:
		return r.layer, fmt.Errorf("%s: %w", r.path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return r.layer, fmt.Errorf("%s: more than one YAML document; only one is read", r.path)
	}
	r.group(doc.Content[0], root, "", "", r.values)
	return r.layer, errors.Join(r.errs...)
}

// group reads a mapping into values. Keys are known to values without prefix (list elements are maps of their own)
// and to origins and messages with it.
func (r *reader) group(n *yaml.Node, s *setting, prefix, key string, values map[string]any) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.reject(n, prefix+key, s.mismatch(describeNode(n)))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], resolve(n.Content[i+1])
		full := join(key, name.Value)
		if line, dup := seen[name.Value]; dup {
			r.reject(name, prefix+full, fmt.Errorf("given twice, first in line %d", line))
			continue
		}
		seen[name.Value] = name.Line
		c := s.child(name.Value)
		if c == nil {
			r.errs = append(r.errs, fmt.Errorf("%s: unknown key %s%s", r.at(name), prefix+full, hintChild(name.Value, s)))
			continue
		}
		switch {
		case c.kind == kindGroup:
			r.group(value, c, prefix, full, values)
		case isNull(value): // "data:" with nothing after it leaves the default
		case c.kind == kindList:
			values[full] = r.list(value, c)
			r.origins[full] = r.at(name)
		default:
			v, err := leaf(value, c)
			if err != nil {
				r.reject(value, prefix+full, err)
				continue
			}
			values[full] = v
			r.origins[prefix+full] = r.at(name)
		}
	}
}

// list reads the elements of the pools, each filled up with the defaults.
func (r *reader) list(n *yaml.Node, s *setting) []any {
	elements := []any{}
	if n.Kind != yaml.SequenceNode {
		r.reject(n, s.key, s.mismatch(describeNode(n)))
		return elements
	}
	for i, e := range n.Content {
		values := valuesOf(DefaultPool(), s)
		if i > 0 {
			values["name"] = "" // only the first may go by the default name
		}
		r.group(e, s, poolKey(i)+".", "", values)
		elements = append(elements, values)
	}
	return elements
}

// leaf reads the value of one setting. Texts, numbers and truth values are told apart as YAML does.
func leaf(n *yaml.Node, s *setting) (any, error) {
	switch s.kind {
	case kindTexts:
		list := []string{}
		if n.Kind != yaml.SequenceNode {
			return nil, s.mismatch(describeNode(n))
		}
		for _, e := range n.Content {
			text, err := plainText(e)
			if err != nil {
				return nil, err
			}
			list = append(list, text)
		}
		return list, nil
	case kindTextMap:
		m := map[string]string{}
		if n.Kind != yaml.MappingNode {
			return nil, s.mismatch(describeNode(n))
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			text, err := plainText(n.Content[i+1])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", n.Content[i].Value, err)
			}
			m[n.Content[i].Value] = text
		}
		return m, nil
	}
	if n.Kind != yaml.ScalarNode {
		return nil, s.mismatch(describeNode(n))
	}
	tag := n.ShortTag()
	switch s.kind {
	case kindText:
		text, err := plainText(n)
		if err != nil {
			return nil, err
		}
		return text, s.allows(text)
	case kindBool:
		if tag != "!!bool" {
			return nil, s.mismatch(describeNode(n))
		}
	case kindInt:
		if tag != "!!int" {
			return nil, s.mismatch(describeNode(n))
		}
		var v int // as YAML writes it: 0x10, 1_000
		if err := n.Decode(&v); err != nil {
			return nil, s.mismatch(describeNode(n))
		}
		return v, nil
	case kindNumber:
		if tag != "!!int" && tag != "!!float" {
			return nil, s.mismatch(describeNode(n))
		}
	}
	return s.parse(n.Value)
}

// plainText takes a text and nothing that only looks like one: a version 3.10 would arrive as 3.1 from other tools.
func plainText(n *yaml.Node) (string, error) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("expected text, got %s", describeNode(n))
	}
	if tag := n.ShortTag(); tag != "!!str" {
		return "", fmt.Errorf("expected text, got %s: put it in quotes if it is meant as text", n.Value)
	}
	return n.Value, nil
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return strconv.Quote(n.Value)
	}
}

func (r *reader) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.path, n.Line) }

func (r *reader) reject(n *yaml.Node, key string, err error) {
	if key == "" {
		key = "the file"
	}
	r.errs = append(r.errs, fmt.Errorf("%s: %s: %w", r.at(n), key, err))
}
