package server

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
)

// rewrite applies change to the value of every json_text field in the JSON of a
// message, drops the space between tokens, and appends it all to dst. The text
// must be valid JSON.
func rewrite(dst, text []byte, md protoreflect.MessageDescriptor, change func(dst, value []byte) ([]byte, error)) ([]byte, error) {
	r := rewriter{src: text, dst: dst, change: change}
	if err := r.message(md); err != nil {
		return nil, err
	}
	return r.dst, nil
}

// rewriter passes once over a valid JSON text from left to right, led by the
// descriptor of the message that it stands for. It descends as deep as messages
// are nested, not as values are.
type rewriter struct {
	src    []byte
	pos    int
	dst    []byte
	change func(dst, value []byte) ([]byte, error)
	// path leads to the member at hand, for errors.
	path []string
}

// message copies an object that stands for a message. What is no object is
// copied as it is: protojson knows what to think of it.
func (r *rewriter) message(md protoreflect.MessageDescriptor) error {
	return r.object(func(name string) error {
		fd := md.Fields().ByJSONName(name)
		if fd == nil {
			fd = md.Fields().ByTextName(name)
		}
		if fd == nil {
			return fmt.Errorf("there is no such field; %s has %s", md.Name(), fieldNames(md))
		}
		return r.field(fd)
	})
}

func (r *rewriter) field(fd protoreflect.FieldDescriptor) error {
	md := fd.Message()
	if fd.IsMap() {
		md = fd.MapValue().Message()
	}
	value := func() error {
		switch {
		case isText(fd): // of a map of bytes, its values
			var err error
			r.dst, err = r.change(r.dst, r.next())
			return err
		case md != nil && md.ParentFile().Package() != "google.protobuf":
			return r.message(md)
		}
		// The JSON of Google's messages (timestamps, durations) is not that of
		// their fields.
		r.copyValue()
		return nil
	}
	switch {
	case fd.IsMap():
		return r.object(func(string) error { return value() })
	case fd.IsList():
		return r.array(value)
	}
	return value()
}

func isText(fd protoreflect.FieldDescriptor) bool {
	return proto.GetExtension(fd.Options(), snakepitv1.E_JsonText).(bool)
}

// object copies an object and calls member for the value of each member; other
// values are copied as they are.
func (r *rewriter) object(member func(name string) error) error {
	if !r.open('{') {
		r.copyValue()
		return nil
	}
	for !r.closed('}') {
		key := r.next()
		r.dst = append(r.dst, key...)
		r.token() // the colon
		name := unquote(key)
		r.path = append(r.path, name)
		if err := member(name); err != nil {
			return r.in(err)
		}
		r.path = r.path[:len(r.path)-1]
	}
	return nil
}

// array copies an array and calls element for each of its values.
func (r *rewriter) array(element func() error) error {
	if !r.open('[') {
		r.copyValue()
		return nil
	}
	for !r.closed(']') {
		if err := element(); err != nil {
			return r.in(err)
		}
	}
	return nil
}

// open copies the given bracket if it comes next.
func (r *rewriter) open(bracket byte) bool {
	r.space()
	if r.src[r.pos] != bracket {
		return false
	}
	r.token()
	return true
}

// closed copies the given bracket and returns true if it comes next, and copies
// the comma before the next member otherwise.
func (r *rewriter) closed(bracket byte) bool {
	r.space()
	switch r.src[r.pos] {
	case bracket:
		r.token()
		return true
	case ',':
		r.token()
	}
	return false
}

// token copies one punctuation mark.
func (r *rewriter) token() {
	r.space()
	r.dst = append(r.dst, r.src[r.pos])
	r.pos++
}

func (r *rewriter) space() {
	for r.pos < len(r.src) && isSpace(r.src[r.pos]) {
		r.pos++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// copyValue copies the next value without the space in it.
func (r *rewriter) copyValue() {
	value := r.next()
	for i := 0; i < len(value); {
		n := 1
		if value[i] == '"' {
			n = stringLength(value[i:])
		}
		if !isSpace(value[i]) {
			r.dst = append(r.dst, value[i:i+n]...)
		}
		i += n
	}
}

// next returns the next value and goes behind it.
func (r *rewriter) next() []byte {
	r.space()
	start, depth := r.pos, 0
	for r.pos < len(r.src) {
		switch c := r.src[r.pos]; c {
		case '"':
			r.pos += stringLength(r.src[r.pos:])
		case '{', '[':
			depth++
			r.pos++
		case '}', ']':
			depth--
			r.pos++
		default:
			r.pos++
			if depth == 0 {
				// A number or a literal ends where something else begins.
				for r.pos < len(r.src) && !isSpace(r.src[r.pos]) && !strings.ContainsRune(",]}", rune(r.src[r.pos])) {
					r.pos++
				}
			}
		}
		if depth == 0 {
			break
		}
	}
	return r.src[start:r.pos]
}

// stringLength is the length of the string that s begins with, quotes included.
func stringLength(s []byte) int {
	for i := 1; ; i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

func unquote(key []byte) string {
	var name string
	_ = json.Unmarshal(key, &name) // it is a valid string
	return name
}

// pathError says where in a message the mistake is.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return fmt.Sprintf("field %q: %v", e.path, e.err) }
func (e *pathError) Unwrap() error { return e.err }

func (r *rewriter) in(err error) error {
	if _, placed := err.(*pathError); placed { //nolint:errorlint // only our own callers wrap it
		return err
	}
	return &pathError{strings.Join(r.path, "."), err}
}

func fieldNames(md protoreflect.MessageDescriptor) string {
	names := make([]string, md.Fields().Len())
	for i := range names {
		names[i] = md.Fields().Get(i).JSONName()
	}
	if len(names) == 0 {
		return "no fields"
	}
	return strings.Join(names, ", ")
}
