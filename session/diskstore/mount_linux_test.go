package diskstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// mountSmall mounts a file system of a size in memory. Only root may; the test
// is run on the simulated disk in any case.
func mountSmall(t *testing.T, size string) (dir string, fill func(left int64) error, empty func() error) {
	t.Helper()
	dir = t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("mounting a small file system takes root; run the tests as root to see this one on a real file system")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	fill = func(left int64) error {
		var usage syscall.Statfs_t
		if err := syscall.Statfs(dir, &usage); err != nil {
			return err
		}
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if n := int64(usage.Bavail)*usage.Bsize - left; err == nil && n > 0 {
			err = syscall.Fallocate(int(f.Fd()), 0, 0, info.Size()+n)
		}
		return errors.Join(err, f.Close())
	}
	return dir, fill, func() error { return os.Remove(filler) }
}
