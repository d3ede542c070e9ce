package frames

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of values, as encoding/json does.
const maxDepth = 10_000

// scanner reads a JSON text in one pass, which checks it as strictly as
// json.Valid and yields the bytes of the values that are wanted. What it
// yields are slices of the text: nothing is copied, nothing is interpreted.
//
// The first error sticks: all methods after it do nothing.
type scanner struct {
	text  []byte
	pos   int
	depth int
	err   error
}

// validValue says why a text is not one JSON value in UTF-8, or returns nil.
func validValue(text []byte) error {
	s := scanner{text: text}
	s.value()
	return s.end()
}

// validObject is validValue for objects.
func validObject(text []byte) error {
	s := scanner{text: text}
	s.object(func([]byte) { s.value() })
	return s.end()
}

// end checks that nothing follows, and returns the scanner's error.
func (s *scanner) end() error {
	if s.err == nil && s.peek() != 0 {
		s.fail("unexpected data after the value")
	}
	if s.err == nil && !utf8.Valid(s.text) {
		s.err = fmt.Errorf("invalid UTF-8")
	}
	return s.err
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%s at byte %d", what, min(s.pos, len(s.text)))
	}
	s.pos = len(s.text)
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		case 0: // must not be taken for the end
			s.fail("unexpected NUL")
		default:
			return c
		}
	}
	return 0
}

// value skips a value and returns its bytes.
func (s *scanner) value() []byte {
	c := s.peek()
	start := s.pos
	switch {
	case c == '"':
		s.str()
	case c == '{':
		s.object(func([]byte) { s.value() })
	case c == '[':
		s.array(func() { s.value() })
	case c == '-' || '0' <= c && c <= '9':
		s.number()
	case c == 't':
		s.literal("true")
	case c == 'f':
		s.literal("false")
	case c == 'n':
		s.literal("null")
	default:
		s.fail("a value expected")
	}
	if s.err != nil {
		return nil
	}
	return s.text[start:s.pos:s.pos]
}

// object reads an object. member is called for each key, as it stands in the
// text without its quotes, and must read the value.
func (s *scanner) object(member func(key []byte)) {
	if !s.open('{', "an object expected") {
		return
	}
	if s.peek() == '}' {
		s.close()
		return
	}
	for s.err == nil {
		if s.peek() != '"' {
			s.fail("a key expected")
			return
		}
		key := s.str()
		if s.peek() != ':' {
			s.fail("a colon expected")
			return
		}
		s.pos++
		member(key)
		if !s.more('}', "a comma or the end of the object expected") {
			return
		}
	}
}

// array reads an array. element is called for each element and must read it.
func (s *scanner) array(element func()) {
	if !s.open('[', "an array expected") {
		return
	}
	if s.peek() == ']' {
		s.close()
		return
	}
	for s.err == nil {
		element()
		if !s.more(']', "a comma or the end of the array expected") {
			return
		}
	}
}

func (s *scanner) open(c byte, what string) bool {
	if s.peek() != c {
		s.fail(what)
		return false
	}
	if s.depth++; s.depth > maxDepth {
		s.fail("nested too deeply")
		return false
	}
	s.pos++
	return true
}

func (s *scanner) close() {
	s.depth--
	s.pos++
}

// more reads what follows an element: a comma, or the end.
func (s *scanner) more(end byte, what string) bool {
	switch s.peek() {
	case ',':
		s.pos++
		return true
	case end:
		s.close()
	default:
		s.fail(what)
	}
	return false
}

// str reads a string, whose quote is next, and returns what is between the
// quotes.
func (s *scanner) str() []byte {
	s.pos++
	start := s.pos
	for {
		s.pos = skipPlain(s.text, s.pos)
		if s.pos >= len(s.text) {
			s.fail("unexpected end of a string")
			return nil
		}
		switch c := s.text[s.pos]; {
		case c == '"':
			content := s.text[start:s.pos]
			s.pos++
			return content
		case c == '\\':
			s.escape()
		default:
			s.fail("control character in a string")
			return nil
		}
	}
}

// skipPlain returns the position of the next byte of a string that is special:
// a quote, a backslash, or a control character.
func skipPlain(text []byte, pos int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for pos+8 <= len(text) {
		x := binary.LittleEndian.Uint64(text[pos:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// The top bit of a byte is set where it is below 0x20, or zero. A byte
		// above such a one may be marked as well, which costs time only.
		if ((x-ones*0x20)&^x|(quote-ones)&^quote|(slash-ones)&^slash)&tops != 0 {
			break
		}
		pos += 8
	}
	for pos < len(text) && text[pos] >= 0x20 && text[pos] != '"' && text[pos] != '\\' {
		pos++
	}
	return pos
}

// escape reads an escape sequence, whose backslash is next.
func (s *scanner) escape() {
	rest := s.text[s.pos+1:]
	if len(rest) == 0 {
		s.fail("unexpected end of a string")
		return
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
	case 'u':
		for i := 1; i <= 4; i++ {
			if i >= len(rest) || !isHex(rest[i]) {
				s.fail("four hexadecimal digits expected")
				return
			}
		}
		s.pos += 6
	default:
		s.fail("unknown escape sequence")
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) number() {
	if s.text[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.text) && s.text[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return
	}
	if s.pos < len(s.text) && s.text[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return
		}
	}
	if s.pos < len(s.text) && s.text[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.text) && (s.text[s.pos] == '+' || s.text[s.pos] == '-') {
			s.pos++
		}
		s.digits()
	}
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && '0' <= s.text[s.pos] && s.text[s.pos] <= '9' {
		s.pos++
	}
	if s.pos == start {
		s.fail("a digit expected")
		return false
	}
	return true
}

func (s *scanner) literal(want string) {
	if end := s.pos + len(want); end <= len(s.text) && string(s.text[s.pos:end]) == want {
		s.pos = end
		return
	}
	s.fail("a value expected")
}

// null reads a null, if that is what comes next.
func (s *scanner) null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.value()
	return true
}

// integer reads an integer; null is 0.
func (s *scanner) integer() int64 {
	if s.null() {
		return 0
	}
	n, err := strconv.ParseInt(string(s.value()), 10, 64)
	if err != nil {
		s.fail("an integer expected")
	}
	return n
}

// key returns a member's key as a string.
func (s *scanner) key(raw []byte) string {
	if skipPlain(raw, 0) == len(raw) {
		return string(raw)
	}
	var key string
	if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &key); err != nil {
		s.fail("a key expected")
	}
	return key
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			encoded, err := json.Marshal(s)
			if err != nil {
				panic("encode a string: " + err.Error()) // cannot fail
			}
			return append(b, encoded...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
