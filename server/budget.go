package server

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/snakepit-go/snakepit/internal/wireerr"
)

const (
	// maxSmall is the size up to which requests have an eighth of the budget
	// for themselves, so that a few large ones do not keep the many small ones
	// out; less if the budget is so small that few would fit.
	maxSmall    = 1 << 20
	smallShare  = 8
	fewestSmall = 8
	// budgetWait is how long a request waits for others to make room. Its body
	// is not read meanwhile.
	budgetWait = 2 * time.Second
	// littleShare is what a request may hold without more ado: it is not worth
	// being asked for in steps, nor being given back early.
	littleShare = 64 << 10
	// inflation is how much larger gzip can make what it decompresses.
	inflation = 1032
)

// budget bounds the bytes of requests that are in work, from their first byte
// to their answer. One request may be within its limit and a few of them still
// more than the machine has.
type budget struct {
	limit, largest int64 // of all requests, and of one message
	upToSmall      int64 // up to which a request is small
	small, large   *room
}

// room is a part of the budget.
type room struct {
	all  *semaphore.Weighted
	used atomic.Int64 // for those who are told that there is none left
}

func newRoom(size int64) *room { return &room{all: semaphore.NewWeighted(size)} }

func (r *room) take(ctx context.Context, n int64) error {
	if err := r.all.Acquire(ctx, n); err != nil {
		return err
	}
	r.used.Add(n)
	return nil
}

func (r *room) give(n int64) {
	r.used.Add(-n)
	r.all.Release(n)
}

func newBudget(limit, largest int64) *budget {
	limit = max(limit, 2*largest)
	return &budget{
		limit: limit, largest: largest, upToSmall: min(maxSmall, limit/smallShare/fewestSmall),
		small: newRoom(limit / smallShare),
		large: newRoom(limit - limit/smallShare),
	}
}

// share is the part of the budget that one request holds. Only its handler uses
// it.
type share struct {
	budget   *budget
	held     int64
	from     *room // what held is of; nil while it is 0
	factor   int64
	announce int64 // bytes the client has said will come, until they are paid
	settled  int64 // bytes of the message that is worked on
	arrived  int64 // bytes that have come for the next message
	free     bool  // the bytes pass through and are not kept
}

type shareKey struct{}

// open returns the share of a request that holds nothing yet.
func (b *budget) open(r *http.Request) *share {
	s := &share{budget: b, factor: 1, announce: max(r.ContentLength, 0)}
	for _, name := range []string{"Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"} {
		if encoding := r.Header.Get(name); encoding != "" && encoding != "identity" {
			s.factor = inflation // nobody knows how large it gets before it is
		}
	}
	return s
}

// pay makes room for n more bytes that have come.
func (s *share) pay(ctx context.Context, n int) error {
	s.arrived += int64(n)
	need := s.settled + min(max(s.arrived, s.announce)*s.factor, s.budget.largest)
	if need <= s.held || s.free {
		return nil
	}
	if s.announce == 0 && need > littleShare {
		need = min(need+need/2, s.settled+s.budget.largest) // so that a long body pays a few times only
	}
	ctx, cancel := context.WithTimeout(ctx, budgetWait)
	defer cancel()
	from, more := s.budget.small, need-s.held
	if need > s.budget.upToSmall {
		from = s.budget.large
	}
	if from != s.from {
		more = need
	}
	if err := from.take(ctx, more); err != nil {
		use := s.budget.small.used.Load() + s.budget.large.used.Load()
		refusal := wireerr.Encode(fmt.Errorf("%w: this request has %d bytes, and %d bytes of requests are in work, of at most %d (limits.bytes_in_work); try again later",
			wireerr.ErrOverloaded, need, use, s.budget.limit))
		refusal.Meta().Set("Retry-After", "1")
		return refusal
	}
	if from != s.from {
		s.release()
	}
	s.from, s.held = from, need
	return nil
}

// settle gives back what a message does not need any more that has arrived and
// is of this size.
func (s *share) settle(size int) {
	s.announce, s.arrived, s.settled = 0, 0, int64(size)
	if keep := min(s.settled, s.held); keep < s.held {
		s.from.give(s.held - keep)
		s.held = keep
	}
}

// release gives everything back.
func (s *share) release() {
	if s.from != nil {
		s.from.give(s.held)
	}
	s.from, s.held = nil, 0
}

// settle tells the share of a request, if it has one, the size of the message
// that has arrived. Small ones hold what came over the wire.
func settle(ctx context.Context, size func() int) {
	if s, ok := ctx.Value(shareKey{}).(*share); ok && s.held > littleShare {
		s.settle(size())
	} else if ok {
		s.arrived, s.announce, s.settled = 0, 0, s.held
	}
}
