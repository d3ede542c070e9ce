package drivertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/session/driver"
)

// calls are all calls of the contract, on a record "s" with an item "k".
func calls(s driver.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get": func(ctx context.Context) error {
			_, err := s.Get(ctx, "s", driver.Read{})
			return err
		},
		"GetItems": func(ctx context.Context) error {
			_, _, err := s.GetItems(ctx, "s", driver.Read{}, []string{"k"})
			return err
		},
		"Apply": func(ctx context.Context) error {
			_, err := s.Apply(ctx, "s", &driver.Batch{Head: []byte("written"), Body: []byte("written"), Put: put("k", "written"), Op: opID()})
			return err
		},
		"Apply of items": func(ctx context.Context) error {
			_, err := s.Apply(ctx, "s", &driver.Batch{Put: put("k", "written")})
			return err
		},
		"Apply of a delete": func(ctx context.Context) error {
			_, err := s.Apply(ctx, "s", &driver.Batch{Delete: true})
			return err
		},
		"Apply if an item is absent": func(ctx context.Context) error {
			_, err := s.Apply(ctx, "s", &driver.Batch{Put: put("new", "written"), Absent: []string{"new"}})
			return err
		},
		"Item": func(ctx context.Context) error {
			_, err := s.Item(ctx, "s", "k")
			return err
		},
		"Items": func(ctx context.Context) error {
			_, err := s.Items(ctx, driver.ItemRef{}, 10)
			return err
		},
		"List": func(ctx context.Context) error {
			_, err := s.List(ctx, "", "", 10)
			return err
		},
		"Ping": s.Ping,
	}
}

func testCancellation(t *testing.T, h Harness) {
	s := open(t, h)
	revision := create(t, s, "s", "head", "body")
	apply(t, s, "s", driver.Batch{Put: put("k", "item")})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()

	for name, call := range calls(s) {
		if err := call(canceled); !errors.Is(err, context.Canceled) || errors.Is(err, driver.ErrUnknown) {
			t.Errorf("%s with a canceled context: error %v, want only %v", name, err, context.Canceled)
		}
		if err := call(late); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, driver.ErrUnknown) {
			t.Errorf("%s with a deadline passed: error %v, want only %v", name, err, context.DeadlineExceeded)
		}
	}
	expect(t, s, "s", revision, "head", "body")
	expectItem(t, s, "s", "k", "item")

	t.Run("while writing", func(t *testing.T) { testCanceledWrites(t, open(t, h)) })
}

// testCanceledWrites cancels writes at any moment. What is reported as written
// must be there, what is reported as not written must not, and what is unknown
// may be either, but whole.
func testCanceledWrites(t *testing.T, s driver.Store) {
	for n := range 50 {
		id := fmt.Sprintf("s%d", n)
		ctx, cancel := context.WithCancel(t.Context())
		var canceler sync.WaitGroup
		canceler.Go(func() {
			for range n * 20 {
				_ = ctx.Err() // a moment, longer each time
			}
			cancel()
		})
		revision, err := s.Apply(ctx, id, &driver.Batch{If: driver.IfAbsent, Head: []byte("h"), Body: []byte("b"), Put: put("k", "i"), Op: opID()})
		canceler.Wait()
		cancel()
		switch {
		case err == nil:
			expect(t, s, id, revision, "h", "b")
			expectItem(t, s, id, "k", "i")
		case errors.Is(err, driver.ErrUnknown):
			if r, err := s.Get(t.Context(), id, driver.Read{}); err == nil {
				expect(t, s, id, r.Revision, "h", "b")
				expectItem(t, s, id, "k", "i")
			} else if !errors.Is(err, driver.ErrNotFound) {
				t.Errorf("Get(%q): %v", id, err)
			}
		case errors.Is(err, context.Canceled):
			expectAbsent(t, s, id)
			expectNoItem(t, s, id, "k")
		default:
			t.Errorf("canceled Apply: error %v, want %v or %v", err, context.Canceled, driver.ErrUnknown)
		}
	}
}

// testClosed checks that a closed store refuses everything, and that calls
// under way while it closes end in one way or the other.
func testClosed(t *testing.T, h Harness) {
	t.Run("refuses", func(t *testing.T) {
		s := open(t, h)
		create(t, s, "s", "head", "body")
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		for name, call := range calls(s) {
			if err := call(t.Context()); !errors.Is(err, driver.ErrClosed) {
				t.Errorf("%s after Close: error %v, want %v", name, err, driver.ErrClosed)
			}
		}
		if counter, ok := driver.As[driver.Counter](s); ok {
			if _, err := counter.Count(t.Context()); !errors.Is(err, driver.ErrClosed) {
				t.Errorf("Count after Close: error %v, want %v", err, driver.ErrClosed)
			}
		}
		if err := s.Close(); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("second Close: error %v, want %v", err, driver.ErrClosed)
		}
	})
	t.Run("while in use", func(t *testing.T) {
		s := open(t, h)
		var users sync.WaitGroup
		started := make(chan struct{}, 4)
		closed := make(chan struct{})
		for user := range 4 {
			users.Go(func() {
				for n := 0; ; n++ {
					late := false
					select {
					case <-closed:
						late = true
					default:
					}
					id := fmt.Sprintf("s%d-%d", user, n)
					_, err := s.Apply(t.Context(), id, &driver.Batch{If: driver.IfAbsent, Head: []byte("h"), Body: []byte("b"), Op: opID()})
					if err == nil {
						_, err = s.Get(t.Context(), id, driver.Read{})
					}
					if n == 3 {
						started <- struct{}{}
					}
					if (err != nil || late) && !errors.Is(err, driver.ErrClosed) {
						t.Errorf("while closing, or after: error %v, want %v", err, driver.ErrClosed)
					}
					if err != nil || late {
						return
					}
				}
			})
		}
		for range 4 {
			<-started
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		close(closed)
		users.Wait()
	})
}

// testLeaks checks that Close ends what the store started.
func testLeaks(t *testing.T, h Harness) {
	before := goleak.IgnoreCurrent()
	s := h.Open(t)
	create(t, s, "s", "head", "body")
	apply(t, s, "s", driver.Batch{Put: put("k", "item")})
	expectItem(t, s, "s", "k", "item")
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := goleak.Find(before); err != nil {
		t.Errorf("goroutines left after Close: %v", err)
	}
}
