package snakepit

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

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
}

// Chunk is one value of a stream.
type Chunk struct {
	Value       json.RawMessage
	Attachments [][]byte
}

// Decode decodes the value as encoding/json does.
func (r *Result) Decode(v any) error { return decodeValue(r.Value, v) }

// Bytes returns the value of a tool that returned bytes.
func (r *Result) Bytes() ([]byte, bool) { return bytesValue(r.Value, r.Attachments) }

// Decode decodes the value as encoding/json does.
func (c *Chunk) Decode(v any) error { return decodeValue(c.Value, v) }

// Bytes returns the value of a chunk of bytes.
func (c *Chunk) Bytes() ([]byte, bool) { return bytesValue(c.Value, c.Attachments) }

func decodeValue(value json.RawMessage, v any) error {
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("decode result: %w", err)
	}
	return nil
}

// bytesMarker is how a value of bytes is written in JSON.
type bytesMarker struct {
	Index *int `json:"$bytes"`
}

func bytesValue(value json.RawMessage, attachments [][]byte) ([]byte, bool) {
	var m bytesMarker
	if json.Unmarshal(value, &m) != nil || m.Index == nil || *m.Index < 0 || *m.Index >= len(attachments) {
		return nil, false
	}
	return attachments[*m.Index], true
}

// encodeArgs returns the JSON object of the arguments, with raw bytes apart.
func encodeArgs(args any) (json.RawMessage, [][]byte, error) {
	var attachments [][]byte
	switch v := args.(type) {
	case nil:
		return nil, nil, nil
	case json.RawMessage:
		if !json.Valid(v) {
			return nil, nil, fmt.Errorf("%w: arguments are not valid JSON", session.ErrInvalid)
		}
		return v, nil, nil
	case Args:
		args = separateBytes(v, &attachments)
	}
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: encode arguments: %w", session.ErrInvalid, err)
	}
	if encoded[0] != '{' {
		return nil, nil, errors.Join(session.ErrInvalid, fmt.Errorf("arguments must be a JSON object, not %T", args))
	}
	return encoded, attachments, nil
}

// separateBytes returns v with a marker in place of each []byte. What holds
// none is returned as it is.
func separateBytes(v any, attachments *[][]byte) any {
	switch v := v.(type) {
	case []byte:
		index := len(*attachments)
		*attachments = append(*attachments, v)
		return bytesMarker{Index: &index}
	case map[string]any:
		if !holdsBytes(v) {
			return v
		}
		separated := maps.Clone(v)
		for key, value := range separated {
			separated[key] = separateBytes(value, attachments)
		}
		return separated
	case []any:
		if !holdsBytes(v) {
			return v
		}
		separated := make([]any, len(v))
		for i, value := range v {
			separated[i] = separateBytes(value, attachments)
		}
		return separated
	}
	return v
}

func holdsBytes(v any) bool {
	switch v := v.(type) {
	case []byte:
		return true
	case map[string]any:
		for _, value := range v {
			if holdsBytes(value) {
				return true
			}
		}
	case []any:
		for _, value := range v {
			if holdsBytes(value) {
				return true
			}
		}
	}
	return false
}
