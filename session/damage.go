package session

import (
	"context"
	"log/slog"
	"sync"

	"github.com/snakepit-go/snakepit/session/driver"
)

// maxDamage is how many damaged things are remembered, so that each is logged
// once and not with every list.
const maxDamage = 1000

// damage remembers what was found damaged.
type damage struct {
	mu    sync.Mutex
	known map[string]struct{}
}

// log warns of something damaged, once.
func (d *damage) log(ctx context.Context, log *slog.Logger, what, message string, args ...any) {
	d.mu.Lock()
	_, known := d.known[what]
	if !known && len(d.known) < maxDamage {
		if d.known == nil {
			d.known = make(map[string]struct{})
		}
		d.known[what] = struct{}{}
	}
	d.mu.Unlock()
	if !known {
		log.WarnContext(ctx, message, args...)
	}
}

// Verify returns a *CorruptError if the stored bytes of a session are not what
// was written.
func Verify(rec *driver.Record) error {
	_, err := viewOf(rec)
	return err
}
