package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/server"
)

// pipes is a listener whose connections are in memory, for tests about time.
type pipes struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.ended) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

const half = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n%s\r\n\r\n%s"

// halfSent are requests whose rest does not come.
var halfSent = map[string]string{
	"a call":                  fmt.Sprintf(half, execute, "application/json", "Content-Length: 100", `{"invocation`),
	"a call without a length": fmt.Sprintf(half, execute, "application/json", "Transfer-Encoding: chunked", "5\r\n{\"inv\r\n"),
	"nothing of a call":       fmt.Sprintf(half, execute, "application/proto", "Content-Length: 100", ""),
	"an upload":               fmt.Sprintf(half, "/snakepit.v1.SessionService/PutProgram", "application/connect+json", "Transfer-Encoding: chunked", "2\r\n\x00\x00\r\n"),
	"a gRPC call":             fmt.Sprintf(half, execute, "application/grpc", "Content-Length: 100", "\x00\x00"),
	"a page that is not":      fmt.Sprintf(half, "/nothing", "text/plain", "Content-Length: 100", "x"),
	"half a head":             "POST / HTTP/1.1\r\nHost: local",
}

// TestHalfSentRequestsEnd sends parts of requests and then nothing more. Each is
// answered or closed when its time is over.
func TestHalfSentRequestsEnd(t *testing.T) {
	for name, sent := range halfSent {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				serveOn(t, p, nil)
				conn := p.dial()
				defer conn.Close()
				began := time.Now()
				go func() { _, _ = io.WriteString(conn, sent) }()
				answer, err := io.ReadAll(conn)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > server.DefaultBodyTimeout+time.Second {
					t.Errorf("it was open for %v", took)
				}
				if strings.Contains(name, "call") && !strings.Contains(string(answer), "limits.body_timeout") && !strings.Contains(string(answer), "rpc") {
					t.Errorf("the client is told %s", answer)
				}
				if name == "a call" && (!strings.HasPrefix(string(answer), "HTTP/1.1 504 ") || !strings.Contains(string(answer), `"deadline_exceeded"`) ||
					!strings.Contains(string(answer), "12 bytes have come, and then nothing for 30s")) {
					t.Errorf("the client is told %s", answer)
				}
			})
		})
	}
}

// TestSlowRequests sends calls with the same pauses: what is slow and makes
// progress is served, however long it takes, and what trickles is not.
func TestSlowRequests(t *testing.T) {
	for name, c := range map[string]struct {
		part   int
		parts  int
		pause  time.Duration
		status int
	}{
		"slow":      {400 << 10, 60, 20 * time.Second, http.StatusOK},
		"trickling": {1 << 10, 60, 5 * time.Second, http.StatusGatewayTimeout},
		"pausing":   {400 << 10, 60, 31 * time.Second, http.StatusGatewayTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				serveOn(t, p, nil)
				conn := p.dial()
				var sender sync.WaitGroup
				defer sender.Wait()
				defer conn.Close()
				head, tail := `{"invocation":{"tool":"add","arguments":{"a":1,"b":2}}`, "}"
				sender.Go(func() {
					_, err := fmt.Fprintf(conn, half, execute, "application/json", fmt.Sprint("Content-Length: ", len(head)+c.part*c.parts+len(tail)), head)
					for n := 0; n < c.parts && err == nil; n++ {
						time.Sleep(c.pause) // in the bubble
						_, err = io.WriteString(conn, strings.Repeat(" ", c.part))
					}
					_, _ = io.WriteString(conn, tail)
				})
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				text, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != c.status {
					t.Errorf("answered %s %s (%v)", res.Status, text, err)
				}
				if c.status != http.StatusOK && !strings.Contains(string(text), "limits.body_timeout") {
					t.Errorf("the client is told %s", text)
				}
			})
		})
	}
}

// TestShutdownWithHalfSentRequests is not held up by them, and it is no failure.
func TestShutdownWithHalfSentRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		r := serveOn(t, p, nil)
		var all sync.WaitGroup
		for _, sent := range halfSent {
			conn := p.dial()
			t.Cleanup(func() { conn.Close() })
			all.Go(func() {
				_, _ = io.WriteString(conn, sent)
				_, _ = io.Copy(io.Discard, conn) // until it is closed
			})
		}
		fresh := p.dial() // has not sent anything
		defer fresh.Close()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := r.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		all.Wait()
	})
}
