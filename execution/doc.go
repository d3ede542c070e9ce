// Package execution owns one call in a session, from its turn to its answer:
// it waits for the session's turn, makes this process the session's owner,
// sends the state to a worker that does not hold it yet, and commits what the
// call changed before the caller sees the result.
//
// It joins package session, which keeps the state, and package worker, which
// runs the call; neither knows the other. Who owns a session is asked of a
// Directory: one process alone has Local, a cluster has its own.
//
// # Concurrency and failure
//
// Calls of one session run one at a time in the order in which they came; calls
// of tools declared read-only may overlap each other, and commit nothing. While
// they wait for it they are in the queue of their pool, whose limit and timeout
// are one for the turn and for a worker. A call made by a host tool on behalf
// of a running call, with the context the host tool was given, shares the turn
// of that call: such calls wait only for each other, and those of a read-only
// call must be read-only. Two sessions whose calls call into each other wait
// for each other until their contexts end.
//
// A call that was given an id is recorded with its commit, also if it changed
// nothing, and a repetition gets its answer without running. Of one id one call
// runs at a time; across processes the commit, which requires that none of the
// id is recorded, lets one of them through. A call without a session is recorded
// when it has run.
//
// A call that raises, is cancelled, or loses its worker commits nothing. A call
// that ran but whose state could not be committed ends with a
// *StateNotCommittedError, and the copy of the state in the worker is dropped.
// What a worker holds of a session is a cache: the store has the truth, and the
// state version decides whether the copy may be used.
//
// Read on in executor.go for the call itself, turn.go for the order of calls,
// and binding.go for who holds what.
package execution
