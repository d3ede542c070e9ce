package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/internal/wireerr"
)

// correlationHeader is package server's CorrelationHeader.
const correlationHeader = "X-Snakepit-Correlation-Id"

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
	c := &Client{url: u.Scheme + "://" + u.Host + u.Path}
	if opts != nil {
		c.http = opts.HTTPClient
	}
	if c.http == nil {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
		c.http = &http.Client{Transport: &http.Transport{Protocols: protocols, Proxy: http.ProxyFromEnvironment}}
	}
	options := []connect.ClientOption{connect.WithInterceptors(&interceptor{url: c.url})}
	c.calls = snakepitv1connect.NewExecutionServiceClient(c.http, c.url, options...)
	c.sessions = snakepitv1connect.NewSessionServiceClient(c.http, c.url, options...)
	c.pools = snakepitv1connect.NewPoolServiceClient(c.http, c.url, options...)
	return c, nil
}

// URL is the server's address.
func (c *Client) URL() string { return c.url }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// interceptor decodes errors and sends the correlation id of the context.
type interceptor struct{ url string }

// WrapUnary implements connect.Interceptor.
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if id := correlation.FromContext(ctx); id != "" {
			req.Header().Set(correlationHeader, id)
		}
		res, err := next(ctx, req)
		return res, i.decode(err)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if id := correlation.FromContext(ctx); id != "" {
			conn.RequestHeader().Set(correlationHeader, id)
		}
		return &decodingConn{StreamingClientConn: conn, decode: i.decode}
	}
}

// WrapStreamingHandler implements connect.Interceptor; a client has no handlers.
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (i *interceptor) decode(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no server answers at %s (is `snakepit serve` running?): %w", i.url, err)
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("server %s: %w", i.url, err)
	}
	return wireerr.Decode(err)
}

// decodingConn decodes the errors of a stream.
type decodingConn struct {
	connect.StreamingClientConn
	decode func(error) error
}

func (c *decodingConn) Receive(m any) error { return c.decode(c.StreamingClientConn.Receive(m)) }
func (c *decodingConn) Send(m any) error    { return c.decode(c.StreamingClientConn.Send(m)) }
