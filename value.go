package snakepit

import (
	"encoding/json"
	"fmt"

	"github.com/snakepit-go/snakepit/internal/value"
	"github.com/snakepit-go/snakepit/session"
)

// Args are the arguments of a call by name. A []byte anywhere in Args, nested
// Args, map[string]any or []any travels raw; other values are encoded as
// encoding/json does.
type Args = map[string]any

// Result is what a tool returned.
type Result struct {
	// Value is JSON. Where JSON lacks a value, docs/protocol.md says how it is
	// written; {"$bytes": i} stands for Attachments[i].
	Value       json.RawMessage
	Attachments [][]byte
	// Worker is the id of the worker that ran the call.
	Worker string
	// StateVersion is the session's state version after the call, 0 without a
	// session.
	StateVersion uint64
	// Position, given to a read, makes it include what this call wrote.
	Position string
	// Overwritten are the variables of the session that the call set or unset
	// although another write had changed them since the call got them. The
	// values of that write are lost.
	Overwritten []string
	// Repeated says that a call of this id had been committed before: this is
	// its answer, and the tool did not run again. StateVersion is the
	// session's now.
	Repeated bool
}

// Chunk is one value of a stream.
type Chunk struct {
	Value       json.RawMessage
	Attachments [][]byte
}

// Decode decodes the value as encoding/json does.
func (r *Result) Decode(v any) error { return value.Decode(r.Value, v) }

// Bytes returns the value of a tool that returned bytes.
func (r *Result) Bytes() ([]byte, bool) { return value.Bytes(r.Value, r.Attachments) }

// Decode decodes the value as encoding/json does.
func (c *Chunk) Decode(v any) error { return value.Decode(c.Value, v) }

// Bytes returns the value of a chunk of bytes.
func (c *Chunk) Bytes() ([]byte, bool) { return value.Bytes(c.Value, c.Attachments) }

// encodeArgs returns the arguments as the worker takes them.
func encodeArgs(args any, attachments [][]byte) (json.RawMessage, [][]byte, error) {
	text, attachments, err := value.Encode(args, attachments)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", session.ErrInvalid, err)
	}
	return text, attachments, nil
}
