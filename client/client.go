package client

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
)

// correlationHeader is package server's CorrelationHeader.
const correlationHeader = "X-Snakepit-Correlation-Id"

// A connection on which nothing has come for pingAfter is asked for a sign of
// life, and given up when none comes within pingTimeout.
const (
	pingAfter   = 15 * time.Second
	pingTimeout = 15 * time.Second
)

// Options of a Client; nil means the defaults.
type Options struct {
	// HTTPClient replaces the client's own; it must speak HTTP/2, also without
	// TLS if the URL is http.
	HTTPClient *http.Client
}

// Client speaks to one server.
type Client struct {
	url      string
	http     *http.Client
	calls    snakepitv1connect.ExecutionServiceClient
	sessions snakepitv1connect.SessionServiceClient
	pools    snakepitv1connect.PoolServiceClient
}

// New returns a client of the server at a URL such as "http://127.0.0.1:7460".
// It does not connect yet.
func New(baseURL string, opts *Options) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("server %q is no URL: it must look like http://127.0.0.1:7460", baseURL)
	}
	c := &Client{url: u.Scheme + "://" + u.Host + strings.TrimRight(u.Path, "/")}
	if opts != nil {
		c.http = opts.HTTPClient
	}
	if c.http == nil {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
		c.http = &http.Client{Transport: &http.Transport{
			Protocols: protocols,
			Proxy:     http.ProxyFromEnvironment,
			// A call may be silent for long; a server that is gone must not be
			// waited for as long.
			HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		}}
	}
	options := []connect.ClientOption{
		connect.WithInterceptors(&interceptor{url: c.url}),
		connect.WithAcceptCompression("gzip", nil, nil), // costs more time than it saves, on most networks
	}
	c.calls = snakepitv1connect.NewExecutionServiceClient(c.http, c.url, options...)
	c.sessions = snakepitv1connect.NewSessionServiceClient(c.http, c.url, options...)
	c.pools = snakepitv1connect.NewPoolServiceClient(c.http, c.url, options...)
	return c, nil
}

// URL is the server's address.
func (c *Client) URL() string { return c.url }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }
