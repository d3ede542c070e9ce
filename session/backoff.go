package session

import (
	"context"
	"math/rand/v2"
	"runtime"
	"time"
)

// backoff spaces repetitions of a call.
type backoff struct {
	// eager is the number of repetitions made without waiting.
	eager int
	// first and longest bound the waits, which double in between.
	first, longest time.Duration
	// tries bounds the repetitions; 0 is no bound but the context's.
	tries int

	n int
}

var (
	// conflicts: another writer was quicker. Somebody always succeeds, so the
	// first repetitions follow at once.
	conflicts = backoff{eager: 3, first: 50 * time.Microsecond, longest: 20 * time.Millisecond}
	// outages: the backend was not available and nothing was written.
	outages = backoff{first: 20 * time.Millisecond, longest: 500 * time.Millisecond, tries: 4}
	// doubts: the outcome was unknown.
	doubts = backoff{first: 10 * time.Millisecond, longest: 500 * time.Millisecond}
)

// wait says whether there is to be another repetition, and waits until its
// time has come.
func (b *backoff) wait(ctx context.Context) bool {
	if ctx.Err() != nil || b.tries > 0 && b.n >= b.tries {
		return false
	}
	n := b.n
	b.n++
	if n < b.eager {
		runtime.Gosched()
		return true
	}
	limit := b.first << min(n-b.eager, 20)
	limit = min(limit, b.longest)
	// Full jitter over the upper half: waits differ, none is nothing.
	timer := time.NewTimer(limit/2 + rand.N(limit/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
