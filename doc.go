// Package snakepit runs tools written in Python, with sessions whose state
// outlives the worker that holds it and, on a durable store, the process.
//
//	engine, err := snakepit.Open(ctx, snakepit.Config{
//		Pools: []snakepit.PoolConfig{{Tools: "tools.py"}},
//	})
//	...
//	defer engine.Close()
//	result, err := engine.ExecuteInSession(ctx, "alice", "remember", snakepit.Args{"text": "milk"})
//
// # What it owns
//
// An Engine owns its pools of workers and its session store: Open starts the
// worker processes and Close ends them. Sessions are kept in memory unless
// Config.Store is another driver, so that a program links only what it uses.
//
// # Concurrency and failure
//
// All methods are safe for concurrent use. A call in a session returns after
// what it changed is committed; errors say whether a call may have been
// executed. See package execution for the rules of a call in a session, package
// session for the store, and package worker for pools and their errors.
//
// Python 3.9 or later must be installed; the Python side of Snakepit comes with
// this package and needs nothing else.
package snakepit
