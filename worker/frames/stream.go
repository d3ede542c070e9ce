package frames

import (
	"context"
	"sync"

	"github.com/snakepit-go/snakepit/worker"
)

// stream holds the chunks of a call that its caller has not consumed, at most a
// window of them, so that who reads never waits for who consumes.
type stream struct {
	// news has a token after every change, for the one consumer.
	news chan struct{}

	mu     sync.Mutex
	chunks []worker.Chunk // a ring of a window's size
	first  int
	count  int
	// fault is why the stream failed on our side.
	fault error
}

func newStream(window int) *stream {
	return &stream{news: make(chan struct{}, 1), chunks: make([]worker.Chunk, window)}
}

// push adds a chunk. It reports false if there are as many as the worker was
// allowed to send.
func (s *stream) push(ch worker.Chunk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == len(s.chunks) {
		return false
	}
	s.chunks[(s.first+s.count)%len(s.chunks)] = ch
	s.count++
	s.tell()
	return true
}

// fail makes the stream end with an error after the chunks that are there.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.fault = err
	}
	s.tell()
}

func (s *stream) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// next returns the next chunk, or else what the stream failed with, if it did.
func (s *stream) next() (ch worker.Chunk, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 {
		return ch, false, s.fault
	}
	ch, s.chunks[s.first] = s.chunks[s.first], worker.Chunk{}
	s.first = (s.first + 1) % len(s.chunks)
	s.count--
	return ch, true, nil
}

// deliver passes the chunks of a call on until it is answered.
func (c *conn) deliver(ctx context.Context, r *request) (*worker.Result, error) {
	panicking := true
	defer func() {
		if panicking {
			_ = c.giveUp(r, nil)
		}
	}()
	res, err := c.consume(ctx, r)
	panicking = false
	return res, err
}

func (c *conn) consume(ctx context.Context, r *request) (*worker.Result, error) {
	owed := 0 // chunks consumed and not credited yet
	for {
		answered := r.answered() // asked first: chunks come before the answer
		ch, ok, fault := r.stream.next()
		switch {
		case ok:
			if err := r.OnChunk(ch); err != nil {
				return nil, c.giveUp(r, err)
			}
			if ctx.Err() != nil {
				return nil, c.giveUp(r, context.Cause(ctx))
			}
			if owed++; owed >= (c.opts.Window+1)/2 {
				c.credit(r.id, owed)
				owed = 0
			}
		case fault != nil:
			return nil, c.giveUp(r, fault)
		case answered:
			return r.res, r.err
		default:
			if err := c.wait(ctx, r); err != nil {
				return nil, c.giveUp(r, err)
			}
		}
	}
}

func (c *conn) credit(id int64, n int) {
	f := newFrame()
	f.notification("credit")
	f.text(`{"call":`)
	f.integer(id)
	f.text(`,"n":`)
	f.integer(int64(n))
	f.text("}}")
	f.seal(nil)
	c.post(f)
}

// chunk takes a value that a running call yielded.
func (c *conn) chunk(m *message) error {
	r := c.find(m.payload.call)
	if r == nil || r.call == nil || r.given.Load() {
		return nil
	}
	if r.stream == nil {
		return violation("a chunk of call %d, which does not stream", r.id)
	}
	parts, err := m.attachments()
	if err != nil {
		r.stream.fail(malformed(err))
		return nil
	}
	ch := worker.Chunk{Value: m.payload.value, Attachments: parts}
	if ch.Value == nil {
		ch.Value = null
	}
	if !r.stream.push(ch) && !r.given.Load() {
		return violation("a chunk of call %d beyond its window of %d", r.id, c.opts.Window)
	}
	return nil
}
