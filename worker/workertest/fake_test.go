package workertest_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFake: the fake is held to what it stands for.
func TestFake(t *testing.T) {
	workertest.Run(t, workertest.Harness{
		Transport: func(testing.TB) worker.Transport { return &workertest.Fake{} },
		Broken: func(testing.TB) worker.Transport {
			return &workertest.Fake{OnStart: func(_ context.Context, s worker.Spec) error {
				return &worker.StartError{Worker: s.ID, Reason: "told to refuse"}
			}}
		},
	})
}

func TestFakeWithSlots(t *testing.T) {
	workertest.Run(t, workertest.Harness{
		Transport: func(testing.TB) worker.Transport { return &workertest.Fake{Capacity: 4} },
	})
}
