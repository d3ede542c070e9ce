// Package value encodes the arguments of calls and decodes their results, in
// the same way for callers in this process and for those over the network.
//
// A value is JSON. Raw bytes travel beside it as attachments: {"$bytes": i}
// stands for attachment i. docs/protocol.md describes the other markers, which
// pass through unchanged.
package value

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/snakepit-go/snakepit/internal/jsontext"
)

// marker is how bytes are written in JSON.
type marker struct {
	Index *int `json:"$bytes"`
}

// Encode returns the JSON object of a call's arguments, nil if there are none,
// and the call's attachments: the given ones, followed by each []byte of a
// map[string]any. A json.RawMessage stays as it is; anything else is encoded as
// encoding/json does. Errors hold no part of the arguments: they may be secret.
func Encode(args any, attachments [][]byte) (json.RawMessage, [][]byte, error) {
	var text json.RawMessage
	var err error
	switch v := args.(type) {
	case nil:
	case json.RawMessage:
		text = v
	case map[string]any:
		attachments = slices.Clip(attachments) // so that the caller's array is not written to
		text, err = json.Marshal(separate(v, &attachments))
	default:
		text, err = json.Marshal(v)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("encode arguments: %w", err)
	}
	if len(text) == 0 {
		return nil, attachments, nil
	}
	if _, err := jsontext.Check(text); jsontext.IsLimit(err) {
		return nil, nil, fmt.Errorf("what was given as arguments %w", err)
	} else if err != nil {
		return nil, nil, fmt.Errorf("encode arguments: not valid JSON: %w", err)
	}
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	switch trimmed[0] {
	case 'n': // null
		return nil, attachments, nil
	case '{':
		return text, attachments, nil
	}
	return nil, nil, errors.New("arguments must be a JSON object")
}

// separate returns v with a marker in place of each []byte. What holds none is
// returned as it is.
func separate(v any, attachments *[][]byte) any {
	switch v := v.(type) {
	case []byte:
		*attachments = append(*attachments, v)
		return marker{Index: new(len(*attachments) - 1)}
	case map[string]any:
		if !holdsBytes(v) {
			return v
		}
		separated := maps.Clone(v)
		for key, member := range separated {
			separated[key] = separate(member, attachments)
		}
		return separated
	case []any:
		if !holdsBytes(v) {
			return v
		}
		separated := make([]any, len(v))
		for i, element := range v {
			separated[i] = separate(element, attachments)
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
		for _, member := range v {
			if holdsBytes(member) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, holdsBytes)
	}
	return false
}

// Decode decodes a result as encoding/json does.
func Decode(text json.RawMessage, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("decode result: %w", err)
	}
	return nil
}

// Bytes returns the attachment that a result consists of, if it is one.
func Bytes(text json.RawMessage, attachments [][]byte) ([]byte, bool) {
	var m marker
	if json.Unmarshal(text, &m) != nil || m.Index == nil || *m.Index < 0 || *m.Index >= len(attachments) {
		return nil, false
	}
	return attachments[*m.Index], true
}
