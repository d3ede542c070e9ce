package memstore_test

import (
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/drivertest"
	"github.com/snakepit-go/snakepit/session/memstore"
)

var harness = drivertest.Harness{
	Open: func(testing.TB) driver.Store { return memstore.New() },
}

func TestDriver(t *testing.T) { drivertest.Run(t, harness) }

func BenchmarkDriver(b *testing.B) { drivertest.Bench(b, harness) }
