package main

import (
	"context"
	"sync"
	"syscall"
	"time"
)

// pause is how long a caller waits after a failed call.
const pause = time.Millisecond

// drive calls from that many callers until the time is over, and kills the
// first worker on the way if it is asked to.
func drive(ctx context.Context, sys system, call func(context.Context) error, callers int, length, kill time.Duration) run {
	until := time.Now().Add(length)
	if kill > 0 {
		ids, _ := sys.processes()
		timer := time.AfterFunc(kill, func() { _ = syscall.Kill(ids[0], syscall.SIGKILL) })
		defer timer.Stop()
	}
	var all run
	var mu sync.Mutex
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			var mine run
			for time.Now().Before(until) && ctx.Err() == nil {
				began := time.Now()
				if err := call(ctx); err != nil {
					mine.failed++
					time.Sleep(pause)
					continue
				}
				mine.times = append(mine.times, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all.times = append(all.times, mine.times...)
			all.failed += mine.failed
		})
	}
	running.Wait()
	return all
}

// servers is a peer of one server process a worker, with one connection each.
// A caller takes a connection that nobody uses.
type servers struct {
	children []*child
	idle     chan func(context.Context) error
	closers  []func() error
}

// startServers starts the workers; connect makes the function that calls one.
func startServers(ctx context.Context, at place, script string,
	connect func(ctx context.Context, address string) (call func(context.Context) error, closer func() error, err error),
) (system, error) {
	s := &servers{idle: make(chan func(context.Context) error, workers)}
	for range workers {
		c, err := startChild(ctx, at, script)
		if err != nil {
			return nil, joined(err, s.close())
		}
		s.children = append(s.children, c)
		address, err := c.address()
		if err != nil {
			return nil, joined(err, s.close())
		}
		call, closer, err := connect(ctx, address)
		if err != nil {
			return nil, joined(err, s.close())
		}
		s.closers = append(s.closers, closer)
		s.idle <- call
	}
	return s, nil
}

func (s *servers) run(ctx context.Context, callers int, length, kill time.Duration) (run, error) {
	return drive(ctx, s, func(ctx context.Context) error {
		call := <-s.idle
		defer func() { s.idle <- call }()
		return call(ctx)
	}, callers, length, kill), nil
}

func (s *servers) processes() ([]int, int) {
	var ids []int
	for _, c := range s.children {
		ids = append(ids, c.cmd.Process.Pid)
	}
	return ids, len(ids)
}

func (s *servers) close() error {
	var errs []error
	for _, closer := range s.closers {
		errs = append(errs, closer())
	}
	for _, c := range s.children {
		c.end()
	}
	return joined(errs...)
}
