// Command snakepit serves tools written in Python, and calls them in sessions whose state survives.
//
// main.go, root.go and exit.go hold what all commands share: signals, the writers a command may use, and exit codes.
// Each command has a file of its own with its options and a function that runs it; those that speak to a server reach it
// through remote.go. The daemon itself is package app, its settings are package config, and docs/cli.md is the page for
// users, generated from the help texts by go test ./cmd/snakepit -update.
//
// Commands keep no global state and print to the writers they are given, so tests run any number of them in one
// process. The first SIGINT, SIGTERM or SIGHUP ends the context of the running command; another SIGINT or SIGTERM makes
// serve wait no longer.
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

// signals returns a context that the first SIGINT, SIGTERM or SIGHUP ends, and a channel that the second one closes. A
// third one ends the process as if there were no handler. SIGHUP counts only as the first: a terminal that goes away
// sends it more than once, and that is nobody's impatience. Under nohup it stays ignored.
func signals() (ctx context.Context, force <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	received, hangup := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(hangup, syscall.SIGHUP)
	}
	forced, done := make(chan struct{}), make(chan struct{})
	go func() {
		select {
		case <-received:
		case <-hangup:
		case <-done:
			return
		}
		cancel()
		select {
		case <-received:
			close(forced)
			signal.Stop(received)
		case <-done:
		}
	}()
	return ctx, forced, func() {
		signal.Stop(received)
		signal.Stop(hangup)
		close(done)
		cancel()
	}
}

// surviveBrokenPipe makes a write to standard output or standard error whose reader is gone fail, where it would end
// the process. Processes started from here on are not affected, as they would be by ignoring the signal.
func surviveBrokenPipe() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}
