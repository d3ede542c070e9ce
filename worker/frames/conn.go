package frames

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

const (
	// endWait bounds how long a process may live after its socket has ended.
	endWait = 2 * time.Second
	// drainWait bounds how long a socket may live after its process has
	// ended: what the process wrote is read at once, and only a descendant
	// that shares the socket keeps it open longer.
	drainWait = 250 * time.Millisecond
)

// conn is one running worker. It implements worker.Conn.
//
// One goroutine lives as long as it does: supervise, which sees to the end. Who
// reads what the worker sends is decided in read.go.
type conn struct {
	opts Options
	spec worker.Spec
	proc worker.Process
	info worker.Info

	socket net.Conn
	frames *frameReader
	// raw writes without waiting; it may be nil.
	raw syscall.RawConn
	// writing is held by whoever writes to the socket.
	writing chan struct{}

	mu       sync.Mutex
	nextID   int64
	requests map[int64]*request // waiting for their answers; nil when the worker is gone
	stopping bool
	// readUntil is the last read deadline, set when the process has ended.
	readUntil time.Time
	// forgets are sessions to be named to the worker before anything else is
	// sent, so that forgetting never concerns a later call.
	forgets []string

	// reading is held by whoever reads from the socket, for ever once it has
	// ended; waiting counts those who would take it.
	reading chan struct{}
	waiting atomic.Int32
	// idle makes a goroutine read when nobody else has for a moment.
	idle *time.Timer

	readDone chan struct{} // closed when the socket has ended
	done     chan struct{}
	exit     worker.Exit // valid once done is closed
}

var _ worker.Conn = (*conn)(nil)

// request waits for an answer.
type request struct {
	id int64
	// done is closed when res and err are set.
	done chan struct{}
	res  *worker.Result
	err  error

	// call is the rest of it, if it is one.
	*call
}

func (r *request) answered() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// news has a token after each change short of the answer; it may be nil.
func (r *request) news() chan struct{} {
	if r.call == nil || r.stream == nil {
		return nil
	}
	return r.stream.news
}

func (c *conn) Info() worker.Info { return c.info }

func (c *conn) Done() <-chan struct{} { return c.done }

func (c *conn) Exit() worker.Exit {
	select {
	case <-c.done:
		return c.exit
	default:
		return worker.Exit{}
	}
}

func (c *conn) Kill() { c.proc.Kill() }

func (c *conn) Suspended() bool { return c.proc.Suspended() }

func (c *conn) Ping(ctx context.Context) error {
	err := c.ask(ctx, "ping")
	if err != nil {
		return fmt.Errorf("ping worker %s: %w", c.spec.ID, err)
	}
	return nil
}

// ask sends a request without params and waits for its answer.
func (c *conn) ask(ctx context.Context, method string) error {
	r, ok := c.register(nil)
	if !ok {
		return c.crash(false)
	}
	f := newFrame()
	f.request(r.id, method)
	f.text("{}}")
	f.seal(nil)
	if _, err := c.send(ctx, f); err != nil {
		c.take(r.id)
		return err
	}
	if err := c.wait(ctx, r); err != nil {
		c.take(r.id)
		return err
	}
	return r.err
}

func (c *conn) Forget(sessions ...string) {
	if len(sessions) == 0 {
		return
	}
	c.mu.Lock()
	c.forgets = append(c.forgets, sessions...)
	c.mu.Unlock()
	c.post(nil)
}

// takeForgets returns the notification of what is to be forgotten, or nil.
func (c *conn) takeForgets() *frame {
	c.mu.Lock()
	sessions := c.forgets
	c.forgets = nil
	c.mu.Unlock()
	if len(sessions) == 0 {
		return nil
	}
	f := newFrame()
	f.notification("forget")
	f.text(`{"sessions":`)
	f.json(sessions)
	f.text("}}")
	f.seal(nil)
	return f
}

func (c *conn) Stop(ctx context.Context) error {
	c.mu.Lock()
	first := !c.stopping
	c.stopping = true
	c.mu.Unlock()
	if first {
		go func() {
			// What comes of it shows in the worker's end.
			_ = c.ask(context.Background(), "shutdown")
		}()
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.proc.Kill()
	<-c.done
	return fmt.Errorf("worker %s did not end in time and was killed: %w", c.spec.ID, context.Cause(ctx))
}

// register makes a request that waits for its answer. It reports false when
// the worker is gone.
func (c *conn) register(call *call) (*request, bool) {
	r := &request{done: make(chan struct{}), call: call}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		return nil, false
	}
	c.nextID++
	r.id = c.nextID
	c.requests[r.id] = r
	return r, true
}

// find returns a request that waits for its answer, or nil.
func (c *conn) find(id int64) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[id]
}

// take is find, and the request waits no more.
func (c *conn) take(id int64) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.requests[id]
	delete(c.requests, id)
	return r
}

// dispatch handles one frame. An error ends the connection.
func (c *conn) dispatch(header, body []byte) error {
	m, err := parse(header, body)
	switch {
	case err != nil:
		return c.unreadable(&m, err)
	case m.method == "":
		if r := c.take(m.id); r != nil {
			r.res, r.err = m.result()
			close(r.done)
		}
		return nil
	case m.hasID:
		c.asked(&m)
		return nil
	}
	switch m.method {
	case "chunk":
		return c.chunk(&m)
	case "log":
		c.log(&m)
	case "event":
		c.event(&m)
	}
	return nil
}

// unreadable handles a header that is not JSON. If it was far enough to tell
// the call it belongs to, only that call fails.
func (c *conn) unreadable(m *message, err error) error {
	switch {
	case m.hasID && m.id != 0 && m.method == "":
		if r := c.take(m.id); r != nil {
			r.err = malformed(err)
			close(r.done)
		}
		return nil
	case m.method == "chunk" && m.payload.call != 0:
		if r := c.find(m.payload.call); r != nil && r.call != nil && r.stream != nil {
			r.stream.fail(malformed(err))
		}
		return nil
	}
	return violation("a header that cannot be read: %v", err)
}

// supervise waits for the end of the worker and tells everybody.
func (c *conn) supervise() {
	select {
	case <-c.readDone:
		c.awaitProcess()
	case <-c.proc.Done():
		c.readRest()
	}
	c.socket.Close()
	c.idle.Stop()

	c.mu.Lock()
	c.exit = c.proc.Exit()
	c.exit.Expected = c.exit.Expected || c.stopping
	waiting := c.requests
	c.requests = nil
	c.mu.Unlock()
	close(c.done)
	for _, r := range waiting {
		r.err = c.crash(true)
		close(r.done)
	}
}

// awaitProcess waits for the end of a process whose socket has ended. One that
// is being stopped has the time that Stop gives it.
func (c *conn) awaitProcess() {
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-c.proc.Done():
		return
	case <-timer.C:
	}
	c.mu.Lock()
	stopping := c.stopping
	c.mu.Unlock()
	if !stopping {
		c.proc.Kill()
	}
	<-c.proc.Done()
}

// crash is the error of a request whose worker is gone.
func (c *conn) crash(maybeExecuted bool) error {
	<-c.done
	return &worker.CrashError{Worker: c.spec.ID, MaybeExecuted: maybeExecuted, Exit: c.exit}
}
