// Package lifecycle stops the parts of a program in the reverse order of their start.
//
// Whoever starts a part pushes the way to stop it. A start that fails half-way and an orderly shutdown then take the
// same path: Stop. It is bounded by its context even if a part ignores it, and it runs every step whatever the others
// answer. All methods may be called from several goroutines at once.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Grace is how long after the end of Stop's context a step may still run before it is left behind. A step that obeys
// its context needs a moment to do so, and the steps below it a moment each to do the least.
const Grace = time.Second

// ErrLeftBehind is in the error of a step that was still running Grace after the end of Stop's context.
var ErrLeftBehind = errors.New("still running when the time was up")

// Stack holds what has been started, the latest on top. The zero value is ready for use.
type Stack struct {
	mu    sync.Mutex // guards all below
	steps []step
	run   *run // the Stop under way, if any
}

type step struct {
	name string
	stop func(context.Context) error
}

type run struct {
	done chan struct{} // closed when err is set
	err  error
}

// Push adds the way to stop the part that has just been started. If a Stop is under way, it takes this step next.
func (s *Stack) Push(name string, stop func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, step{name, stop})
}

// Stop takes the steps from the top, runs each once, and returns their errors joined, each with the name of its step.
// When ctx ends, the remaining steps are still run, with the ended context, so that each can do the least; a step that
// does not return within Grace of the end is left behind, which its error says, and the parts below it must bear that.
//
// Stop on an empty stack does nothing. A Stop while another is under way waits for it and returns its error.
func (s *Stack) Stop(ctx context.Context) error {
	s.mu.Lock()
	r := s.run
	if r != nil {
		s.mu.Unlock()
		select {
		case <-r.done:
			return r.err
		case <-ctx.Done():
			return fmt.Errorf("wait for the stop under way: %w", context.Cause(ctx))
		}
	}
	r = &run{done: make(chan struct{})}
	s.run = r
	s.mu.Unlock()

	var errs []error
	for {
		top, ok := s.pop()
		if !ok {
			break
		}
		if err := top.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", top.name, err))
		}
	}
	r.err = errors.Join(errs...)
	close(r.done)
	return r.err
}

// pop takes the top step; on an empty stack it ends the Stop under way, in one move with finding the stack empty, so
// that no step pushed meanwhile is lost between the two.
func (s *Stack) pop() (step, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 {
		s.run = nil
		return step{}, false
	}
	top := s.steps[len(s.steps)-1]
	s.steps = s.steps[:len(s.steps)-1]
	return top, true
}

// do runs a step in a goroutine of its own, which outlives do only if the step is left behind.
func (st step) do(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- st.stop(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case err := <-ended:
		return err
	case <-grace.C:
		return fmt.Errorf("%w: %w", ErrLeftBehind, context.Cause(ctx))
	}
}
