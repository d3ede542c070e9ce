package server

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
)

// refusalTimeout bounds the write that refuses a connection. Its buffer is
// empty, so the write does not wait.
const refusalTimeout = 100 * time.Millisecond

// connections counts the connections of a server and keeps them below a limit,
// so that clients cannot take the file descriptors that the session store and
// the workers need.
type connections struct {
	limit   int // 0: none
	refusal []byte

	mu      sync.Mutex // guards the fields below
	open    int
	fresh   map[net.Conn]struct{}  // have not sent a request yet
	idle    map[net.Conn]time.Time // wait for another request, since then
	closing bool
}

func newConnections(limit int) *connections {
	text := failure{Code: connect.CodeResourceExhausted.String(), Message: fmt.Sprintf(
		"the server has as many connections as it takes: %d (limits.connections); close some or try again later", limit)}.text()
	return &connections{
		limit: limit,
		refusal: fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s",
			len(text), text),
		fresh: make(map[net.Conn]struct{}),
		idle:  make(map[net.Conn]time.Time),
	}
}

// changed is told by net/http when a connection changes its state. A new one
// beyond the limit takes the place of the one that has been idle longest; if
// none is, it is told so and closed.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fresh, conn)
	delete(c.idle, conn)
	switch state {
	case http.StateNew:
		c.open++
		c.fresh[conn] = struct{}{}
		switch {
		case c.closing:
			conn.Close()
		case c.limit > 0 && c.open > c.limit && !c.closeIdle():
			_ = conn.SetWriteDeadline(time.Now().Add(refusalTimeout))
			_, _ = conn.Write(c.refusal)
			conn.Close()
		}
	case http.StateIdle:
		c.idle[conn] = time.Now()
	case http.StateClosed, http.StateHijacked:
		c.open--
	}
}

// closeIdle closes the connection that has been idle longest, if one is.
func (c *connections) closeIdle() bool {
	var oldest net.Conn
	for conn, since := range c.idle {
		if oldest == nil || since.Before(c.idle[oldest]) {
			oldest = conn
		}
	}
	if oldest == nil {
		return false
	}
	delete(c.idle, oldest)
	oldest.Close()
	return true
}

// closeFresh closes the connections that have not sent a request, now and from
// now on. The shutdown of net/http would wait for them.
func (c *connections) closeFresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	for conn := range c.fresh {
		conn.Close()
	}
}
