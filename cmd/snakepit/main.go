// Command snakepit serves tools written in Python, and calls them in sessions whose state survives.
//
// main.go, root.go and exit.go hold what all commands share: signals, the writers a command may use, and exit codes.
// Each command has a file of its own with its options and a function that runs it; those that speak to a server reach it
// through remote.go. The daemon itself is package app, its settings are package config, and docs/cli.md is the page for
// users, generated from the help texts by go test ./cmd/snakepit -update.
//
// Commands keep no global state and print to the writers they are given, so tests run any number of them in one
// process. The first SIGINT or SIGTERM ends the context of the running command; the second one makes serve wait no longer.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(realMain())
}

func realMain() int {
	ctx, force, stop := signals()
	defer stop()
	return run(ctx, env{
		environ: os.Environ(),
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		force:   force,
	}, os.Args[1:])
}

// signals returns a context that the first SIGINT or SIGTERM ends, and a channel that the second one closes. A third one
// ends the process as if there were no handler.
func signals() (ctx context.Context, force <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	received := make(chan os.Signal, 2)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	forced, done := make(chan struct{}), make(chan struct{})
	go func() {
		for _, act := range []func(){cancel, func() { close(forced); signal.Stop(received) }} {
			select {
			case <-received:
				act()
			case <-done:
				return
			}
		}
	}()
	return ctx, forced, func() {
		signal.Stop(received)
		close(done)
		cancel()
	}
}
