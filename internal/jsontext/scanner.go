// Package jsontext reads JSON texts in one pass, without a copy and without
// interpreting them, and says which texts may be kept or sent to workers.
//
// It is the only judge of JSON that enters a session or a call: variables,
// arguments and what workers answer are read by the same Scanner. It is
// stateless; a Scanner belongs to one goroutine.
package jsontext

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Scanner reads a JSON text in one pass, which checks it as strictly as
// json.Valid and yields the bytes of the values that are wanted. What it
// yields are slices of the text: nothing is copied, nothing is interpreted.
//
// The first error sticks: all methods after it do nothing.
type Scanner struct {
	text   []byte
	pos    int
	depth  int
	limits limits
	// spaced says that there was space between tokens.
	spaced bool
	err    error
}

// NewScanner returns a scanner of a text that is bound by nothing but the
// nesting that encoding/json reads.
func NewScanner(text []byte) Scanner { return Scanner{text: text, limits: decoder} }

// Pos is where the next token, or the space before it, begins.
func (s *Scanner) Pos() int { return s.pos }

// Since returns what was read from pos on.
func (s *Scanner) Since(pos int) []byte { return s.text[pos:s.pos:s.pos] }

// Err returns the first error.
func (s *Scanner) Err() error { return s.err }

// End checks that nothing follows, and returns the scanner's error.
func (s *Scanner) End() error {
	if s.err == nil && s.Peek() != 0 {
		s.Fail("unexpected data after the value")
	}
	if s.err == nil && !utf8.Valid(s.text) {
		s.err = errors.New("invalid UTF-8")
	}
	return s.err
}

// Fail notes what is wrong at the present position, unless something was before.
func (s *Scanner) Fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%s at byte %d", what, min(s.pos, len(s.text)))
	}
	s.pos = len(s.text)
}

// Peek skips white space and returns the next byte, 0 at the end.
func (s *Scanner) Peek() byte {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.spaced = true
			s.pos++
		case 0: // must not be taken for the end
			s.Fail("unexpected NUL")
		default:
			return c
		}
	}
	return 0
}

// Value skips a value and returns its bytes.
func (s *Scanner) Value() []byte {
	c := s.Peek()
	start := s.pos
	switch {
	case c == '"':
		s.RawString()
	case c == '{':
		s.Object(func([]byte) { s.Value() })
	case c == '[':
		s.Array(func() { s.Value() })
	case c == '-' || '0' <= c && c <= '9':
		s.number()
	case c == 't':
		s.literal("true")
	case c == 'f':
		s.literal("false")
	case c == 'n':
		s.literal("null")
	default:
		s.Fail("a value expected")
	}
	if s.err != nil {
		return nil
	}
	return s.text[start:s.pos:s.pos]
}

// Object reads an object. member is called for each key, as it stands in the
// text without its quotes, and must read the value.
func (s *Scanner) Object(member func(key []byte)) {
	if !s.open('{', "an object expected") {
		return
	}
	if s.Peek() == '}' {
		s.close()
		return
	}
	for s.err == nil {
		if s.Peek() != '"' {
			s.Fail("a key expected")
			return
		}
		key := s.RawString()
		if s.Peek() != ':' {
			s.Fail("a colon expected")
			return
		}
		s.pos++
		member(key)
		if !s.more('}', "a comma or the end of the object expected") {
			return
		}
	}
}

