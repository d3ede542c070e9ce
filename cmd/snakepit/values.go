package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// readJSON reads a JSON value that was given on the command line: the text itself, "-" for standard input, or "@" and
// the name of a file. An empty text is no value.
func readJSON(text string, stdin io.Reader) (json.RawMessage, error) {
	var value []byte
	var err error
	switch {
	case text == "":
		return nil, nil
	case text == "-":
		if value, err = io.ReadAll(stdin); err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
	case text[0] == '@':
		if value, err = os.ReadFile(text[1:]); err != nil {
			return nil, usageError{err}
		}
	default:
		value = []byte(text)
	}
	value = bytes.TrimSpace(value)
	if !json.Valid(value) {
		return nil, usagef("%s is not JSON%s", excerpt(value), adviceForJSON(value))
	}
	return value, nil
}

// adviceForJSON helps with the usual mistake: the shell has removed the quotes.
func adviceForJSON(value []byte) string {
	if len(value) > 0 && !bytes.ContainsAny(value, `"{[`) {
		return `; a text needs its quotes: '"` + string(value) + `"'`
	}
	return ""
}

func excerpt(value []byte) string {
	const most = 60
	if len(value) > most {
		return quote(string(value[:most])) + "..."
	}
	return quote(string(value))
}

// readObject is readJSON for an object, taken apart.
func readObject(text string, stdin io.Reader) (map[string]json.RawMessage, error) {
	value, err := readJSON(text, stdin)
	if err != nil || value == nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(value, &object); err != nil || object == nil {
		return nil, usagef("%s is not a JSON object", excerpt(value))
	}
	return object, nil
}

// readAssignments reads key=JSON arguments.
func readAssignments(args []string, stdin io.Reader) (map[string]json.RawMessage, error) {
	values := make(map[string]json.RawMessage, len(args))
	for _, arg := range args {
		key, text, ok := strings.Cut(arg, "=")
		if !ok || key == "" || text == "" {
			return nil, usagef("%q is not key=JSON", arg)
		}
		if _, twice := values[key]; twice {
			return nil, usagef("%q is given twice", key)
		}
		value, err := readJSON(text, stdin)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		values[key] = value
	}
	return values, nil
}

// pairs is a flag of the form key=text that can be repeated.
type pairs map[string]string

func (p *pairs) String() string { return "" }

// Set adds one pair.
func (p *pairs) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return fmt.Errorf("%q is not key=value", text)
	}
	if *p == nil {
		*p = make(pairs)
	}
	(*p)[key] = value
	return nil
}

// Type is what stands behind the flag in help texts.
func (p *pairs) Type() string { return "KEY=VALUE" }

// inlineBytes returns a value in which every {"$bytes": i} holds its bytes as base64, so that it is complete by itself.
func inlineBytes(value json.RawMessage, attachments [][]byte) (json.RawMessage, error) {
	return replaceBytes(value, func(of any) (any, bool) {
		number, _ := of.(json.Number)
		i, err := strconv.Atoi(string(number))
		if err != nil || i < 0 || i >= len(attachments) {
			return nil, false
		}
		return attachments[i], true // which encoding/json writes as base64
	})
}

// attachBytes is the reverse of inlineBytes: it returns a value in which every {"$bytes": "base64"} is the number of an
// attachment, and the attachments.
func attachBytes(value json.RawMessage) (_ json.RawMessage, attachments [][]byte, err error) {
	if !bytes.Contains(value, []byte(`"$bytes"`)) {
		return value, nil, nil // as it was typed
	}
	var fault error
	value, err = replaceBytes(value, func(of any) (any, bool) {
		text, is := of.(string)
		if !is {
			return nil, false
		}
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			fault = usagef(`%s of {"$bytes": ...} is not base64: %v`, excerpt([]byte(text)), err)
			return nil, false
		}
		attachments = append(attachments, content)
		return len(attachments) - 1, true
	})
	return value, attachments, cmp.Or(fault, err)
}

// replaceBytes replaces what each marker {"$bytes": ...} in a value has, if replacement knows something for it.
func replaceBytes(value json.RawMessage, replacement func(of any) (any, bool)) (json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber() // numbers of any size stay exact
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(replaced(v, replacement))
	return bytes.TrimSpace(text.Bytes()), err
}

func replaced(v any, replacement func(of any) (any, bool)) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = replaced(v[i], replacement)
		}
	case map[string]any:
		if of, ok := v["$bytes"]; ok && len(v) == 1 {
			if by, ok := replacement(of); ok {
				return map[string]any{"$bytes": by}
			}
		}
		members := v
		if plain, ok := v["$object"].(map[string]any); ok && len(v) == 1 {
			members = plain // itself no marker, whatever it looks like
		}
		for key, member := range members {
			members[key] = replaced(member, replacement)
		}
	}
	return v
}
