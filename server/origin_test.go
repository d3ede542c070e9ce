package server_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/server"
)

const echoCall = `{"invocation":{"tool":"echo"}}`

// elsewhere is a listener whose connections seem to arrive at an address that
// other machines reach.
type elsewhere struct{ net.Listener }

func (l elsewhere) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return elsewhereConn{c}, nil
}

type elsewhereConn struct{ net.Conn }

func (elsewhereConn) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7460}
}

func serveElsewhere(t *testing.T, change func(*snakepit.Config, *server.Options)) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, elsewhere{l}, change)
}

func TestHosts(t *testing.T) {
	allow := func(_ *snakepit.Config, opts *server.Options) {
		opts.AllowedHosts = []string{"Pit.example.com", "*.internal"}
		opts.Health = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	}
	known := map[string]bool{
		"localhost:7460": true, "localhost": true, "x.localhost": true, "127.0.0.1": true, "127.0.0.1:1": true, "[::1]:7460": true, "[::1]": true,
		"192.0.2.1:7460": true, "10.0.0.7": true, // an address is no name that somebody could give to ours
		"pit.example.com": true, "PIT.example.com.:80": true, "a.internal": true, "a.b.internal:7460": true,
		"evil.example": false, "evil.example:7460": false, "localhost.evil.example": false, "xpit.example.com": false, "internal": false,
		"127.0.0.1.evil.example": false, "evilinternal": false,
	}
	for name, r := range map[string]*running{"on loopback": serve(t, allow), "elsewhere": serveElsewhere(t, allow)} {
		for host, want := range known {
			for _, get := range []bool{false, true} {
				send := func() answer {
					if get {
						return r.send(t, http.MethodGet, "/livez", "", "Host", host)
					}
					return r.post(t, execute, echoCall, "Host", host)
				}
				res := send()
				if got := res.status == http.StatusOK; got != want {
					t.Errorf("%s: %q is answered %d %s", name, host, res.status, res.body)
				}
				if !want && (res.status != http.StatusForbidden || !strings.Contains(res.body, `"permission_denied"`) ||
					!strings.Contains(res.body, "allowed_hosts") || res.header.Get("Content-Type") != "application/json") {
					t.Errorf("%s: %q is told %d %s", name, host, res.status, res.body)
				}
			}
		}
	}
	r := serveElsewhere(t, func(_ *snakepit.Config, opts *server.Options) { opts.AllowedHosts = []string{"*"} })
	if res := r.post(t, execute, echoCall, "Host", "any.example"); res.status != http.StatusOK {
		t.Errorf("with * any name is answered %d", res.status)
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	here, remote := serve(t, nil), serveElsewhere(t, nil)
	for origin, want := range map[string]struct{ here, remote int }{
		"":                          {200, 200},
		"http://localhost:3000":     {200, 403},
		"http://127.0.0.1:7460":     {200, 403},
		"http://[::1]:7460":         {200, 403},
		"http://app.localhost":      {200, 403},
		"https://evil.example":      {403, 403},
		"http://evil.example:7460":  {403, 403},
		"http://localhost.evil.org": {403, 403},
		"http://10.0.0.1":           {403, 403},
		"null":                      {403, 403},
	} {
		header := []string{"Origin", origin}
		if origin == "" {
			header = nil
		}
		if res := here.post(t, execute, echoCall, header...); res.status != want.here {
			t.Errorf("on loopback, %q is answered %d %s, want %d", origin, res.status, res.body, want.here)
		}
		res := remote.post(t, execute, echoCall, header...)
		if res.status != want.remote || res.status == 403 && !strings.Contains(res.body, "cors_origins") {
			t.Errorf("elsewhere, %q is answered %d %s, want %d", origin, res.status, res.body, want.remote)
		}
	}
	// Its own pages, if somebody serves some by a proxy, are not foreign.
	if res := remote.post(t, execute, echoCall, "Host", "192.0.2.1:7460", "Origin", "http://192.0.2.1:7460"); res.status != http.StatusOK {
		t.Errorf("a page of the same origin is answered %d %s", res.status, res.body)
	}
}

func TestListedPages(t *testing.T) {
	const app = "https://app.example.com"
	r := serveElsewhere(t, func(_ *snakepit.Config, opts *server.Options) { opts.CORSOrigins = []string{app} })
	preflight := func(origin string) answer {
		return r.send(t, http.MethodOptions, execute, "", "Origin", origin,
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "connect-protocol-version,content-type,idempotency-key,x-snakepit-correlation-id")
	}
	res := preflight(app)
	if res.status >= 300 || res.header.Get("Access-Control-Allow-Origin") != app || res.header.Get("Access-Control-Allow-Methods") != "POST" ||
		!strings.Contains(res.header.Get("Access-Control-Allow-Headers"), "idempotency-key") {
		t.Errorf("the browser's question is answered %d %v", res.status, res.header)
	}
	res = r.post(t, execute, echoCall, "Origin", app)
	if res.status != http.StatusOK || res.header.Get("Access-Control-Allow-Origin") != app || !strings.Contains(res.header.Get("Access-Control-Expose-Headers"), server.CorrelationHeader) {
		t.Errorf("a call is answered %d %v", res.status, res.header)
	}
	for _, foreign := range []string{"https://evil.example", "http://app.example.com", "https://app.example.com.evil.example"} {
		if res := preflight(foreign); res.status != http.StatusForbidden || res.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: the browser's question is answered %d %v", foreign, res.status, res.header)
		}
		if res := r.post(t, execute, echoCall, "Origin", foreign); res.status != http.StatusForbidden {
			t.Errorf("%s: a call is answered %d", foreign, res.status)
		}
	}
}
