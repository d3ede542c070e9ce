package customdriver_test

import (
	"testing"

	"github.com/snakepit-go/snakepit/examples/customdriver"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/drivertest"
)

func TestDriver(t *testing.T) {
	dirs := map[driver.Store]string{}
	open := func(t testing.TB, dir string) driver.Store {
		s, err := customdriver.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		dirs[s] = dir
		return s
	}
	drivertest.Run(t, drivertest.Harness{
		Open:   func(t testing.TB) driver.Store { return open(t, t.TempDir()) },
		Reopen: func(t testing.TB, closed driver.Store) driver.Store { return open(t, dirs[closed]) },
	})
}
