package diskstore

import (
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/driver"
)

// WithFS returns options that put fsys in place of the disk.
func (o Options) WithFS(fsys vfs.FS) *Options {
	o.fs = fsys
	return &o
}

// PebbleOptions are those of the database in a store.
func PebbleOptions() *pebble.Options {
	log := slog.New(slog.DiscardHandler)
	return pebbleOptions(newFreezer(vfs.Default, log), log)
}

// Inside lets change work on the database of a closed store.
func Inside(dir string, change func(*pebble.DB) error) error {
	log := slog.New(slog.DiscardHandler)
	o := opener{dir: dir, db: filepath.Join(dir, dbName), disk: vfs.Default, log: log}
	lock, err := pebble.LockDirectory(o.db, o.disk)
	if err != nil {
		return err
	}
	db, err := o.database(lock, true, nil)
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	return errors.Join(change(db.DB), db.close(), lock.Close())
}

// CachedBytes is the memory of the records kept, as the store reckons it, and
// their true number.
func (s *Store) CachedBytes() (bytes int64, records int) {
	for i := range s.shards {
		s.shards[i].mu.RLock()
		records += len(s.shards[i].entries)
		s.shards[i].mu.RUnlock()
	}
	return s.cache.bytes.Load(), records
}

// Reservation is how many revisions are reserved at once.
const Reservation = reservation

// SkipRevisions makes the next revision follow n.
func (s *Store) SkipRevisions(n driver.Revision) { s.revision.Store(uint64(n)) }

// Pending is the number of sessions with a write whose fsync is under way.
func (s *Store) Pending() (n int) {
	for i := range s.shards {
		s.shards[i].mu.RLock()
		n += len(s.shards[i].pending)
		s.shards[i].mu.RUnlock()
	}
	return n
}
