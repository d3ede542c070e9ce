package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// Bounds of an event. It goes to the log and to metrics whole, so it is small.
const (
	maxEventName   = 128
	maxEventFields = 32
)

// event passes on what a tool of the place's worker reports.
func (pl *place) event(e Event) {
	if err := e.check(); err != nil {
		pl.logger().Warn("an event is refused", "error", err, "session", e.Session, "correlation_id", e.CorrelationID)
		return
	}
	attrs := []slog.Attr{slog.String("event", e.Name)}
	if e.Session != "" {
		attrs = append(attrs, slog.String("session", e.Session))
	}
	if e.CorrelationID != "" {
		attrs = append(attrs, slog.String("correlation_id", e.CorrelationID))
	}
	attrs = append(attrs, group("measurements", e.Measurements), group("attrs", e.Attrs))
	pl.logger().LogAttrs(context.Background(), slog.LevelInfo, "event", attrs...)
	if f := pl.pool.opts.Observer.Event; f != nil {
		f(pl.pool.opts.Name, e)
	}
}

func (e Event) check() error {
	switch fields := len(e.Measurements) + len(e.Attrs); {
	case e.Name == "":
		return errors.New("it has no name")
	case len(e.Name) > maxEventName:
		return fmt.Errorf("its name has %d bytes, at most %d are allowed: %.40q", len(e.Name), maxEventName, e.Name)
	case fields > maxEventFields:
		return fmt.Errorf("%q has %d measurements and attributes, at most %d are allowed", e.Name, fields, maxEventFields)
	}
	return nil
}

// group makes an attribute of a map, in the order of its keys.
func group[V any](key string, m map[string]V) slog.Attr {
	attrs := make([]slog.Attr, 0, len(m))
	for name, value := range m {
		attrs = append(attrs, slog.Any(name, value))
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return cmp.Compare(a.Key, b.Key) })
	return slog.Attr{Key: key, Value: slog.GroupValue(attrs...)}
}
