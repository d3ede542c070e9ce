package worker_test

import (
	"context"
	"fmt"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func Example() {
	ctx := context.Background()
	pool, err := worker.NewPool(worker.PoolOptions{
		Size:      2,
		Transport: &workertest.Fake{}, // package frames has the real one
	})
	if err != nil {
		panic(err)
	}
	if err := pool.Start(ctx); err != nil {
		panic(err)
	}
	defer pool.Stop(ctx)

	// Any worker will do, and another one if it dies.
	res, err := pool.Execute(ctx, &worker.Call{Tool: "add", Args: []byte(`{"a": 40, "b": 2}`)})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(res.Value))

	// Two calls that must meet the same worker.
	lease, err := pool.Acquire(ctx, worker.Want{})
	if err != nil {
		panic(err)
	}
	first := lease.Worker()
	lease.Release()
	lease, err = pool.Acquire(ctx, worker.Want{Worker: first, Mode: worker.Require})
	if err != nil {
		panic(err)
	}
	defer lease.Release()
	fmt.Println(lease.Worker() == first)

	// Output:
	// 42
	// true
}
