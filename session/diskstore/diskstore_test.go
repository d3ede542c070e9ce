package diskstore_test

import (
	"testing"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/drivertest"
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

func TestDriver(t *testing.T) {
	t.Run("default", func(t *testing.T) { drivertest.Run(t, harness(nil)) })
	t.Run("relaxed", func(t *testing.T) { drivertest.Run(t, harness(&diskstore.Options{Relaxed: true})) })
	t.Run("no cache", func(t *testing.T) { drivertest.Run(t, harness(&diskstore.Options{CacheBytes: -1})) })
	t.Run("small cache", func(t *testing.T) { drivertest.Run(t, harness(&diskstore.Options{CacheBytes: 2000})) })
}
