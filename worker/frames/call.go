package frames

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/snakepit-go/snakepit/worker"
)

// call is what a request that is a call has besides.
type call struct {
	*worker.Call
	hosting

	// chunks holds at most a window of them, so that the reading goroutine
	// never waits for the caller; nil unless the call streams.
	chunks chan worker.Chunk
	// given is set when nobody waits for the call any more.
	given atomic.Bool

	mu sync.Mutex
	// fault is why the stream failed on our side.
	fault error
	// faulty is closed when fault is set.
	faulty chan struct{}
}

// Call implements worker.Conn.
func (c *conn) Call(ctx context.Context, req *worker.Call) (*worker.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := checkCall(req); err != nil {
		return nil, err
	}
	cl := &call{Call: req}
	cl.hosting.ctx = ctx
	if req.OnChunk != nil {
		cl.chunks = make(chan worker.Chunk, c.opts.Window)
		cl.faulty = make(chan struct{})
	}
	r, ok := c.register(cl)
	if !ok {
		return nil, c.crash(false)
	}
	defer cl.hosting.end()

	f := newFrame()
	f.call(r.id, req, c.opts.Window)
	if n := f.len(); n > c.opts.MaxFrame {
		c.take(r.id)
		f.free()
		return nil, &worker.ToolError{Kind: worker.InvalidArguments, Type: "TooLarge", Message: fmt.Sprintf(
			"a call of %d bytes, where %d are allowed: send less, or raise the limit for messages to workers", n, c.opts.MaxFrame)}
	}
	switch p, err := c.send(ctx, f); {
	case err == nil:
	case p == sending:
		return nil, c.giveUp(r, err)
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		c.take(r.id)
		return nil, err
	default:
		// The worker is going. Its end is bounded, and tells how.
		c.take(r.id)
		select {
		case <-c.done:
			return nil, c.crash(false)
		case <-ctx.Done():
			return nil, &worker.UnansweredError{Err: context.Cause(ctx), Answered: c.done}
		}
	}
	if cl.chunks != nil {
		return c.stream(ctx, r)
	}
	select {
	case <-r.done:
		return r.res, r.err
	case <-ctx.Done():
		return nil, c.giveUp(r, context.Cause(ctx))
	}
}

// checkCall makes sure that the header will be JSON: a worker could not tell
// which call a broken one belongs to.
func checkCall(req *worker.Call) error {
	if len(req.Args) > 0 {
		if err := validObject(req.Args); err != nil {
			return &worker.ToolError{Kind: worker.InvalidArguments, Type: "ValueError", Message: "the arguments are not a JSON object: " + err.Error()}
		}
	}
	if s := req.Session; s != nil && s.Vars != nil {
		if err := validObject(s.Vars); err != nil {
			return fmt.Errorf("call %q: the variables of session %q are not a JSON object: %w", req.Tool, s.ID, err)
		}
	}
	return nil
}

// stream delivers chunks until the call is answered.
func (c *conn) stream(ctx context.Context, r *request) (*worker.Result, error) {
	panicked := true
	defer func() {
		if panicked {
			_ = c.giveUp(r, nil)
		}
	}()
	res, err := c.deliver(ctx, r)
	panicked = false
	return res, err
}

func (c *conn) deliver(ctx context.Context, r *request) (*worker.Result, error) {
	owed := 0 // chunks consumed and not credited yet
	consume := func(ch worker.Chunk) error {
		if err := r.OnChunk(ch); err != nil {
			return c.giveUp(r, err)
		}
		if owed++; owed >= (c.opts.Window+1)/2 {
			c.credit(r.id, owed)
			owed = 0
		}
		return nil
	}
	for {
		select {
		case ch := <-r.chunks:
			if err := consume(ch); err != nil {
				return nil, err
			}
			continue
		default:
		}
		select {
		case ch := <-r.chunks:
			if err := consume(ch); err != nil {
				return nil, err
			}
		case <-r.done:
			// The chunks came before the answer.
			for len(r.chunks) > 0 {
				if ctx.Err() != nil {
					return nil, c.giveUp(r, context.Cause(ctx))
				}
				if err := consume(<-r.chunks); err != nil {
					return nil, err
				}
			}
			return r.res, r.err
		case <-r.faulty:
			return nil, c.giveUp(r, r.faultOf())
		case <-ctx.Done():
			return nil, c.giveUp(r, context.Cause(ctx))
		}
	}
}

// giveUp cancels a call that may not be answered yet.
func (c *conn) giveUp(r *request, cause error) error {
	r.given.Store(true)
	select {
	case <-r.done:
	default:
		f := newFrame()
		f.notification("cancel")
		f.text(`{"call":`)
		f.integer(r.id)
		f.text("}}")
		f.seal(nil)
		c.post(f)
	}
	return &worker.UnansweredError{Err: cause, Answered: r.done}
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
	parts, err := m.attachments()
	if err != nil {
		c.failStream(r.id, malformed(err))
		return nil
	}
	ch := worker.Chunk{Value: m.payload.value, Attachments: parts}
	if ch.Value == nil {
		ch.Value = null
	}
	select {
	case r.chunks <- ch:
		return nil
	default:
	}
	if r.given.Load() {
		return nil
	}
	return violation("a chunk of call %d beyond its window of %d", r.id, cap(r.chunks))
}

// failStream makes a streaming call fail because of what the worker sent.
func (c *conn) failStream(id int64, err error) {
	r := c.find(id)
	if r == nil || r.call == nil || r.chunks == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault == nil {
		r.fault = err
		close(r.faulty)
	}
}

func (cl *call) faultOf() error {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.fault
}

// call makes the header and body of a call.
func (f *frame) call(id int64, req *worker.Call, window int) {
	f.request(id, "call")
	f.text(`{"tool":`)
	f.string(req.Tool)
	f.text(`,"args":`)
	if len(req.Args) == 0 {
		f.text("{}")
	} else {
		f.raw(req.Args)
	}
	f.text(`,"parts":`)
	f.lengths(req.Attachments)
	f.text(`,"correlation":`)
	f.string(req.CorrelationID)
	f.text(`,"stream":`)
	f.bool(req.OnChunk != nil)
	f.text(`,"window":`)
	f.integer(int64(window))
	if req.Session != nil {
		f.session(req.Session)
	}
	f.text("}}")
	f.seal(req.Attachments)
}

func (f *frame) session(s *worker.SessionState) {
	f.text(`,"session":{"id":`)
	f.string(s.ID)
	f.text(`,"incarnation":`)
	f.string(s.Incarnation)
	f.text(`,"version":`)
	f.json(s.Version)
	f.text(`,"readonly":`)
	f.bool(s.ReadOnly)
	if s.Vars != nil {
		f.text(`,"vars":`)
		f.raw(s.Vars)
		f.text(`,"programs":`)
		f.json(orEmpty(s.Programs))
		f.text(`,"labels":`)
		f.json(orEmptyMap(s.Labels))
		f.text(`,"metadata":`)
		f.json(orEmptyMap(s.Metadata))
	}
	f.text("}")
}

// orEmpty makes nil an empty list on the wire.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func orEmptyMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
