package frames

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/snakepit-go/snakepit/worker"
)

// What a worker may say of itself. It is shown to people, kept for as long as
// the worker lives, and decides how many calls it is given.
const (
	maxCapacity   = 256
	maxTools      = 4096
	maxToolName   = 128       // bytes
	maxDoc        = 64 << 10  // bytes
	maxParameters = 256 << 10 // bytes
	maxLabel      = 512       // bytes of sdk and runtime
)

// check says which field of a hello is not acceptable, its value and the limit.
func (h *hello) check() error {
	if len(h.Protocol) != 2 || h.Protocol[0] < 0 || h.Protocol[0] > h.Protocol[1] {
		return fmt.Errorf("protocol is %v: the lowest and the highest version are expected", h.Protocol)
	}
	// Left out, it is 1.
	if h.Capacity < 0 || h.Capacity > maxCapacity {
		return fmt.Errorf("capacity is %d: 1 to %d calls at once are allowed", h.Capacity, maxCapacity)
	}
	if h.PID < 0 {
		return fmt.Errorf("pid is %d: the number of a process is expected", h.PID)
	}
	if err := label("sdk", h.SDK); err != nil {
		return err
	}
	if err := label("runtime", h.Runtime); err != nil {
		return err
	}
	if len(h.Tools) > maxTools {
		return fmt.Errorf("tools has %d entries: %d are allowed", len(h.Tools), maxTools)
	}
	names := make(map[string]bool, len(h.Tools))
	for i, t := range h.Tools {
		if err := checkTool(t); err != nil {
			return fmt.Errorf("tools[%d]: %w", i, err)
		}
		if names[t.Name] {
			return fmt.Errorf("tools[%d]: name %q stands twice", i, t.Name)
		}
		names[t.Name] = true
	}
	return nil
}

func checkTool(t worker.Tool) error {
	if len(t.Name) == 0 || len(t.Name) > maxToolName {
		return fmt.Errorf("name %.40q has %d bytes: 1 to %d are allowed", t.Name, len(t.Name), maxToolName)
	}
	for _, r := range t.Name {
		if r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return fmt.Errorf("name %q has %q: letters, digits and signs are allowed, no spaces", t.Name, r)
		}
	}
	if len(t.Doc) > maxDoc {
		return fmt.Errorf("doc of %q has %d bytes: %d are allowed", t.Name, len(t.Doc), maxDoc)
	}
	if len(t.Parameters) > maxParameters {
		return fmt.Errorf("parameters of %q have %d bytes: %d are allowed", t.Name, len(t.Parameters), maxParameters)
	}
	if p := bytes.TrimSpace(t.Parameters); len(p) > 0 && (p[0] != '{' || !json.Valid(p)) {
		return fmt.Errorf("parameters of %q are %.40q: a JSON Schema object is expected", t.Name, p)
	}
	if !t.OnConflict.Valid() {
		return fmt.Errorf("on_conflict of %q is %.40q: ignore, fail and retry are allowed", t.Name, t.OnConflict)
	}
	return nil
}

func label(field, text string) error {
	if len(text) > maxLabel {
		return fmt.Errorf("%s has %d bytes: %d are allowed", field, len(text), maxLabel)
	}
	return nil
}
