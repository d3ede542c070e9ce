package execution_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// obedient is a store whose writes of content wait to be let go, and give up
// when their context ends.
type obedient struct {
	driver.Store
	letGo chan struct{}
}

func (s obedient) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	if b.Body != nil && b.If == driver.IfRevision {
		select {
		case <-s.letGo:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return s.Store.Apply(ctx, id, b)
}

// TestACallersCancelDoesNotAbortItsCommit: neither a cancel nor a deadline that
// ends in the midst of it.
func TestACallersCancelDoesNotAbortItsCommit(t *testing.T) {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		synctest.Test(t, func(t *testing.T) {
			letGo := make(chan struct{})
			sessions, err := session.New(obedient{memstore.New(), letGo}, &session.Options{SweepInterval: -1})
			if err != nil {
				t.Fatal(err)
			}
			h := open(t, 1, func(o *execution.Options) {
				o.Sessions, o.Directory = sessions, execution.NewLocal(sessions, "here")
			})
			defer h.close(t)
			defer func() { _ = sessions.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := h.Execute(ctx, h.request("s", "note", "kept"))
				done <- err
			}()
			synctest.Wait()
			if len(h.order) != 1 {
				t.Fatal("the call is not in its commit")
			}
			if errors.Is(cause, context.Canceled) {
				cancel()
			} else {
				<-ctx.Done()
			}
			synctest.Wait()
			close(letGo)
			if err := <-done; err != nil {
				t.Errorf("a commit whose caller had left by %v: %v", cause, err)
			}
			sess, err := sessions.Peek(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			if notes, _ := sess.Var("notes"); string(notes) != `["kept"]` {
				t.Errorf("notes are %s", notes)
			}
		})
	}
}

// TestLocalObjectsAreNotPushedOut: a binding may be forgotten for lack of room
// only if nothing is lost by it.
func TestLocalObjectsAreNotPushedOut(t *testing.T) {
	h := open(t, 1, func(o *execution.Options) { o.MaxBindings = 2 })
	defer h.close(t)
	h.do(t, "local", "keep", "0s")
	for _, id := range []string{"a", "b", "c", "d"} {
		h.do(t, id, "note", "x")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.forgotten, []string{"a", "b", "c"}) {
		t.Errorf("forgotten: %q", h.forgotten)
	}
}
