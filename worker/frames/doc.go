// Package frames is the standard transport: it speaks the protocol of
// docs/protocol.md, length-prefixed JSON-RPC frames over a socket that a worker
// inherits, with workers in any language. How their processes are started is
// the business of a worker.Launcher.
//
// # Concurrency
//
// A call is written by its caller, if the socket takes it at once, and by a
// goroutine otherwise, so that a caller whose context ends need not wait for a
// worker that does not read. Callers that wait for answers read, one at a time
// and for all of them, and never wait for anything else while they do: chunks
// are kept up to a window per call, whose credit is given as they are consumed,
// and what tools ask the host for is served in goroutines of the call. Log
// records and events are passed on by whoever reads, in the order they came and
// before a later answer; their receivers must be quick.
//
// A worker has one goroutine of its own; while it is idle, a second one reads.
//
// The arguments, attachments and variables of a call are not copied: nobody may
// change them after Call, not even when it has returned early. What a worker
// sends is in memory of its own for each message.
//
// # Failure
//
// A message that is wrong inside of its frame fails its call. A broken frame
// ends the worker, as where the next one begins is unknown then. Whatever ends
// a worker, every waiting call is told how its process ended; a call counts as
// not executed only if its frame was certainly not written completely.
//
// Read on in frames.go (start), offer.go (what a worker may say of itself),
// conn.go (its life), read.go (who reads), call.go and host.go.
package frames
