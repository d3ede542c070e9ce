package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"connectrpc.com/connect"
	connectcors "connectrpc.com/cors"
	"github.com/rs/cors"
)

// There is no authentication, so whoever can make a browser of somebody in this
// network send a request could run tools. Three things stand against that:
//
//   - Host names a name of this server. A page can give itself a name that
//     resolves to our address (DNS rebinding), and is of our own origin then as
//     far as its browser can tell; but the name it has to use is its own. An
//     address as Host needs no list: nobody can make one resolve to another.
//   - Origin, which browsers send with everything a page of another site does
//     beyond reading, is on a list.
//   - A page reads answers only if CORS headers let it; those on the list get
//     them.

// pages decides which web pages may use the server.
type pages struct {
	hosts   []string // in lower case; "*.example.com" for all below, "*" for any
	origins []string // in lower case; "*" for any
}

// restrict lets through to next what may pass, and answers the rest.
func (p pages) restrict(next http.Handler) http.Handler {
	next = p.share(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.known(r.Host) {
			refuse(w, http.StatusForbidden, connect.CodePermissionDenied, fmt.Sprintf(
				"%q is not a name of this server: use its address, or add the name to allowed_hosts", r.Host))
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" && !p.welcome(origin, r) {
			refuse(w, http.StatusForbidden, connect.CodePermissionDenied, fmt.Sprintf(
				"requests of the page %s are refused: add its origin to cors_origins if it may run tools", origin))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// share adds the headers by which a browser lets pages of the listed origins
// read answers, and answers its questions beforehand.
func (p pages) share(next http.Handler) http.Handler {
	if len(p.origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: p.origins,
		AllowedMethods: append(connectcors.AllowedMethods(), http.MethodHead, http.MethodPut),
		AllowedHeaders: append(connectcors.AllowedHeaders(), CorrelationHeader, "Traceparent", "Idempotency-Key", "If-None-Match"),
		ExposedHeaders: append(connectcors.ExposedHeaders(), CorrelationHeader, "Retry-After", "ETag"),
		MaxAge:         7200, // the longest that a browser keeps an answer
		// Of a page on the internet, for a server in a private network.
		AllowPrivateNetwork: true,
	}).Handler(next)
}

// known reports whether a Host header is one that a page of another site
// cannot cause.
func (p pages) known(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || isLocalName(host) {
		return true
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return slices.ContainsFunc(p.hosts, func(name string) bool {
		below, wild := strings.CutPrefix(name, "*")
		return name == host || wild && strings.HasSuffix(host, below)
	})
}

// welcome reports whether a page of this origin may send the request: one of
// ours or on the list, or of this machine if only this machine reaches us.
func (p pages) welcome(origin string, r *http.Request) bool {
	if slices.Contains(p.origins, "*") || slices.Contains(p.origins, strings.ToLower(origin)) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	return strings.EqualFold(u.Host, r.Host) || onLoopback(r) && isLocal(u.Hostname())
}

func onLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	local, err := netip.ParseAddrPort(addr.String())
	return err == nil && local.Addr().Unmap().IsLoopback()
}

func isLocal(host string) bool {
	addr, err := netip.ParseAddr(host)
	return isLocalName(host) || err == nil && addr.Unmap().IsLoopback()
}

func isLocalName(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func lower(list []string) []string {
	list = slices.Clone(list)
	for i := range list {
		list[i] = strings.ToLower(list[i])
	}
	return list
}
