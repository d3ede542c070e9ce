package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
)

func TestClosed(t *testing.T) {
	st := open(t, nil, &session.Options{SweepInterval: time.Hour})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	_, err := st.Get(t.Context(), "s")
	var wrapped *session.Error
	if !errors.Is(err, session.ErrClosed) || !errors.As(err, &wrapped) || wrapped.Op != "get" || wrapped.ID != "s" || wrapped.Driver != "memory" {
		t.Errorf("get: %v", err)
	}
	if err := st.Ping(t.Context()); !errors.Is(err, session.ErrClosed) {
		t.Errorf("ping: %v", err)
	}
}

func TestErrorText(t *testing.T) {
	st := open(t, nil, nil)
	_, err := st.Get(t.Context(), "s1")
	if err == nil || err.Error() != `session get "s1" (memory): not found` {
		t.Errorf("error %v", err)
	}
}

func TestObserver(t *testing.T) {
	var ops, life []string
	st := open(t, nil, &session.Options{MaxSessions: 1, Observer: session.Observer{
		Operation: func(op session.Operation, result session.Result, d time.Duration) {
			if d < 0 {
				t.Errorf("%v took %v", op, d)
			}
			ops = append(ops, op.String()+" "+result.String())
		},
		Created: func(id, incarnation string) { life = append(life, "created "+id+" "+incarnation) },
		Deleted: func(id, incarnation string) { life = append(life, "deleted "+id+" "+incarnation) },
	}})
	s := create(t, st, "s", nil)
	st.Create(t.Context(), "s", nil)
	st.Create(t.Context(), "t", nil)
	st.Get(t.Context(), "x")
	st.Put(t.Context(), "s", "other", session.Content{})
	st.Update(t.Context(), "s", func(*session.Draft) error { return errors.New("no") })
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	st.Peek(canceled, "s")
	st.Commit(t.Context(), "s", session.Commit{})
	st.Delete(t.Context(), "s")
	st.Delete(t.Context(), "s")
	want := []string{
		"create ok", "create ok", "create quota", "get not_found", "put conflict", "update error", "peek canceled",
		"commit fenced", "delete ok", "delete ok",
	}
	if !slices.Equal(ops, want) {
		t.Errorf("operations %q, want %q", ops, want)
	}
	if want := []string{"created s " + s.Incarnation(), "deleted s " + s.Incarnation()}; !slices.Equal(life, want) {
		t.Errorf("life %q, want %q", life, want)
	}
	names := make(map[string]bool)
	for _, op := range session.Operations() {
		names[op.String()] = true
	}
	for _, r := range session.Results() {
		names[r.String()] = true
	}
	if want := len(session.Operations()) + len(session.Results()); len(names) != want || names[""] {
		t.Errorf("%d names for %d values", len(names), want)
	}
}

func TestReadOptions(t *testing.T) {
	var reads []driver.Read
	drv := newFaulty()
	st := open(t, drv, nil)
	s := create(t, st, "s", nil)
	drv.onGet(func(next getFunc, ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
		reads = append(reads, read)
		if read.Level == driver.Strong {
			return nil, fmt.Errorf("strong read: %w", driver.ErrUnsupported)
		}
		return next(ctx, id, read)
	})
	must[*session.Session](t)(st.Get(t.Context(), "s", session.WithPosition(s.Position()), session.WithLevel(driver.StaleOK)))
	must[bool](t)(st.Exists(t.Context(), "s", session.WithPosition("")))
	if _, err := st.Peek(t.Context(), "s", session.WithLevel(driver.Strong)); !errors.Is(err, session.ErrUnsupported) {
		t.Errorf("a level that cannot be given: %v", err)
	}
	if len(reads) != 3 || reads[0].Level != driver.StaleOK || reads[0].After == 0 || reads[1] != (driver.Read{}) {
		t.Errorf("reads %+v", reads)
	}
}

func TestOperationTimeout(t *testing.T) {
	drv := newFaulty()
	st := open(t, drv, &session.Options{OperationTimeout: time.Millisecond})
	drv.onGet(func(_ getFunc, ctx context.Context, _ string, _ driver.Read) (*driver.Record, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := st.Get(context.Background(), "s"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// A driver may derive contexts from the one it is given, and keep it: it ends
// with the operation.
func TestOperationContext(t *testing.T) {
	drv := newFaulty()
	st := open(t, drv, nil)
	create(t, st, "s", nil)
	type key struct{}
	var kept []context.Context
	drv.onGet(func(next getFunc, ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		if child.Value(key{}) != "value" {
			t.Error("the caller's values are lost")
		}
		if end, ok := child.Deadline(); !ok || time.Until(end) > session.DefaultOperationTimeout {
			t.Errorf("deadline %v, %v", end, ok)
		}
		if err := ctx.Err(); err != nil {
			t.Errorf("context has ended: %v", err)
		}
		kept = append(kept, ctx)
		return next(child, id, read)
	})
	must[*session.Session](t)(st.Get(context.WithValue(context.Background(), key{}, "value"), "s"))
	drv.onGet(func(next getFunc, ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
		kept = append(kept, ctx) // nobody asks for its deadline while the operation runs
		return next(ctx, id, read)
	})
	must[*session.Session](t)(st.Get(context.Background(), "s"))
	for i, ctx := range kept {
		select {
		case <-ctx.Done():
		default:
			t.Errorf("context %d goes on after its operation", i)
		}
	}
}
