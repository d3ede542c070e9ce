package session

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Calls without a session are recorded beside keepers: records like those of
// sessions, under ids that no session can have, because they contain a NUL.
// They are seen by no list, count, quota or observer, and expire when no call
// was recorded for as long as calls are kept. There are several, so that calls
// that have nothing to do with each other rarely wait for each other.
const (
	keeperPrefix = "\x00calls/"
	keeperCount  = 16
	// lastKeeper follows all keepers and precedes all sessions.
	lastKeeper = "\x00\U0010FFFF"
)

// keeperOf is the record that keeps a call: its session's, or a keeper.
func (st *Store) keeperOf(id, callID string) string {
	if id != "" {
		return id
	}
	return keeperID(int(crc32.ChecksumIEEE([]byte(callID)) % keeperCount))
}

func keeperID(n int) string { return fmt.Sprintf("%s%02d", keeperPrefix, n) }

func isKeeper(id string) bool { return strings.HasPrefix(id, keeperPrefix) }

// createKeeper makes a keeper, unless there is one.
func (st *Store) createKeeper(ctx context.Context, id string) error {
	c := creation{st: st, id: id, op: NewOperation(), opts: CreateOptions{TTL: &st.opts.CallRetention}}
	if err := c.prepare(); err != nil {
		return err
	}
	return st.quota.keepers.change(func() error {
		_, _, err := c.run(ctx)
		st.quota.keepers.known = false
		return err
	})
}

// keepers knows how many keepers there are, for a driver that counts them
// together with sessions.
type keepers struct {
	mu    sync.Mutex
	known bool
	n     int
}

// change creates or removes a keeper while nobody counts.
func (k *keepers) change(f func() error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return f()
}

func (k *keepers) count(ctx context.Context, st *Store) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known {
		return k.n, nil
	}
	k.n = 0
	for i := range keeperCount {
		_, err := st.load(ctx, keeperID(i), driver.Read{})
		switch {
		case err == nil, errors.Is(err, ErrCorrupt):
			k.n++
		case !errors.Is(err, ErrNotFound):
			return 0, err
		}
	}
	k.known = true
	return k.n, nil
}
