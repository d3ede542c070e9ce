package jsontext

import (
	"errors"
	"fmt"
)

// limits bound what a text asks of those who read it.
type limits struct {
	// depth is how deeply arrays and objects may be nested.
	depth int
	// number is the length of the longest number in characters. If it is not
	// zero, numbers with a fraction or an exponent must be in the range of a
	// float, too.
	number int
	// unicode says that texts must be valid Unicode: escaped surrogates come in
	// pairs.
	unicode bool
}

// The limits of what is kept in a session or sent to a worker.
//
// Python's json reads and writes by recursion, about two frames a level where
// a value holds dates or other special ones, and stops at 1000 frames, those of
// the user's own code included: 200 levels leave it more than half. Python
// refuses to convert integers of more than 4300 digits in either direction,
// because that takes quadratic time; what is longer is no number people count
// with, and as a text it can have any length.
const (
	MaxDepth  = 200
	MaxNumber = 4300
)

// Half of a surrogate pair is no text: Python cannot encode it again, and Go
// replaces it, so that two names or arguments would become one.
var kept = limits{depth: MaxDepth, number: MaxNumber, unicode: true}

// decoder are those of encoding/json.
var decoder = limits{depth: 10_000}

// LimitError says which limit a text exceeds.
type LimitError struct{ Reason string }

func (e *LimitError) Error() string { return e.Reason }

// exceed notes that a limit is exceeded at the present position.
func (s *Scanner) exceed(what string) {
	if s.err == nil {
		s.err = &LimitError{fmt.Sprintf("%s (at byte %d)", what, s.pos)}
	}
	s.pos = len(s.text)
}

// Check says why a text is not one JSON value in UTF-8 within the limits
// of what is kept, or returns nil, and whether the text is free of space between
// its tokens. The error is a *LimitError if the value is JSON. No error holds a
// part of the text: it may be secret.
func Check(text []byte) (compact bool, err error) {
	s := Scanner{text: text, limits: kept}
	s.Value()
	if err := s.End(); err != nil {
		return false, err
	}
	return !s.spaced, nil
}

// CheckObject is Check for an object.
func CheckObject(text []byte) error {
	s := Scanner{text: text, limits: kept}
	s.Object(func([]byte) { s.Value() })
	return s.End()
}

// CheckMembers is Check for each member of an object, which is itself no value
// but a table of them. With an error it says which member is at fault, if it is
// one.
func CheckMembers(text []byte) (key string, err error) {
	s := Scanner{text: text, limits: kept, depth: -1}
	var raw []byte
	s.Object(func(k []byte) {
		s.Value()
		if s.err != nil && raw == nil {
			raw = k
		}
	})
	if err := s.End(); err != nil {
		named := NewScanner(nil)
		return named.Key(raw), err
	}
	return "", nil
}

// Valid says why a text is not one JSON value in UTF-8, whatever its size, or
// returns nil.
func Valid(text []byte) error {
	s := NewScanner(text)
	s.Value()
	return s.End()
}

// IsLimit reports whether err says that a limit is exceeded, as opposed to a
// text that is no JSON.
func IsLimit(err error) bool {
	_, ok := errors.AsType[*LimitError](err)
	return ok
}
