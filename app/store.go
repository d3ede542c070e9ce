package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/snakepit-go/snakepit/config"
	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// drivers opens each storage driver by its name in the configuration. A driver of one's own is one more line.
var drivers = map[string]func(context.Context, config.Config, *slog.Logger) (driver.Store, error){
	config.DriverMemory: func(context.Context, config.Config, *slog.Logger) (driver.Store, error) {
		return memstore.New(), nil
	},
	config.DriverDisk: func(ctx context.Context, c config.Config, log *slog.Logger) (driver.Store, error) {
		return diskstore.Open(ctx, c.Data, &diskstore.Options{
			Relaxed:    c.Store.Disk.Relaxed,
			CacheBytes: int64(c.Store.Disk.CacheBytes),
			Logger:     log,
		})
	},
}

func openStore(ctx context.Context, c config.Config, log *slog.Logger) (driver.Store, error) {
	open, ok := drivers[c.StoreDriver()]
	if !ok {
		return nil, fmt.Errorf("open session store: there is no driver %q", c.StoreDriver())
	}
	return open(ctx, c, log)
}
