package drivertest_test

import (
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/drivertest"
	"github.com/snakepit-go/snakepit/session/memstore"
)

var memory = drivertest.Harness{
	Open: func(testing.TB) driver.Store { return memstore.New() },
}
