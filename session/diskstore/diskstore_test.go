package diskstore_test

import (
	"testing"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/drivertest"
	"github.com/snakepit-go/snakepit/session/memstore"
)

func harness(opts *diskstore.Options) drivertest.Harness {
	open := func(t testing.TB, dir string) driver.Store {
		s, err := diskstore.Open(t.Context(), dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return drivertest.Harness{
		Open: func(t testing.TB) driver.Store { return open(t, t.TempDir()) },
		Reopen: func(t testing.TB, closed driver.Store) driver.Store {
			return open(t, closed.(*diskstore.Store).Dir())
		},
	}
}

func TestDriver(t *testing.T) { drivertest.Run(t, harness(nil)) }

// TestDriverOtherwise runs the suite with other options.
func TestDriverOtherwise(t *testing.T) {
	if testing.Short() {
		t.Skip("the suite takes seconds each time")
	}
	t.Run("relaxed", func(t *testing.T) { drivertest.Run(t, harness(&diskstore.Options{Relaxed: true})) })
	t.Run("no cache", func(t *testing.T) { drivertest.Run(t, harness(&diskstore.Options{CacheBytes: -1})) })
	t.Run("small cache", func(t *testing.T) { drivertest.Run(t, harness(&diskstore.Options{CacheBytes: 2000})) })
}

// TestSameAsMemory plays the same histories on this driver and on memstore.
func TestSameAsMemory(t *testing.T) {
	memory := drivertest.Harness{Open: func(testing.TB) driver.Store { return memstore.New() }}
	drivertest.Compare(t, memory, harness(nil))
}
