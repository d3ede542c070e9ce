// Package workertest is for those who test with workers: a worker.Transport
// whose workers live in this process and do what the test tells them (Fake),
// and the suite that every transport must pass (Run).
//
// # The tool set
//
// The suite calls these tools, which the workers of the transport under test
// offer. File tools.py has them for the Python SDK (PythonTools is its text),
// StandardTools for the Fake.
//
//	echo(value)                  returns value
//	add(a: int, b: int)          returns a + b; idempotent
//	fail(message)                raises ValueError(message)
//	sleep(seconds, notify="")    calls the host tool notify, if named; then waits, unless cancelled, and returns "slept"
//	slow_cancel(seconds, notify="")  the same, but deaf to a cancel for the whole time
//	count(n, notify="")          yields {"i": 0} to {"i": n-1}, calling the host tool notify, if named, with that before each
//	remember(text, session)      appends to session.vars["notes"] and returns {"count": length}
//	recall(session)              returns session.vars["notes"], or [] if there is none; changes nothing; readonly
//	hold(session)                counts its calls in a local object, returned as {"count": n}; changes no variable
//	remember_and_fail(text, session)  appends, then raises ValueError
//	crash(code)                  ends the worker's process at once with that status
//	big(size)                    returns {"size": size, "data": size bytes of value 0x5a}
//	unencodable()                returns something that no encoding exists for
//	program_put(name, data, session)  stores bytes as a program and returns {"size": length}
//	program_get(name, session)   returns a program's bytes
//	linger(session)              leaves a thread that goes on writing programs when it has returned; that logs "refused" once it cannot
//	host_call(tool, args={})     calls a tool of the host and returns its result
//	log(message, level="info")   logs; returns null
//
// The result of host tools that notify is not looked at.
//
// # Concurrency and failure
//
// A Fake is safe for concurrent use once it has been given to a pool; its
// fields are not changed after that. Goroutines of its workers end with their
// tools, whose context ends with the worker.
package workertest
