package diskstore

import "github.com/cockroachdb/pebble/v2/vfs"

// WithFS returns options that put fsys in place of the disk.
func (o Options) WithFS(fsys vfs.FS) *Options {
	o.fs = fsys
	return &o
}
