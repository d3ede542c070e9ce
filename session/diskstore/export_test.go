package diskstore

import (
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// WithFS returns options that put fsys in place of the disk.
func (o Options) WithFS(fsys vfs.FS) *Options {
	o.fs = fsys
	return &o
}

// PebbleOptions are those of the database in a store.
func PebbleOptions() *pebble.Options {
	log := slog.New(slog.DiscardHandler)
	return pebbleOptions(&freezer{FS: vfs.Default, log: log}, log)
}
