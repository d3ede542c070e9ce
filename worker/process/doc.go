// Package process starts workers as operating system processes, and sees to it
// that they end. It is the only user of os/exec in this project, and the
// standard worker.Launcher.
//
// # What it promises
//
// A worker lives in a process group of its own and never longer than its host:
//
//   - When the worker's process ends, its whole group is killed, and so is
//     every process that carries its run id.
//   - When the host ends, also by kill -9, the kernel kills the worker (Linux;
//     elsewhere the worker notices the end of its socket). What the worker had
//     started itself is killed by the next launcher over the same run
//     directory.
//   - Nothing else is ever killed: a process is ours if it has a recorded pid
//     and start time, or carries a recorded run id in its environment, or is in
//     a process group that provably holds one of those. A number used again
//     by a stranger matches none of these.
//
// The run id is the variable SNAKEPIT_RUN_ID in the environment of a worker,
// which its children inherit. A process that is to outlive its worker on
// purpose has to leave its group and drop that variable.
//
// # Concurrency
//
// A Launcher and its processes are safe for concurrent use. New starts one
// goroutine, bound to a thread of its own for as long as the launcher lives,
// because Linux ties the parent-death signal to the forking thread; each
// process has one goroutine that waits for it and one for each output. Close
// ends all of them.
//
// FindPython chooses the interpreter for a Python worker.
//
// Read on in launcher.go; registry.go and orphans.go hold the clean-up.
package process
