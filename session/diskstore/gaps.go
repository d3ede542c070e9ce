package diskstore

import (
	"bytes"
	"sync"

	"github.com/snakepit-go/snakepit/session/driver"
)

// gap is a range of keys that a listing cannot read, from inclusive, to
// exclusive; a nil to is the end of the listing.
type gap struct {
	from, to []byte
	err      error
}

// told is the gap as callers see it.
func (g *gap) told(ref func([]byte) driver.ItemRef) driver.Gap {
	d := driver.Gap{From: ref(g.from), Err: g.err}
	if g.to != nil {
		d.To = ref(g.to)
	}
	return d
}

// maxGaps bounds what is remembered; other gaps are looked for each time.
const maxGaps = 1000

// gapCache remembers the gaps: to find where one ends takes many reads of the
// damaged block. What is written into a gap later is not listed either, until
// the store is repaired.
type gapCache struct {
	mu   sync.Mutex
	gaps []*gap
}

// next returns the first known gap that begins between low and high. A listing
// that begins inside of one meets it as one of its own.
func (c *gapCache) next(low, high []byte) (first *gap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.gaps {
		if bytes.Compare(low, g.from) <= 0 && bytes.Compare(g.from, high) < 0 && (first == nil || bytes.Compare(g.from, first.from) < 0) {
			first = g
		}
	}
	return first
}

func (c *gapCache) add(g *gap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.gaps) < maxGaps {
		c.gaps = append(c.gaps, g)
	}
}

func (c *gapCache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gaps = nil
}
