package frames

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"syscall"
)

// progress says how much of a frame has been written.
type progress int

const (
	// unsent: the worker will never have all of the frame.
	unsent progress = iota
	// sending: another goroutine writes the rest.
	sending
	// sent: all of it is with the operating system.
	sent
)

// send writes a frame and frees it. It returns when the frame is written, or
// with its cause when ctx ends.
func (c *conn) send(ctx context.Context, f *frame) (progress, error) {
	select {
	case c.writing <- struct{}{}:
	default:
		select {
		case c.writing <- struct{}{}:
		case <-ctx.Done():
			f.free()
			return unsent, context.Cause(ctx)
		}
	}
	p, rest, err := c.write(f)
	if p != sending {
		return p, err
	}
	select {
	case err := <-rest:
		if err != nil {
			return unsent, err
		}
		return sent, nil
	case <-ctx.Done():
		return sending, context.Cause(ctx)
	}
}

// post writes a frame, or only what is to be forgotten, and does not wait.
func (c *conn) post(f *frame) {
	select {
	case c.writing <- struct{}{}:
		// If it fails, the worker is gone.
		_, _, _ = c.write(f)
	default:
		go func() {
			c.writing <- struct{}{}
			_, _, _ = c.write(f)
		}()
	}
}

// write writes and frees a frame; the caller has taken c.writing, and write
// gives it back. What cannot be written without waiting is left to a goroutine,
// which reports on the channel.
func (c *conn) write(f *frame) (progress, <-chan error, error) {
	forgets := c.takeForgets()
	if forgets == nil && f == nil {
		<-c.writing
		return sent, nil, nil
	}
	if forgets == nil && len(f.cuts) == 0 {
		n, err := c.tryWrite(f.buf)
		if err != nil || n == len(f.buf) {
			f.free()
			<-c.writing
			if err != nil {
				return unsent, nil, err
			}
			return sent, nil, nil
		}
		return sending, c.finish(net.Buffers{f.buf[n:]}, f), nil
	}
	var vec net.Buffers
	if forgets != nil {
		vec = append(vec, forgets.buf)
	}
	if f != nil {
		vec = append(vec, f.buffers()...)
	}
	return sending, c.finish(vec, forgets, f), nil
}

// finish writes in a goroutine of its own, which ends at the latest when the
// worker does.
func (c *conn) finish(vec net.Buffers, frames ...*frame) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := vec.WriteTo(c.socket)
		for _, f := range frames {
			if f != nil {
				f.free()
			}
		}
		<-c.writing
		result <- err
	}()
	return result
}

// tryWrite writes as much as the socket takes at once.
func (c *conn) tryWrite(b []byte) (n int, err error) {
	if c.raw == nil {
		return 0, nil
	}
	closed := c.raw.Write(func(fd uintptr) bool {
		for {
			n, err = syscall.Write(int(fd), b)
			if !errors.Is(err, syscall.EINTR) {
				return true
			}
		}
	})
	if errors.Is(err, syscall.EAGAIN) {
		err = nil
	}
	if closed != nil {
		err = closed
	}
	return max(n, 0), err
}

// request begins the header of a request, up to its params.
func (f *frame) request(id int64, method string) {
	f.text(`{"jsonrpc":"2.0","id":`)
	f.integer(id)
	f.text(`,"method":"` + method + `","params":`)
}

// notification begins the header of a notification, up to its params.
func (f *frame) notification(method string) {
	f.text(`{"jsonrpc":"2.0","method":"` + method + `","params":`)
}

func (f *frame) integer(n int64) { f.buf = strconv.AppendInt(f.buf, n, 10) }

func (f *frame) bool(v bool) { f.buf = strconv.AppendBool(f.buf, v) }

// json adds a value of our own types, which can be encoded.
func (f *frame) json(v any) {
	encoded, err := json.Marshal(v)
	if err != nil {
		panic("encode a message: " + err.Error())
	}
	f.raw(encoded)
}

// lengths adds the lengths of the parts of a body.
func (f *frame) lengths(parts [][]byte) {
	f.text("[")
	for i, p := range parts {
		if i > 0 {
			f.text(",")
		}
		f.integer(int64(len(p)))
	}
	f.text("]")
}

// reply answers a request of the worker.
func (c *conn) reply(ctx context.Context, id int64, result any, refused *rpcError, parts ...[]byte) error {
	f := newFrame()
	f.text(`{"jsonrpc":"2.0","id":`)
	f.integer(id)
	if refused != nil {
		f.text(`,"error":`)
		f.json(refused)
	} else {
		f.text(`,"result":`)
		f.json(result)
	}
	f.text("}")
	f.seal(parts)
	_, err := c.send(ctx, f)
	return err
}
