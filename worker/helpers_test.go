package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fast is the options of most tests: no pings, one worker.
func fast(f worker.Transport) worker.PoolOptions {
	return worker.PoolOptions{Size: 1, Transport: f, PingInterval: -1}
}

// newPool returns a pool that ends with the test.
func newPool(t testing.TB, opts worker.PoolOptions) *worker.Pool {
	t.Helper()
	p, err := worker.NewPool(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Stop(ctx)
	})
	return p
}

// startPool returns a pool all of whose workers are ready.
func startPool(t testing.TB, opts worker.PoolOptions) *worker.Pool {
	t.Helper()
	up := make(chan struct{}, 1024)
	inner := opts.Observer.WorkerStarted
	opts.Observer.WorkerStarted = func(pool, id string, took time.Duration) {
		if inner != nil {
			inner(pool, id, took)
		}
		up <- struct{}{}
	}
	p := newPool(t, opts)
	if err := p.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range p.Stats().Size {
		<-up
	}
	waitFor(t, func() bool { s := p.Stats(); return s.Ready == s.Size })
	return p
}

// waitFor polls for what has no event of its own, for ten seconds at most.
func waitFor(t testing.TB, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("condition not met in time")
		}
	}
}

func acquire(t testing.TB, p *worker.Pool, want worker.Want) *worker.Lease {
	t.Helper()
	l, err := p.Acquire(context.Background(), want)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wait is an Acquire that is under way.
type wait struct {
	done  chan struct{}
	lease *worker.Lease
	err   error
}

// queue starts an Acquire and returns when it is in the queue.
func queue(t testing.TB, ctx context.Context, p *worker.Pool, want worker.Want) *wait {
	t.Helper()
	before := p.Stats().Queued
	w := &wait{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.lease, w.err = p.Acquire(ctx, want)
	}()
	waitFor(t, func() bool { return p.Stats().Queued == before+1 })
	return w
}

func (w *wait) result() (*worker.Lease, error) {
	<-w.done
	return w.lease, w.err
}

func (w *wait) pending() bool {
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}

// blocker is a tool that reports each of its runs and then does what it is
// told to.
type blocker struct {
	began chan *workertest.Invocation
	end   chan error
	// deaf: does not end when it is cancelled.
	deaf bool
}

func newBlocker() *blocker {
	return &blocker{began: make(chan *workertest.Invocation, 1024), end: make(chan error)}
}

func (b *blocker) tool(decl worker.Tool) workertest.Tool {
	return workertest.Tool{Tool: decl, Run: func(inv *workertest.Invocation) (any, error) {
		b.began <- inv
		stop := inv.Context().Done()
		if b.deaf {
			stop = inv.Gone()
		}
		select {
		case err := <-b.end:
			return "done", err
		case <-stop:
			return nil, context.Canceled
		}
	}}
}

func (b *blocker) fake() *workertest.Fake {
	return &workertest.Fake{Tools: []workertest.Tool{b.tool(worker.Tool{Name: "block"})}}
}

// outcome is a call that is under way.
type outcome struct {
	done   chan struct{}
	result *worker.Result
	err    error
}

func start(f func() (*worker.Result, error)) *outcome {
	o := &outcome{done: make(chan struct{})}
	go func() {
		defer close(o.done)
		o.result, o.err = f()
	}()
	return o
}

func (o *outcome) await() (*worker.Result, error) {
	<-o.done
	return o.result, o.err
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func args(t testing.TB, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// hostTools is a host that has tools and nothing else.
type hostTools map[string]func() error

func (h hostTools) CallTool(_ context.Context, name string, _ json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage("null"), h[name]()
}

func (hostTools) ReadProgram(context.Context, string, int64, int) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

func (hostTools) WriteProgram(context.Context, string, string) (io.WriteCloser, error) {
	return nil, errors.ErrUnsupported
}

func (hostTools) DeleteProgram(context.Context, string) error { return errors.ErrUnsupported }
