package session_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a store over drv, or over a new memory driver if drv is nil. It
// has no sweeper goroutine unless the options ask for one.
func open(t testing.TB, drv driver.Store, opts *session.Options) *session.Store {
	t.Helper()
	if drv == nil {
		drv = memstore.New()
	}
	var o session.Options
	if opts != nil {
		o = *opts
	}
	if o.SweepInterval == 0 {
		o.SweepInterval = -1
	}
	st, err := session.New(drv, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return st
}

// create makes a session that does not exist.
func create(t testing.TB, st *session.Store, id string, opts *session.CreateOptions) *session.Session {
	t.Helper()
	s, created, err := st.Create(t.Context(), id, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !created {
		t.Fatalf("session %q existed", id)
	}
	return s
}

// must returns v, or ends the test.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantVars(t testing.TB, s *session.Session, want string) {
	t.Helper()
	if got := string(s.Vars()); got != want {
		t.Errorf("variables are %s, want %s", got, want)
	}
}

func vars(pairs ...string) map[string]json.RawMessage {
	m := make(map[string]json.RawMessage)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return m
}

// faulty is a driver whose calls a test can interfere with.
type faulty struct {
	driver.Store
	mu    sync.Mutex
	apply func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error)
	get   func(next getFunc, ctx context.Context, id string, read driver.Read) (*driver.Record, error)
}

type (
	applyFunc func(context.Context, string, *driver.Batch) (driver.Revision, error)
	getFunc   func(context.Context, string, driver.Read) (*driver.Record, error)
)

func newFaulty() *faulty { return &faulty{Store: memstore.New()} }

func (f *faulty) Unwrap() driver.Store { return f.Store }

// onApply makes all following calls of Apply go through fn.
func (f *faulty) onApply(fn func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apply = fn
}

func (f *faulty) onGet(fn func(next getFunc, ctx context.Context, id string, read driver.Read) (*driver.Record, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.get = fn
}

func (f *faulty) Apply(ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
	f.mu.Lock()
	fn := f.apply
	f.mu.Unlock()
	if fn == nil {
		return f.Store.Apply(ctx, id, b)
	}
	return fn(f.Store.Apply, ctx, id, b)
}

func (f *faulty) Get(ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
	f.mu.Lock()
	fn := f.get
	f.mu.Unlock()
	if fn == nil {
		return f.Store.Get(ctx, id, read)
	}
	return fn(f.Store.Get, ctx, id, read)
}
