package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/snakepit-go/snakepit/internal/jsontext"
)

// Limits of this package; those of the driver come on top.
const (
	MaxIDSize          = 512
	MaxKeySize         = 512
	MaxProgramSize     = 64 << 20
	MaxProgramNameSize = 256

	MaxLabels         = 32
	MaxLabelKeySize   = 64
	MaxLabelValueSize = 256
	// MaxLabelsSize bounds the sum of all keys and values, so that labels fit
	// into the head whatever else it holds.
	MaxLabelsSize = 2 << 10

	maxNodeSize        = 256
	maxProcessSize     = 64
	maxHintSize        = 256
	maxContentTypeSize = 256
)

// text checks what is stored as text: valid UTF-8 without NUL, of a size.
func text(field, value string, least, most int) error {
	switch {
	case len(value) < least:
		return &InvalidError{field, "must not be empty"}
	case len(value) > most:
		return &InvalidError{field, fmt.Sprintf("is %d bytes long; at most %d are allowed", len(value), most)}
	case !utf8.ValidString(value):
		return &InvalidError{field, "is not valid UTF-8"}
	case strings.IndexByte(value, 0) >= 0:
		return &InvalidError{field, "contains a NUL character"}
	}
	return nil
}

func checkID(id string) error { return text("session id", id, 1, MaxIDSize) }

func checkKey(key string) error { return text("variable key", key, 1, MaxKeySize) }

func checkProgramName(name string) error {
	return text("program name", name, 1, MaxProgramNameSize)
}

func checkContentType(contentType string) error {
	return text("content type", contentType, 0, maxContentTypeSize)
}

func checkOwner(o Owner) error {
	if err := text("owner process", o.Process, 1, maxProcessSize); err != nil {
		return err
	}
	return text("owner node", o.Node, 0, maxNodeSize)
}

func checkLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return &InvalidError{"labels", fmt.Sprintf("are %d; at most %d are allowed", len(labels), MaxLabels)}
	}
	size := 0
	for key, value := range labels {
		if err := text("label key", key, 1, MaxLabelKeySize); err != nil {
			return err
		}
		if err := text(fmt.Sprintf("label %q", key), value, 0, MaxLabelValueSize); err != nil {
			return err
		}
		size += len(key) + len(value)
	}
	if size > MaxLabelsSize {
		return tooLarge("labels", int64(size), MaxLabelsSize)
	}
	return nil
}

func checkMetadata(metadata map[string]string) error {
	for key, value := range metadata {
		if err := text("metadata key", key, 1, MaxKeySize); err != nil {
			return err
		}
		if !utf8.ValidString(value) {
			return &InvalidError{fmt.Sprintf("metadata %q", key), "is not valid UTF-8"}
		}
	}
	return nil
}

// ttlMillis is a time to live as it is stored. It is rounded up: a session
// never lives shorter than it was given.
func ttlMillis(ttl time.Duration) (int64, error) {
	if ttl < 0 || ttl > MaxTTL {
		return 0, &InvalidError{"TTL", fmt.Sprintf("is %v; it must be between 0 and 10 years", ttl)}
	}
	return int64((ttl + time.Millisecond - 1) / time.Millisecond), nil
}

func absoluteMillis(t time.Time, now int64) (int64, error) {
	if t.IsZero() {
		return 0, nil
	}
	ms := t.UnixMilli()
	if ms < now {
		return 0, &InvalidError{"absolute deadline", "is in the past"}
	}
	if t.Year() > 9999 {
		return 0, &InvalidError{"absolute deadline", "is later than the year 9999"}
	}
	return ms, nil
}

// compactJSON checks the value of a variable and removes insignificant space.
// A text that has none is returned as it is.
func compactJSON(key string, value json.RawMessage) (json.RawMessage, error) {
	compact, err := jsontext.Check(value)
	switch {
	case len(value) == 0:
		return nil, &InvalidError{fmt.Sprintf("variable %q", key), "is empty, which is no JSON text"}
	case err != nil:
		return nil, invalidVar(key, err)
	case compact:
		return value, nil
	}
	var buf bytes.Buffer
	buf.Grow(len(value))
	if err := json.Compact(&buf, value); err != nil {
		return nil, invalidVar(key, err) // cannot be
	}
	return buf.Bytes(), nil
}

// invalidVar says why a text cannot be a variable.
func invalidVar(key string, err error) error {
	reason := err.Error()
	if !jsontext.IsLimit(err) {
		reason = "is no JSON text: " + reason
	}
	return &InvalidError{fmt.Sprintf("variable %q", key), reason}
}
