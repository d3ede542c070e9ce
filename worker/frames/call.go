package frames

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/snakepit-go/snakepit/internal/jsontext"
	"github.com/snakepit-go/snakepit/worker"
)

// call is what a request that is a call has besides.
type call struct {
	*worker.Call
	hosting

	// given is set when nobody waits for the call any more.
	given atomic.Bool
	// stream is nil unless the call streams.
	stream *stream
}

// Call implements worker.Conn.
func (c *conn) Call(ctx context.Context, req *worker.Call) (*worker.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := checkCall(req); err != nil {
		return nil, err
	}
	cl := &call{Call: req, hosting: hosting{ctx: ctx}}
	if req.OnChunk != nil {
		cl.stream = newStream(c.opts.Window)
	}
	r, ok := c.register(cl)
	if !ok {
		return nil, c.crash(false)
	}
	defer cl.hosting.end()

	f := newFrame()
	f.call(ctx, r.id, req, c.opts.Window)
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
	res, err := c.outcome(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := cl.hosting.settle(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, c.giveUp(r, err)
		}
		return nil, &worker.ToolError{Kind: worker.WorkerFault, Type: "ProtocolError", Message: err.Error()}
	}
	return res, nil
}

// outcome waits for the answer to a call, and delivers its chunks before.
func (c *conn) outcome(ctx context.Context, r *request) (*worker.Result, error) {
	if r.stream != nil {
		return c.deliver(ctx, r)
	}
	if err := c.wait(ctx, r); err != nil {
		return nil, c.giveUp(r, err)
	}
	return r.res, r.err
}

// checkCall makes sure that the header will be JSON that a worker can read: it
// could not tell which call a broken one belongs to, and one that asks too much
// would cost it its life.
func checkCall(req *worker.Call) error {
	if len(req.Args) > 0 {
		if err := jsontext.CheckObject(req.Args); err != nil {
			what := "what was given as arguments is not a JSON object: "
			if jsontext.IsLimit(err) {
				what = "what was given as arguments "
			}
			return &worker.ToolError{Kind: worker.InvalidArguments, Type: "ValueError", Message: what + err.Error()}
		}
	}
	if s := req.Session; s != nil && s.Vars != nil {
		if name, err := jsontext.CheckMembers(s.Vars); err != nil {
			return fmt.Errorf("call %q in session %q: %w: variable %q %w; replace or unset it", req.Tool, s.ID, worker.ErrStateUnreadable, name, err)
		}
	}
	return nil
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
		// Nobody waits for the answer, and the slot does.
		c.idle.Reset(0)
	}
	return &worker.UnansweredError{Err: cause, Answered: r.done}
}

// call makes the header and body of a call.
func (f *frame) call(ctx context.Context, id int64, req *worker.Call, window int) {
	f.request(id, "call")
	f.text(`{"tool":`)
	f.string(req.Tool)
	f.text(`,"args":`)
	if len(req.Args) == 0 {
		f.text("{}")
	} else {
		f.raw(req.Args)
	}
	if len(req.Attachments) > 0 {
		f.text(`,"parts":`)
		f.lengths(req.Attachments)
	}
	if req.CorrelationID != "" {
		f.text(`,"correlation":`)
		f.string(req.CorrelationID)
	}
	if limit, ok := ctx.Deadline(); ok {
		f.text(`,"timeout_ms":`)
		f.integer(max(0, time.Until(limit).Milliseconds()))
	}
	if req.OnChunk != nil {
		f.text(`,"stream":true,"window":`)
		f.integer(int64(window))
	}
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
	if s.WantRead {
		f.text(`,"want_read":true`)
	}
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
