package server_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/server"
)

// TestConnectionsAreBounded fills a server that takes three connections: first
// with idle ones, which give way to new ones, then with requests, which do not.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		serveOn(t, p, func(_ *snakepit.Config, opts *server.Options) {
			opts.MaxConnections = 3
			opts.Health = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "well") })
		})
		ask := func() (closed <-chan struct{}, answer string) {
			conn := p.dial()
			t.Cleanup(func() { conn.Close() })
			go func() { _, _ = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n") }()
			r := bufio.NewReader(conn)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, _ = r.ReadByte()
			}()
			synctest.Wait()
			return gone, res.Status + " " + string(text)
		}
		first, _ := ask()
		for n := range 5 {
			if _, answer := ask(); answer != "200 OK well" {
				t.Fatalf("connection %d is answered %s", n+2, answer)
			}
		}
		<-first // has given way

		for range 3 {
			conn := p.dial()
			t.Cleanup(func() { conn.Close() })
			go func() { _, _ = io.WriteString(conn, halfSent["a call"]) }()
			synctest.Wait()
		}
		for range 2 {
			closed, answer := ask()
			<-closed
			if !strings.HasPrefix(answer, "503 ") || !strings.Contains(answer, `"resource_exhausted"`) || !strings.Contains(answer, "3 (limits.connections)") {
				t.Errorf("one more is answered %s", answer)
			}
		}
	})
}
