package session

import (
	"encoding/json"
	"time"
)

// Patch changes single keys and leaves all others as they are. A key that is
// both set and unset is set.
type Patch struct {
	// Set holds a JSON text for each variable to be set.
	Set   map[string]json.RawMessage
	Unset []string

	SetLabels     map[string]string
	UnsetLabels   []string
	SetMetadata   map[string]string
	UnsetMetadata []string

	// TTL, if not nil, is the new time to live.
	TTL *time.Duration
}

// Content is all that a caller can write of a session, for Put.
type Content struct {
	Vars     map[string]json.RawMessage
	Labels   map[string]string
	Metadata map[string]string
}
