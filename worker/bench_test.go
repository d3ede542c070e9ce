package worker_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func benchPool(b *testing.B) *worker.Pool {
	opts := fast(&workertest.Fake{Tools: []workertest.Tool{}})
	opts.Size = 8
	opts.QueueTimeout = -1
	return startPool(b, opts)
}

func BenchmarkAcquireRelease(b *testing.B) {
	p := benchPool(b)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		l, err := p.Acquire(ctx, worker.Want{})
		if err != nil {
			b.Fatal(err)
		}
		l.Release()
	}
}

func BenchmarkAcquireRelease8Callers(b *testing.B) {
	p := benchPool(b)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	b.SetParallelism(max(8/runtime.GOMAXPROCS(0), 1))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l, err := p.Acquire(ctx, worker.Want{})
			if err != nil {
				b.Error(err)
				return
			}
			l.Release()
		}
	})
}

// BenchmarkHandOver measures a pool whose callers always wait: each release
// hands its slot to the next in the queue.
func BenchmarkHandOver(b *testing.B) {
	opts := fast(&workertest.Fake{Tools: []workertest.Tool{}})
	opts.QueueTimeout = -1
	p := startPool(b, opts)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l, err := p.Acquire(context.Background(), worker.Want{})
			if err != nil {
				b.Error(err)
				return
			}
			l.Release()
		}
	})
}

// BenchmarkLeaseCall is what the pool adds to a call: a worker that answers
// at once, Acquire, Call and Release.
func BenchmarkLeaseCall(b *testing.B) {
	opts := fast(instant{&workertest.Fake{}})
	p := startPool(b, opts)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	call := &worker.Call{Tool: "nothing"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Execute(ctx, call); err != nil {
			b.Fatal(err)
		}
	}
}

// instant is a transport whose workers answer in no time.
type instant struct{ *workertest.Fake }

func (i instant) Start(ctx context.Context, spec worker.Spec) (worker.Conn, error) {
	conn, err := i.Fake.Start(ctx, spec)
	return instantConn{conn}, err
}

type instantConn struct{ worker.Conn }

var nothing worker.Result

func (instantConn) Call(context.Context, *worker.Call) (*worker.Result, error) { return &nothing, nil }
