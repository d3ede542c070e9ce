// Package server serves the control API of an engine over HTTP: the Connect,
// gRPC and gRPC-Web protocols, JSON for curl, health checks and metrics, all on
// one port.
//
// It translates and decides nothing: requests become calls of the engine and
// its session store, errors become codes by the table of internal/wireerr. A
// Server is an http.Handler that may be used anywhere; Serve and Shutdown run
// it on a listener.
//
// # Concurrency and failure
//
// All methods are safe for concurrent use. A request ends when its client
// leaves: a call that runs is cancelled then, and commits nothing. Shutdown
// lets running requests end until its context does.
//
// The API is described in docs/api.md and in api/snakepit/v1.
package server
