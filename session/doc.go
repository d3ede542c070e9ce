// Package session keeps the state of sessions: small records with variables,
// labels, metadata and programs, which live until they are deleted or have not
// been used for their time to live.
//
// A Store is the facade over a storage driver (package session/driver). Every
// rule about sessions is written here, once, and holds on every driver: what
// an id or a variable may be, when a session expires, what happens when two
// callers change one session, how large things may be, what an unknown outcome
// means, how the bytes are laid out.
//
// # Sessions are values
//
// A Session is an immutable view of one state of one session. It is decoded
// only as far as it is asked, may be kept as long as one likes, and is shared:
// the store hands the same view to all readers of that state, and bytes it
// returns must not be modified.
//
// # Changes
//
// Every change is one conditional write of the whole record. Update runs a
// function on a Draft and repeats it when another writer came first, so the
// function may run several times and must have no effects besides the draft.
// Patch works per top-level key, Put replaces everything but only at the
// revision the caller has seen. None holds a lock while the caller's code runs.
//
// A write that was acknowledged is kept as the driver promises. A write whose
// outcome the backend could not tell is looked up by its operation id, the last
// 16 of which every record keeps; only if that cannot answer the caller gets
// ErrUnknown: it may or may not have been made.
//
// # Calls with an id
//
// A commit can record a call that was given an id, with its answer, and then
// requires that none of that id is recorded: its effect on the session happens
// once. FindCall finds it, CloseCall rules it out. Ids are kept for
// Options.CallRetention within Options.MaxCallBytes a session, apart from the
// 16 operation ids, and go with their session; KeepCall records calls that have
// none. See calllog.go.
//
// # Expiry
//
// Every write stores the deadline now + TTL + TTL/10. Reading with Get counts
// as use, and so does a change that changes nothing; they write only when less
// than a full TTL is left, at most about once in TTL/10. So a session never
// expires before it was idle for its TTL, and at most TTL/10 later. From its
// deadline on it is not found, by any operation, whether or not the sweeper has
// removed it already.
//
// A Hold is a use that lasts. While a call holds its session, the deadline lies
// behind the longest time the call may take: it is moved there if the TTL alone
// does not reach that far, and set right at the end. Only the absolute deadline
// comes before a hold.
//
// # Concurrency and failure
//
// Store and Session are safe for concurrent use; a Draft and a StagedProgram
// belong to one goroutine, as does a ProgramReader except for ReadAt. New
// starts one goroutine, the sweeper; Close ends it.
//
// Errors are *Error values around a sentinel that errors.Is finds, such as
// ErrNotFound or ErrConflict. Calls the driver refused with ErrUnavailable,
// which says that nothing was written, are repeated a few times with backoff.
//
// # Where to read on
//
// Package session/driver is for those who write a backend. The layout of the
// stored bytes is described in envelope.go, record.go and calllog.go; the bounds
// of a store are in quota.go (how many sessions) and usage.go (how many bytes).
package session
