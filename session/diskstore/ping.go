package diskstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// stallAfter is how long no fsync may have come back before the disk is asked,
// and how long one of the log may take before it counts as standing still.
const stallAfter = 5 * time.Second

// probe asks the disk with a real write, one at a time.
type probe struct {
	mu      sync.Mutex
	running *probing
}

type probing struct {
	done chan struct{} // closed when err is final
	err  error
}

// Ping implements driver.Store. It tells whether the store can write: an fsync
// has come back in the last seconds, or one that it makes comes back before ctx
// ends. A disk that stands still gives no error, it only never answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	db := s.db
	s.end()
	if since := db.disk.syncing(); since > stallAfter {
		return s.stalled(since)
	}
	if db.disk.synced() < stallAfter {
		return nil
	}
	p := s.probe.start(db)
	select {
	case <-p.done:
		if p.err != nil {
			return s.broken(p.err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", s.stalled(db.disk.synced()), ctx.Err())
	}
}

func (s *Store) stalled(since time.Duration) error {
	return fmt.Errorf("session store in %q: the disk stands still: no fsync has returned for %v: %w",
		s.dir, since.Round(time.Second), driver.ErrUnavailable)
}

// start joins the probe that runs, or starts one. A disk that stands still
// holds its goroutine until it answers.
func (p *probe) start(db *database) *probing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		return p.running
	}
	one := &probing{done: make(chan struct{})}
	p.running = one
	go func() {
		defer close(one.done)
		one.err = db.promises.probe()
		if one.err == nil {
			db.disk.noteSync()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running = nil
	}()
	return one
}

// wait returns when no probe runs.
func (p *probe) wait() {
	p.mu.Lock()
	running := p.running
	p.mu.Unlock()
	if running != nil {
		<-running.done
	}
}
