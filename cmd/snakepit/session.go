package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

func newSession(e env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "session",
		Short: "Create, read, change and delete sessions",
	},
		newSessionCreate(e), newSessionGet(e), newSessionList(e), newSessionSet(e),
		newSessionTouch(e), newSessionDelete(e), newSessionPrograms(e),
	)
}

// sessionJSON is a session as commands print it: that of the client, with durations that can be read.
type sessionJSON struct {
	*client.Session
	TTL string `json:"ttl"`
}

func jsonOf(s *client.Session) sessionJSON { return sessionJSON{s, s.TTL.String()} }

// writeSession prints one session.
func writeSession(out io.Writer, o *output, s *client.Session) error {
	return o.write(out, jsonOf(s), func(t *table) { sessionRows(t, s) })
}

func sessionRows(t *table, s *client.Session) {
	t.row("id", s.ID)
	t.row("revision", s.Revision)
	t.row("created", moment(s.Created))
	t.row("last accessed", moment(s.LastAccessed))
	t.row("ttl", span(s.TTL))
	t.row("expires", moment(s.Deadline))
	if !s.AbsoluteDeadline.IsZero() {
		t.row("ends", moment(s.AbsoluteDeadline))
	}
	if s.Owner != "" {
		t.row("owner", s.Owner)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		t.row("label "+key, s.Labels[key])
	}
	for _, key := range slices.Sorted(maps.Keys(s.Metadata)) {
		t.row("metadata "+key, s.Metadata[key])
	}
	t.row("variables", size(int64(s.VarsBytes)))
	var vars map[string]json.RawMessage
	if json.Unmarshal(s.Vars, &vars) == nil { // what the server sent as an object is one
		for _, key := range slices.Sorted(maps.Keys(vars)) {
			t.row("  "+key, shorten(string(vars[key])))
		}
	}
	for _, p := range s.Programs {
		t.row("program "+p.Name, size(p.Size))
	}
}

// shorten keeps a value on its line; --output json shows all of it.
func shorten(s string) string {
	const most = 100
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}

func moment(t time.Time) string {
	return t.Local().Format(time.RFC3339)
}

// ttlFlag is a duration that can be absent.
type ttlFlag struct{ d *time.Duration }

func (f *ttlFlag) String() string {
	if f.d == nil {
		return ""
	}
	return f.d.String()
}

// Set takes the value of the flag.
func (f *ttlFlag) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	f.d = &d
	return nil
}

// Type is what stands behind the flag in help texts.
func (f *ttlFlag) Type() string { return "duration" }

// pairsText is a map for a column.
func pairsText(m map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s=%s", key, m[key]))
	}
	return strings.Join(list, ",")
}
