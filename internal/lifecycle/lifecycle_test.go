package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder notes the order in which steps run.
type recorder struct {
	mu    sync.Mutex // guards names
	names []string
}

func (r *recorder) step(name string, err error) (string, func(context.Context) error) {
	return name, func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.names = append(r.names, name)
		return err
	}
}

func (r *recorder) want(t *testing.T, names ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.names, names) {
		t.Errorf("steps ran as %q, want %q", r.names, names)
	}
}

func TestLastStartedStopsFirst(t *testing.T) {
	var s lifecycle.Stack
	var r recorder
	for _, name := range []string{"store", "pool", "server"} {
		s.Push(r.step(name, nil))
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(t, "server", "pool", "store")
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	r.want(t, "server", "pool", "store")
}

func TestErrorsAreJoinedWithTheNameOfTheStep(t *testing.T) {
	var s lifecycle.Stack
	var r recorder
	full, stuck := errors.New("disk full"), errors.New("stuck")
	s.Push(r.step("store", full))
	s.Push(r.step("pool", nil))
	s.Push(r.step("server", stuck))
	err := s.Stop(t.Context())
	if !errors.Is(err, full) || !errors.Is(err, stuck) {
		t.Errorf("error %v lacks a cause", err)
	}
	if want := "stop server: stuck\nstop store: disk full"; err.Error() != want {
		t.Errorf("error = %q, want %q", err, want)
	}
	r.want(t, "server", "pool", "store")
}

// start is how a program uses the stack: what has been started before the failure is stopped by the same call.
func start(ctx context.Context, s *lifecycle.Stack, r *recorder, failing string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(ctx))
		}
	}()
	for _, name := range []string{"store", "pool", "server"} {
		if name == failing {
			return fmt.Errorf("start %s: no luck", name)
		}
		s.Push(r.step(name, nil))
	}
	return nil
}

func TestHalfDoneStartIsRolledBack(t *testing.T) {
	var s lifecycle.Stack
	var r recorder
	if err := start(t.Context(), &s, &r, "server"); err == nil {
		t.Fatal("start succeeded")
	}
	r.want(t, "pool", "store")
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("stop after the rollback: %v", err)
	}
	r.want(t, "pool", "store")

	if err := start(t.Context(), &s, &r, ""); err != nil { // the stack can be used again
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(t, "pool", "store", "server", "pool", "store")
}

func TestStepThatObeysItsContextIsNotLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s lifecycle.Stack
		var r recorder
		s.Push(r.step("store", nil))
		s.Push("pool", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(lifecycle.Grace / 2) // virtual time: kills what it waited for
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		err := s.Stop(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, lifecycle.ErrLeftBehind) {
			t.Errorf("error = %v, want what the step answered", err)
		}
		if took := time.Since(began); took != time.Minute+lifecycle.Grace/2 {
			t.Errorf("took %v", took)
		}
		r.want(t, "store")
	})
}

func TestStopIsBoundedAndReachesEveryStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s lifecycle.Stack
		release := make(chan struct{})
		var ended []error // what the context said when the step ran
		s.Push("store", func(ctx context.Context) error { ended = append(ended, ctx.Err()); return nil })
		s.Push("pool", func(context.Context) error { <-release; return nil })
		s.Push("server", func(ctx context.Context) error { ended = append(ended, ctx.Err()); return nil })

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		err := s.Stop(ctx)
		if took := time.Since(began); took != 10*time.Second+lifecycle.Grace {
			t.Errorf("took %v, want the timeout and the grace", took)
		}
		if !errors.Is(err, lifecycle.ErrLeftBehind) || !strings.HasPrefix(err.Error(), "stop pool: ") {
			t.Errorf("error = %v, want that pool was left behind", err)
		}
		if want := []error{nil, context.DeadlineExceeded}; !slices.Equal(ended, want) {
			t.Errorf("contexts of server and store: %v, want %v", ended, want)
		}
		close(release)
	})
}

func TestConcurrentStopsShareOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s lifecycle.Stack
		var ran atomic.Int32
		broken := errors.New("broken")
		s.Push("pool", func(context.Context) error {
			ran.Add(1)
			time.Sleep(time.Second) // virtual time
			return broken
		})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := s.Stop(t.Context()); !errors.Is(err, broken) {
					t.Errorf("error = %v, want that of the run", err)
				}
			})
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		synctest.Wait() // one of the eight is inside the step
		if err := s.Stop(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient stop: %v, want its own deadline", err)
		}
		wg.Wait()
		if n := ran.Load(); n != 1 {
			t.Errorf("the step ran %d times", n)
		}
	})
}

func TestStepPushedDuringStopIsTaken(t *testing.T) {
	var s lifecycle.Stack
	var r recorder
	s.Push(r.step("store", nil))
	s.Push("server", func(context.Context) error {
		s.Push(r.step("late", nil))
		return nil
	})
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(t, "late", "store")
}
