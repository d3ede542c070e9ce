package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/snakepit-go/snakepit/config"
)

// Check says what stands in the way of a daemon with this configuration beside the settings themselves: files and
// directories that are missing or cannot be written, interpreters that do not run, an address that is not to be had. It
// joins all it finds, each with its key and source, and leaves nothing behind. It starts no worker, so it does not know
// whether the tools load.
func Check(ctx context.Context, c config.Config) error {
	var errs []error
	problem := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s (%s): %w", key, c.Origin(key), err))
		}
	}
	for i, p := range c.Pools {
		key := fmt.Sprintf("pools[%d]", i)
		for setting, err := range poolConfig(p).Check(ctx) {
			problem(key+"."+setting, err)
		}
	}
	if c.Data != "" {
		problem("data", writable(c.Data))
	}
	if c.RunDir != "" {
		problem("run_dir", writable(c.RunDir))
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err == nil {
		err = l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w; is a server running there already?", err)
	}
	problem("listen", err)
	return errors.Join(errs...)
}

// writeAccess is what access(2) is asked for: that files can be made in a directory.
const writeAccess = 0x2 | 0x1

// writable returns nil if path is a directory that can be written, or one that can be made: then its parent is there.
func writable(path string) error {
	info, err := os.Stat(path)
	what := path
	if errors.Is(err, os.ErrNotExist) {
		what = filepath.Dir(filepath.Clean(path))
		if info, err = os.Stat(what); err != nil {
			return fmt.Errorf("neither the directory nor its parent is there: %w", err)
		}
	}
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", what)
	}
	if err := syscall.Access(what, writeAccess); err != nil {
		return fmt.Errorf("the directory %s cannot be written: %w", what, err)
	}
	return nil
}
