package session

import (
	"encoding/json"
	"maps"
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

// prepareVars checks and compacts the variables once, so that an update that is
// repeated does not do it again.
func prepareVars(vars map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	prepared := make(map[string]json.RawMessage, len(vars))
	for key, value := range vars {
		if err := checkKey(key); err != nil {
			return nil, err
		}
		compact, err := compactJSON(key, value)
		if err != nil {
			return nil, err
		}
		prepared[key] = compact
	}
	return prepared, nil
}

// patchVars applies checked variables in the order of their keys, so that the
// same patch always gives the same record.
func (d *Draft) patchVars(set map[string]json.RawMessage, unset []string) {
	for _, key := range unset {
		d.UnsetVar(key)
	}
	for _, key := range sortedKeys(set) {
		d.body.vars.put(key, set[key], false)
	}
}

func (d *Draft) patch(p Patch) {
	d.patchVars(p.Set, p.Unset)
	for _, key := range p.UnsetLabels {
		d.UnsetLabel(key)
	}
	for key, value := range p.SetLabels {
		d.SetLabel(key, value)
	}
	for _, key := range p.UnsetMetadata {
		d.UnsetMetadata(key)
	}
	for key, value := range p.SetMetadata {
		d.SetMetadata(key, value)
	}
	if p.TTL != nil {
		d.SetTTL(*p.TTL)
	}
}

// replace makes c the content, whose variables are checked.
func (d *Draft) replace(c Content) {
	if d.base != nil {
		for _, key := range d.base.VarKeys() {
			d.UnsetVar(key)
		}
	}
	d.patchVars(c.Vars, nil)
	d.replaceLabels(maps.Clone(c.Labels))
	d.replaceMetadata(maps.Clone(c.Metadata))
}
