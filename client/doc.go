// Package client is the Go client of the control API: calls of tools, sessions
// with their programs, and a look at pools and workers of a `snakepit serve`
// elsewhere.
//
// A program that uses it links neither the engine nor any storage driver. Errors
// are those of the packages session, worker and execution: errors.Is(err,
// session.ErrNotFound) holds here as it does inside the server.
//
// # Concurrency and failure
//
// A Client is safe for concurrent use and keeps connections open until Close.
// It repeats nothing by itself: a call that may have been executed is for the
// caller to judge. A deadline of the context goes with the request.
//
// The API is described in docs/api.md.
package client
