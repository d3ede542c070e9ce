package frames

import (
	"context"
	"errors"
	"os"
	"time"
)

// Who reads from the socket.
//
// A goroutine of its own for reading would cost each call a second wake-up: of
// the reader, and then of the caller. A quarter of a short call's time is saved
// by callers that read themselves: of those who wait for an answer, one has the
// turn. It dispatches what comes, whomever it is for, until its own answer has
// come, and leaves the turn to the next. Only when nobody has had the turn for
// idleAfter does a goroutine read for nobody in particular, until somebody wants
// the turn.

// idleAfter is how long log records and the like may lie unread after a call.
// It is longer than the pauses between the calls of a busy worker.
const idleAfter = 5 * time.Millisecond

// past is a deadline that interrupts a reader.
var past = time.Unix(1, 0)

// wait returns when a request is answered or there is news of it, or with its
// cause when ctx ends.
func (c *conn) wait(ctx context.Context, r *request) error {
	news := r.news()
	happened := func() bool { return r.answered() || len(news) > 0 }
	for {
		switch {
		case happened():
			select {
			case <-news:
			default:
			}
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		select {
		case c.reading <- struct{}{}: // the usual case, and the cheapest question
			c.lead(ctx, happened)
			continue
		default:
		}
		c.waiting.Add(1)
		select {
		case <-r.done:
		case <-ctx.Done():
		case c.reading <- struct{}{}:
			c.lead(ctx, happened)
		case <-news:
			c.waiting.Add(-1)
			return nil
		}
		c.waiting.Add(-1)
	}
}

// lead reads, having the turn, until there is nothing to wait for any more or
// ctx ends.
func (c *conn) lead(ctx context.Context, enough func() bool) {
	stop := context.AfterFunc(ctx, c.interrupt)
	ok := true
	defer func() { // also if a receiver of logs or events panics
		stop()
		if ok {
			c.leave()
		}
	}()
	for ok && !enough() && ctx.Err() == nil {
		_, ok = c.readOne()
	}
}

// leave gives the turn back. If nobody takes it for a time, the idle reader
// will.
func (c *conn) leave() {
	<-c.reading
	c.idle.Reset(idleAfter)
}

// readIdle reads while nobody else wants to.
func (c *conn) readIdle() {
	select {
	case c.reading <- struct{}{}:
	default:
		return // whoever has the turn will leave it
	}
	for {
		wanted, ok := c.readOne()
		if !ok {
			return
		}
		if wanted {
			c.leave()
			return
		}
	}
}

// readRest reads what a process that has ended left in its socket.
func (c *conn) readRest() {
	c.mu.Lock()
	c.readUntil = time.Now().Add(drainWait)
	_ = c.socket.SetReadDeadline(c.readUntil)
	c.mu.Unlock()
	select {
	case <-c.readDone:
	case c.reading <- struct{}{}:
		for ok := true; ok; {
			_, ok = c.readOne()
		}
	}
}

// readOne reads and dispatches one message, or is interrupted. wanted says that
// somebody waited for the turn when the message came. After the end of the
// socket it is not ok: the turn must be kept for ever.
func (c *conn) readOne() (wanted, ok bool) {
	header, body, err := c.frames.next()
	wanted = c.waiting.Load() > 0
	if err == nil {
		err = c.dispatch(header, body)
	} else if errors.Is(err, os.ErrDeadlineExceeded) && c.resume() {
		return true, true
	}
	if err == nil {
		return wanted, true
	}
	if broken, ok := errors.AsType[*protocolError](err); ok {
		c.spec.Logger.Error("worker killed", "error", broken)
		c.proc.Kill()
	}
	close(c.readDone)
	return wanted, false
}

// interrupt makes the reader look up from the socket.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readUntil.IsZero() {
		_ = c.socket.SetReadDeadline(past)
	}
}

// resume lets reading go on after a deadline, unless it was the last one.
func (c *conn) resume() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readUntil.IsZero() {
		_ = c.socket.SetReadDeadline(time.Time{})
		return true
	}
	return time.Now().Before(c.readUntil)
}
