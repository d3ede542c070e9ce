package execution_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// betweening is a memory store that runs a function before it applies a batch.
type betweening struct {
	driver.Store
	before atomic.Pointer[func()]
}

func (b *betweening) Apply(ctx context.Context, id string, batch *driver.Batch) (driver.Revision, error) {
	if f := b.before.Swap(nil); f != nil {
		(*f)()
	}
	return b.Store.Apply(ctx, id, batch)
}

// outliving keeps the host of a call for what a thread of its tool would go on
// asking after the tool has returned, whatever the transport lets through.
type outliving struct {
	t     *testing.T
	store *betweening
	late  func(host worker.Host, open io.WriteCloser)
}

func (o *outliving) run(inv *workertest.Invocation) (any, error) {
	host := inv.Call().Host
	write := func(name, text string) io.WriteCloser {
		w, err := host.WriteProgram(inv.Context(), name, "")
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			o.t.Error(err)
		}
		return w
	}
	if err := write("model", "as answered").Close(); err != nil {
		return nil, err
	}
	open := write("model", "too late")
	during := func() { o.late(host, open) }
	o.store.before.Store(&during)
	return "answered", nil
}

// A thread of a tool that goes on asking after the tool's answer changes
// nothing of what the answer commits, and is told why.
func TestTheCommitHasWhatWasThereAtTheAnswer(t *testing.T) {
	store := &betweening{Store: memstore.New()}
	sessions, err := session.New(store, &session.Options{SweepInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	called := false
	tool := &outliving{t: t, store: store, late: func(host worker.Host, open io.WriteCloser) {
		called = true
		_, readErr := host.ReadProgram(t.Context(), "model", 0, 10)
		_, writeErr := host.WriteProgram(t.Context(), "other", "")
		_, callErr := host.CallTool(t.Context(), "effect", nil)
		for what, err := range map[string]error{
			"read": readErr, "write": writeErr, "call": callErr,
			"complete": open.Close(), "delete": host.DeleteProgram(t.Context(), "model"),
		} {
			if !errors.Is(err, worker.ErrCallEnded) {
				t.Errorf("%s after the answer: %v, want ErrCallEnded", what, err)
			}
		}
	}}
	pool, err := worker.NewPool(worker.PoolOptions{
		Size: 1, PingInterval: -1,
		Transport: &workertest.Fake{Tools: []workertest.Tool{{Tool: worker.Tool{Name: "outlive", Session: true}, Run: tool.run}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(pool.Stop(context.Background()), sessions.Close()); err != nil {
			t.Error(err)
		}
	}()
	x := execution.New(execution.Options{
		Sessions: sessions, Directory: execution.NewLocal(sessions, "here"), Pools: []*worker.Pool{pool},
		HostTools: map[string]execution.HostTool{
			"effect": func(context.Context, json.RawMessage) (any, error) {
				t.Error("a host tool ran after the answer")
				return nil, nil
			},
		},
	})
	if _, _, err := sessions.Create(t.Context(), "s", nil); err != nil {
		t.Fatal(err)
	}
	// The first commit is the claim.
	if _, err := x.Execute(t.Context(), execution.Request{Pool: pool, Session: "s", Call: worker.Call{Tool: "outlive"}}); err != nil {
		t.Fatal(err)
	}
	if !called {
		t.Fatal("nothing was asked after the answer")
	}
	r, err := sessions.OpenProgram(t.Context(), "s", "model")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "as answered" {
		t.Errorf("the committed program reads %q (%v)", got, err)
	}
	programs, err := sessions.Programs(t.Context(), "s")
	if err != nil || len(programs) != 1 {
		t.Errorf("the session has the programs %v (%v), want model alone", programs, err)
	}
	// What was not committed is cleaned up, not left to the sweeper.
	items, err := store.Items(t.Context(), driver.ItemRef{}, 100)
	if err != nil || len(items) != 1 {
		t.Errorf("the store has the items %v (%v), want the one of model", items, err)
	}
}
