// Package worker owns pools of workers: processes of another language that run
// tools. It starts them, keeps them running, gives each call a free one, and
// tells a caller honestly what happened when one dies.
//
// The package knows the life of a worker and nothing of its wire protocol
// (Transport is the seam; package worker/frames implements it) or of how an
// operating system process is started (Launcher; package worker/process). It
// knows nothing of sessions either: a session reaches a worker as an id and
// opaque state, and a pool as the wish for a certain worker.
//
// # Concurrency and failure
//
// All exported types are safe for concurrent use. NewPool starts nothing;
// Start starts goroutines, one for each worker, and Stop ends them all. A
// worker that ends is started again with growing pauses. A slot is free only
// when its worker has answered or ended, so a cancelled call never makes two
// calls overlap in one worker.
//
// Read on in contract.go for the seam, pool.go for the pool (admission.go,
// acquire.go and queue.go for its callers, supervise.go and state.go for its
// workers), and in docs/protocol.md for the wire protocol of the standard
// transport.
package worker
