package server

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// writePart is how much of a message is written at once while a stream is
// watched, so that a client which reads slowly is seen to read.
const writePart = 64 << 10

// readers gives up a stream whose client does not read. Such a stream would hold
// its worker, and the turn of its session, as long as the client likes: a write
// to a connection knows nothing of the deadline of the call.
type readers struct {
	timeout time.Duration
	next    http.Handler
}

// ServeHTTP implements http.Handler.
func (h readers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	watched := &watchedWriter{ResponseWriter: w, conn: http.NewResponseController(w), timeout: h.timeout}
	watched.mu.Lock()
	watched.timer = time.AfterFunc(h.timeout, watched.check)
	watched.mu.Unlock()
	defer watched.end()
	h.next.ServeHTTP(watched, r)
}

// watchedWriter fails the write in which the client has taken nothing for
// timeout, and looks for that once in half of it.
type watchedWriter struct {
	http.ResponseWriter
	conn    *http.ResponseController
	timeout time.Duration
	writing atomic.Int64 // since when a write runs, in nanoseconds; 0 if none does

	mu    sync.Mutex
	timer *time.Timer // nil once the stream has ended
}

// Unwrap serves http.ResponseController.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements io.Writer.
func (w *watchedWriter) Write(p []byte) (written int, err error) {
	defer w.writing.Store(0)
	for {
		part := p[written:min(len(p), written+writePart)]
		w.writing.Store(time.Now().UnixNano())
		n, err := w.ResponseWriter.Write(part)
		if written += n; err != nil || written == len(p) {
			return written, err
		}
	}
}

// Flush implements http.Flusher.
func (w *watchedWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *watchedWriter) FlushError() error {
	w.writing.Store(time.Now().UnixNano())
	defer w.writing.Store(0)
	return w.conn.Flush()
}

func (w *watchedWriter) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	since := w.writing.Load()
	if since != 0 && time.Since(time.Unix(0, since)) >= w.timeout {
		_ = w.conn.SetWriteDeadline(time.Unix(1, 0)) // of a connection that is gone: no matter
		return
	}
	w.timer.Reset(w.timeout / 2)
}

func (w *watchedWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.timer = nil
}