// Array reads an array. element is called for each element and must read it.
func (s *Scanner) Array(element func()) {
	if !s.open('[', "an array expected") {
		return
	}
	if s.Peek() == ']' {
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

func (s *Scanner) open(c byte, what string) bool {
	if s.Peek() != c {
		s.Fail(what)
		return false
	}
	if s.depth++; s.depth > s.limits.depth {
		s.exceed(fmt.Sprintf("is nested deeper than %d levels", s.limits.depth))
		return false
	}
	s.pos++
	return true
}

func (s *Scanner) close() {
	s.depth--
	s.pos++
}

// more reads what follows an element: a comma, or the end.
func (s *Scanner) more(end byte, what string) bool {
	switch s.Peek() {
	case ',':
		s.pos++
		return true
	case end:
		s.close()
	default:
		s.Fail(what)
	}
	return false
}

// RawString reads a string, whose quote is next, and returns what is between the
// quotes.
func (s *Scanner) RawString() []byte {
	s.pos++
	start := s.pos
	for {
		s.pos = skipPlain(s.text, s.pos)
		if s.pos >= len(s.text) {
			s.Fail("unexpected end of a string")
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
			s.Fail("control character in a string")
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
func (s *Scanner) escape() {
	rest := s.text[s.pos+1:]
	if len(rest) == 0 {
		s.Fail("unexpected end of a string")
		return
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
	case 'u':
		unit, ok := hexUnit(rest[1:])
		if !ok {
			s.Fail("four hexadecimal digits expected")
			return
		}
		if s.limits.unicode && utf16.IsSurrogate(unit) {
			s.pair(unit, rest[5:])
			return
		}
		s.pos += 6
	default:
		s.Fail("unknown escape sequence")
	}
}

// pair reads an escaped surrogate, which is to be the first of a pair; rest is
// what follows it.
func (s *Scanner) pair(first rune, rest []byte) {
	if len(rest) > 2 && rest[0] == '\\' && rest[1] == 'u' {
		if second, ok := hexUnit(rest[2:]); ok && utf16.DecodeRune(first, second) != utf8.RuneError {
			s.pos += 12
			return
		}
	}
	s.exceed("has a text that is not valid Unicode, half of a surrogate pair")
}

// hexUnit is the number that a text begins with, of four hexadecimal digits.
func hexUnit(text []byte) (unit rune, ok bool) {
	if len(text) < 4 {
		return 0, false
	}
	for _, c := range text[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		unit = unit<<4 | rune(c)
	}
	return unit, true
}

func (s *Scanner) number() {
	start := s.pos
	if s.text[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.text) && s.text[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return
	}
	whole := s.pos
	if s.pos < len(s.text) && s.text[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return
		}
	}
	exponent := 0 // its digits
	if s.pos < len(s.text) && s.text[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.text) && (s.text[s.pos] == '+' || s.text[s.pos] == '-') {
			s.pos++
		}
		from := s.pos
		if !s.digits() {
			return
		}
		exponent = s.pos - from
	}
	if s.limits.number > 0 {
		s.judge(start, s.pos > whole, exponent)
	}
}

// judge checks the number that begins at start against the limits. One with a
// fraction or an exponent becomes a float where it is read, an integer does not.
func (s *Scanner) judge(start int, float bool, exponent int) {
	switch size := s.pos - start; {
	case size > s.limits.number:
		s.pos = start
		s.exceed(fmt.Sprintf("has a number of %d characters, where %d are allowed", size, s.limits.number))
	case float && (exponent > 2 || size > 200):
		// Only such a number can be out of range.
		if _, err := strconv.ParseFloat(string(s.text[start:s.pos]), 64); err != nil {
			s.pos = start
			s.exceed("has a number beyond 1.8e308, the largest float")
		}
	}
}

func (s *Scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && '0' <= s.text[s.pos] && s.text[s.pos] <= '9' {
		s.pos++
	}
	if s.pos == start {
		s.Fail("a digit expected")
		return false
	}
	return true
}

func (s *Scanner) literal(want string) {
	if end := s.pos + len(want); end <= len(s.text) && string(s.text[s.pos:end]) == want {
		s.pos = end
		return
	}
	s.Fail("a value expected")
}

// Null reads a null, if that is what comes next.
func (s *Scanner) Null() bool {
	if s.Peek() != 'n' {
		return false
	}
	s.Value()
	return true
}

// Integer reads an integer; null is 0.
func (s *Scanner) Integer() int64 {
	if s.Null() {
		return 0
	}
	n, err := strconv.ParseInt(string(s.Value()), 10, 64)
	if err != nil {
		s.Fail("an integer expected")
	}
	return n
}

// Key returns a member's key as a string.
func (s *Scanner) Key(raw []byte) string {
	if skipPlain(raw, 0) == len(raw) {
		return string(raw)
	}
	var key string
	if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &key); err != nil {
		s.Fail("a key expected")
	}
	return key
}
