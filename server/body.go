package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/snakepit-go/snakepit/internal/wireerr"
)

// DefaultBodyTimeout is the longest pause in the body of a request unless
// Options say otherwise.
const DefaultBodyTimeout = 30 * time.Second

// slowestBody is the least average of bytes a second that a body must arrive
// with once its first BodyTimeout is over. Without it a client could hold a
// request open for hours with one byte now and then.
const slowestBody = 16 << 10

// bodies watches the bodies of requests while they arrive, so that a client
// that stops sending does not keep its request for ever. An upload may take as
// long as it likes while it makes progress.
type bodies struct {
	timeout time.Duration
	budget  *budget

	mu       sync.Mutex // guards the fields below and those of each body
	running  int        // requests that have begun and not ended
	arriving map[*body]struct{}
	refused  error // if not nil, what every body that is still arriving ends with
}

func newBodies(timeout time.Duration, budget *budget) *bodies {
	return &bodies{timeout: timeout, budget: budget, arriving: make(map[*body]struct{})}
}

// watch watches the bodies of the requests that go to next.
func (b *bodies) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.running++
		b.mu.Unlock()
		defer func() {
			b.mu.Lock()
			b.running--
			b.mu.Unlock()
		}()
		if r.Body != nil && r.Body != http.NoBody {
			body := b.begin(w, r)
			defer body.end()
			r = r.WithContext(context.WithValue(r.Context(), shareKey{}, body.share))
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

// others is how many requests run whose body has arrived.
func (b *bodies) others() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running - len(b.arriving)
}

// refuse ends all bodies that are still arriving, and those to come, with an
// error.
func (b *bodies) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = err
	for body := range b.arriving {
		body.fail(err)
	}
}

// body is the body of one request.
type body struct {
	io.ReadCloser
	all   *bodies
	conn  *http.ResponseController
	share *share
	ctx   context.Context // of the request, for waits
	// refused is why the share could not be had. Only the handler uses it.
	refused error
	// Set once, guarded by all.mu afterwards.
	timer *time.Timer

	began, last time.Time
	received    int64
	failed      error
}

func (b *bodies) begin(w http.ResponseWriter, r *http.Request) *body {
	now := time.Now()
	body := &body{
		ReadCloser: r.Body, all: b, conn: http.NewResponseController(w), share: b.budget.open(r), ctx: r.Context(),
		began: now, last: now,
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arriving[body] = struct{}{}
	body.timer = time.AfterFunc(b.timeout, body.check)
	if b.refused != nil {
		body.fail(b.refused)
	}
	return body
}

// Read implements io.Reader. A body that was given up ends with the reason, as
// it goes to the client.
func (b *body) Read(p []byte) (int, error) {
	if b.refused = b.share.pay(b.ctx, 0); b.refused != nil {
		return 0, b.refused
	}
	n, err := b.read(p)
	if b.refused = b.share.pay(b.ctx, n); b.refused != nil {
		return 0, b.refused
	}
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	b.received += int64(n)
	b.last = time.Now()
	switch {
	case err != nil && b.failed != nil:
		err = wireerr.Encode(b.failed)
	case errors.Is(err, io.EOF):
		b.arrived()
	}
	return n, err
}

// Close implements io.Closer. Many clients read the answer only when they have
// sent everything, so what was refused is still read.
func (b *body) Close() error {
	if b.refused != nil {
		_, _ = io.CopyN(io.Discard, readerFunc(b.read), b.all.budget.largest)
	}
	return b.ReadCloser.Close()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// arrived ends the watch.
func (b *body) arrived() {
	b.timer.Stop()
	delete(b.all.arriving, b)
}

// end is called when the request has been answered. What its handler has not
// read is read by net/http, before it takes the next request of the connection.
func (b *body) end() {
	b.share.release()
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	if _, arriving := b.all.arriving[b]; arriving {
		b.arrived()
		if b.failed == nil {
			_ = b.conn.SetReadDeadline(time.Now().Add(b.all.timeout)) // of a connection that is gone: no matter
		}
	}
}

// check gives a body up that is too slow, and looks again later at one that is
// not.
func (b *body) check() {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	if _, arriving := b.all.arriving[b]; !arriving || b.failed != nil {
		return
	}
	timeout := b.all.timeout
	pause := time.Until(b.last.Add(timeout))
	average := time.Until(b.began.Add(timeout + time.Duration(b.received/slowestBody)*time.Second))
	switch {
	case pause <= 0:
		b.fail(fmt.Errorf("%w: the body of the request stopped: %d bytes have come, and then nothing for %v (limits.body_timeout)",
			context.DeadlineExceeded, b.received, timeout))
	case average <= 0:
		b.fail(fmt.Errorf("%w: the body of the request is too slow: %d bytes in %v; after %v (limits.body_timeout) it must reach %d bytes a second on average",
			context.DeadlineExceeded, b.received, time.Since(b.began).Round(time.Second), timeout, slowestBody))
	default:
		b.timer.Reset(min(pause, average))
	}
}

// fail makes the Read that waits now, and all later ones, fail.
func (b *body) fail(err error) {
	if b.failed == nil {
		b.failed = err
		_ = b.conn.SetReadDeadline(time.Unix(1, 0)) // of a connection that is gone: no matter
	}
}
