package owndir_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/snakepit-go/snakepit/internal/owndir"
)

// TestMakeFirstPassesOverWhatCannotBeWrittenTo: what is there already may be on
// a file system that is read-only, as that of many containers. Root gets a real
// one, since modes do not bind it; for others the mode does the same.
func TestMakeFirstPassesOverWhatCannotBeWrittenTo(t *testing.T) {
	base := visible(t)
	closed, good := mkdir(t, 0o700, base, "closed"), filepath.Join(base, "good")
	if os.Geteuid() != 0 {
		chmod(t, closed, 0o500)
	} else {
		if err := syscall.Mount("tmpfs", closed, "tmpfs", syscall.MS_RDONLY, "mode=0700"); err != nil {
			t.Fatalf("mount a read-only file system: %v: run the tests as another user, or as root that may mount", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(closed, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	if got, err := owndir.MakeFirst([]string{closed, good}); err != nil || got != good {
		t.Errorf("got %q, %v", got, err)
	}
}
