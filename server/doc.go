// Package server serves the control API of an engine over HTTP: the Connect,
// gRPC and gRPC-Web protocols with gRPC's reflection and health service, JSON,
// streams as lines or events and programs as bytes for curl and browsers, health
// checks and metrics, all on one port.
//
// Of calls and sessions it decides nothing: requests become calls of the engine
// and its session store, errors become codes by the table of internal/wireerr.
// Its own are the rules of the door: which hosts and origins a request may name
// (origin.go), how fast its body must arrive (body.go), how many bytes may be in
// work (budget.go), and how many connections there may be (connections.go). A
// Server is an http.Handler that may be used anywhere; Serve and Shutdown run it
// on a listener, and only there connections are bounded.
//
// # Concurrency and failure
//
// All methods are safe for concurrent use. A request ends when its client
// leaves: a call that runs is cancelled then, and commits nothing. Shutdown
// lets running requests end until its context does.
//
// The API is described in docs/api.md and in api/snakepit/v1.
package server
