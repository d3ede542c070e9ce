// Package correlation carries the id that marks everything belonging to one
// request: from the caller's header through log records to Python and back.
//
// It keeps no state. An id is text for logs and headers, never a key.
package correlation

import (
	"context"
	"crypto/rand"
)

// maxLength bounds what is accepted from outside.
const maxLength = 128

type key struct{}

// NewContext returns a context that carries id.
func NewContext(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, key{}, id)
}

// FromContext returns the id that ctx carries, or "".
func FromContext(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// NewID returns a random id.
func NewID() string { return rand.Text() }

// Valid reports whether an id from outside may be used: 1 to 128 printable
// ASCII characters without spaces, so that it can neither break a log line nor
// a header.
func Valid(id string) bool {
	if id == "" || len(id) > maxLength {
		return false
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
