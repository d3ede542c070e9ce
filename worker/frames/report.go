package frames

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"

	"github.com/snakepit-go/snakepit/worker"
)

// log passes a log record of the worker on.
func (c *conn) log(m *message) {
	var rec struct {
		Level   string                     `json:"level"`
		Logger  string                     `json:"logger"`
		Message string                     `json:"message"`
		Attrs   map[string]json.RawMessage `json:"attrs"`
	}
	if err := m.payload.into(&rec); err != nil {
		c.spec.Logger.Warn("a log record of the worker is unreadable", "error", err)
		return
	}
	level := slog.LevelInfo
	for _, l := range levels {
		if l.name == rec.Level {
			level = l.level
		}
	}
	ctx := context.Background()
	correlation, session := "", ""
	if r := c.find(m.payload.call); r != nil && r.call != nil {
		ctx, correlation, session = r.ctx, r.CorrelationID, r.sessionID()
	}
	if !c.spec.Logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 4+len(rec.Attrs))
	if rec.Logger != "" {
		attrs = append(attrs, slog.String("logger", rec.Logger))
	}
	if correlation != "" {
		attrs = append(attrs, slog.String("correlation_id", correlation))
	}
	if session != "" {
		attrs = append(attrs, slog.String("session", session))
	}
	for _, name := range slices.Sorted(maps.Keys(rec.Attrs)) {
		attrs = append(attrs, slog.Any(name, plain(rec.Attrs[name])))
	}
	c.spec.Logger.LogAttrs(ctx, level, rec.Message, attrs...)
}

// plain decodes a JSON value for people.
func plain(raw json.RawMessage) any {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return string(raw)
	}
	return v
}

// event passes telemetry of a tool on.
func (c *conn) event(m *message) {
	if c.spec.OnEvent == nil {
		return
	}
	var rec struct {
		Name         string             `json:"name"`
		Measurements map[string]float64 `json:"measurements"`
		Attrs        map[string]any     `json:"attrs"`
	}
	if err := m.payload.into(&rec); err != nil {
		c.spec.Logger.Warn("an event of the worker is unreadable", "error", err)
		return
	}
	e := worker.Event{Name: rec.Name, Measurements: rec.Measurements, Attrs: rec.Attrs}
	if r := c.find(m.payload.call); r != nil && r.call != nil {
		e.CorrelationID, e.Session = r.CorrelationID, r.sessionID()
	}
	c.spec.OnEvent(e)
}

func (cl *call) sessionID() string {
	if cl.Session == nil {
		return ""
	}
	return cl.Session.ID
}
