package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/server"
)

// TestUnreadStreamsEnd starts streams whose client stays and reads nothing. Each
// gives back its session's turn when its time is over; it kept it for ever, for
// the write that waited knew nothing of the call's deadline.
func TestUnreadStreamsEnd(t *testing.T) {
	for _, p := range append([]protocol{{name: "lines of JSON"}}, protocols...) {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pipe := newPipes()
				r := serveOn(t, pipe, func(cfg *snakepit.Config, _ *server.Options) { cfg.Pools[0].QueueTimeout = 5 * time.Minute })
				c := httpClient(t, p.http2)
				transport := c.Transport.(*http.Transport)
				transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10} // what is sent before anything is read
				transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return pipe.dial(), nil }
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				const args = `{"n":100000000}`
				if p.name == "lines of JSON" {
					body := `{"invocation":{"tool":"count","session":"s","arguments":` + args + `}}`
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+streamPath, strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", "application/json")
					res, err := c.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
					if _, err := io.ReadFull(res.Body, make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
				} else {
					sent, err := snakepitv1connect.NewExecutionServiceClient(c, "http://localhost", p.options...).Stream(ctx, stream("count", args, "s"))
					if err != nil {
						t.Fatal(err)
					}
					defer sent.Close()
					if !sent.Receive() {
						t.Fatal(sent.Err())
					}
				}
				began := time.Now()
				if _, err := r.engine.ExecuteInSession(t.Context(), "s", "remember", snakepit.Args{"text": "x"}); err != nil {
					t.Errorf("the next call of the session: %v", err)
				}
				if took := time.Since(began); took > 2*server.DefaultBodyTimeout {
					t.Errorf("the session was held for %v", took)
				}
				leave()
			})
		})
	}
}
