package config

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes c as YAML that Load reads back; a comment on each line says where the value came from.
func (c Config) Print(w io.Writer) error {
	doc := build(reflect.ValueOf(c), root, "", func(line *yaml.Node, _ *setting, key string) {
		line.LineComment = c.Origin(key)
	})
	return encode(w, doc)
}

// Reference writes the default configuration as YAML in which every setting is explained.
func Reference(w io.Writer) error {
	doc := build(reflect.ValueOf(Default()), root, "", nil)
	annotate(doc, root)
	var text bytes.Buffer
	if err := encode(&text, doc); err != nil {
		return err
	}
	_, err := w.Write(spread(text.Bytes()))
	return err
}

// spread puts an empty line before the comment of each top-level setting.
func spread(text []byte) []byte {
	var out []byte
	comment := true // no empty line at the start
	for line := range bytes.Lines(text) {
		if starts := line[0] == '#'; starts != comment {
			if starts {
				out = append(out, '\n')
			}
			comment = starts
		}
		out = append(out, line...)
	}
	return out
}

// build turns a struct into a mapping node. visit, if not nil, is called with the value node of each setting that holds
// one value.
func build(v reflect.Value, s *setting, key string, visit func(line *yaml.Node, s *setting, key string)) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, c := range s.children {
		field, full := v.Field(c.index), join(key, c.name)
		var value *yaml.Node
		switch c.kind {
		case kindGroup:
			value = build(field, c, full, visit)
		case kindList:
			value = &yaml.Node{Kind: yaml.SequenceNode}
			for i := range field.Len() {
				value.Content = append(value.Content, build(field.Index(i), c, fmt.Sprintf("%s[%d]", full, i), visit))
			}
		default:
			value = leafNode(c, field.Interface())
			if visit != nil {
				visit(value, c, full)
			}
		}
		m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: c.name}, value)
	}
	return m
}

func leafNode(s *setting, v any) *yaml.Node {
	switch s.kind {
	case kindDuration:
		v = format(v)
	case kindSize:
		size := v.(Size)
		if v = size.String(); size%KiB != 0 || size == 0 {
			v = int64(size)
		}
	}
	n := new(yaml.Node)
	if err := n.Encode(v); err != nil {
		panic(fmt.Sprintf("config: %s: %v", s.key, err)) // describe lets no type in that YAML cannot hold
	}
	if s.kind == kindTexts || s.kind == kindTextMap {
		n.Style = yaml.FlowStyle
	}
	return n
}

// annotate puts the explanation of each setting above it.
func annotate(m *yaml.Node, s *setting) {
	for i, c := range s.children {
		name, value := m.Content[2*i], m.Content[2*i+1]
		comment := c.doc
		if choices := c.choices(); len(choices) > 0 {
			comment += " One of: " + strings.Join(choices, ", ") + "."
		}
		if c.scalar() && !strings.Contains(c.key, "[]") {
			comment += "\n" + c.environment()
			if f := flagOf(c); f != "" {
				comment += ", --" + f
			}
		} else if f := flagOf(c); f != "" {
			comment += "\n--" + f + " (first pool)"
		}
		name.HeadComment = wrap(comment, 100)
		switch c.kind {
		case kindGroup:
			annotate(value, c)
		case kindList:
			for _, element := range value.Content {
				annotate(element, c)
			}
		}
	}
}

func flagOf(s *setting) string {
	for _, f := range Flags() {
		if flagSetting(f.Key) == s {
			return f.Name
		}
	}
	return ""
}

// wrap breaks lines at spaces so that none is longer than width.
func wrap(text string, width int) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		for len(line) > width {
			cut := strings.LastIndexByte(line[:width+1], ' ')
			if cut <= 0 {
				break
			}
			out, line = append(out, line[:cut]), line[cut+1:]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func encode(w io.Writer, doc *yaml.Node) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return enc.Close()
}
