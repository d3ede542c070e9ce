// Package diskstore keeps sessions in a directory of the local disk: the
// default driver of the binary. An acknowledged write survives kill -9 and
// power loss.
//
// It owns one directory, which it claims for as long as it is open, and in it
// a Pebble database. Records used lately are also kept in memory, within
// Options.CacheBytes, and shared by all readers.
//
// # Layout
//
//	STORE   one line of text with the format version; marks the directory
//	SYNCED  how much of each log was on disk; see promises.go
//	RESERVE room that is given up when the disk is full
//	db/     the Pebble database; db/LOCK is the claim
//
// Heads, bodies, items and the sizes of items lie in separate key ranges:
// listing and sweeping read heads alone, a touch writes a head alone, and
// listing items never loads them. See keys.go.
//
// # Concurrency and failure
//
// All methods may be called at once. A write takes the lock of its session's
// shard to check its condition and to enter Pebble's log, gives the lock back,
// and only then waits for the fsync, so that all writers of that moment share
// one. Nobody sees the write before it is durable: whoever reads the session
// (or is refused because of the write) meanwhile waits for the same fsync.
//
// A failed write of a log or of the list of tables - an I/O error, a full disk,
// no descriptor - freezes the directory, just as if power had failed at that
// moment: see freeze.go for the reasons. Writes under way return
// driver.ErrUnknown, calls that come driver.ErrUnavailable with the cause, and
// the database is opened again, after 50 ms and then with growing pauses. What
// was acknowledged is in it. See mend.go.
//
// While the disk has less than 16 MiB free, what grows the store is refused with
// driver.ErrFull; reads and deletions go on, also in the 16 MiB of the RESERVE
// file when nothing at all is left. See space.go. 32 descriptors are kept in
// reserve. Damage to logs is found when the store is opened: see promises.go.
//
// Open starts two goroutines beside Pebble's own, and Ping one; Close ends them
// all.
//
// The contract is in session/driver, its proof in session/drivertest.
package diskstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/driver"
)

// DefaultCacheBytes is the memory for records if Options do not say otherwise.
const DefaultCacheBytes = 256 << 20

// Options of a Store. Nil and the zero value mean the defaults.
type Options struct {
	// Relaxed acknowledges a write when its fsync has been requested rather
	// than when it is done. The fsync is always under way, so what a kill -9
	// or a power loss can take back is what was acknowledged while the last
	// one ran: a few milliseconds on a healthy disk, and never more than the
	// last 512 writes. Older writes, and the atomicity of each batch, are
	// kept. What was lost may have been read by others before. Writes are lost
	// from the end only: if one is lost, so are all later ones.
	Relaxed bool

	// CacheBytes bounds the memory of records kept for readers; 0 means
	// DefaultCacheBytes, a negative number keeps none. What package session
	// memoizes in the records is not counted.
	CacheBytes int64

	// Logger gets what happens in the background; nil is silent.
	Logger *slog.Logger

	fs vfs.FS // what tests put between the store and the disk
}

// Store is a driver.Store in a directory. Open makes one.
type Store struct {
	dir     string
	id      string
	relaxed bool
	db      *database // nil while it is broken; guarded by life
	lock    *pebble.Lock
	opener  *opener
	space   *space
	spares  *spares
	probe   probe
	log     *slog.Logger

	seed   maphash.Seed
	shards [shardCount]shard
	cache  cacheBudget
	gaps   gapCache

	revision atomic.Uint64 // the last one given
	count    atomic.Int64  // records, as far as durable
	unsynced atomic.Int64  // writes that readers have to wait for

	// syncs hands writes to the goroutine that waits for their fsync.
	syncs chan *write
	done  chan struct{} // closed when that goroutine has ended

	// broke wakes the goroutine that opens a broken database again; stop ends
	// it, and tended is closed then. down is why there is no database.
	broke, stop, tended chan struct{}
	down                atomic.Pointer[error]

	// life is held for reading during every call and for writing by Close,
	// which so waits for calls under way. Nothing else contends for it.
	life   sync.RWMutex
	closed bool
}

var (
	_ driver.Store     = (*Store)(nil)
	_ driver.Describer = (*Store)(nil)
	_ driver.Counter   = (*Store)(nil)
)

var limits = driver.Limits{
	Head:       64 << 10,
	Record:     64 << 20,
	Item:       1 << 20,
	Batch:      128 << 20,
	BatchItems: 10_000,
}

// Describe implements driver.Describer. A relaxed store is not durable.
func (s *Store) Describe() driver.Info {
	return driver.Info{Name: "disk", Durable: !s.relaxed, Limits: limits}
}

// Dir returns the directory of the store, absolute and without symbolic links.
func (s *Store) Dir() string { return s.dir }

// ID returns the name the store was given when it was created: 32 hex digits.
func (s *Store) ID() string { return s.id }

// Count implements driver.Counter. A write counts once it is durable.
func (s *Store) Count(ctx context.Context) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	return int(s.count.Load()), nil
}

// Close implements driver.Store. It waits for the calls under way and for the
// fsync of all writes, also in relaxed mode, leaves nothing that only the log
// holds, and gives the directory free.
func (s *Store) Close() error {
	s.life.Lock()
	if s.closed {
		s.life.Unlock()
		return driver.ErrClosed
	}
	s.closed = true
	s.life.Unlock() // nobody begins anything any more
	close(s.stop)
	<-s.tended
	s.life.Lock()
	defer s.life.Unlock()
	close(s.syncs)
	<-s.done
	s.probe.wait()
	cause := s.outage()
	var err error
	switch {
	case s.db == nil:
	case cause != nil:
		_ = s.db.abandon()
	default:
		err = s.db.close()
		cause = s.db.disk.cause()
	}
	s.spares.close()
	if unlock := s.lock.Close(); err == nil {
		err = unlock
	}
	if cause != nil {
		// What was acknowledged is on disk; what was not has been reported.
		return fmt.Errorf("close session store in %q: it was broken before: %w: %w", s.dir, driver.ErrUnavailable, cause)
	}
	if err != nil {
		return fmt.Errorf("close session store in %q: %w", s.dir, err)
	}
	return nil
}

// begin is what every call does first; unless it returns an error, the call
// ends with end.
func (s *Store) begin(ctx context.Context) error {
	s.life.RLock()
	err := ctx.Err()
	if s.closed {
		err = driver.ErrClosed
	} else if cause := s.outage(); cause != nil {
		err = s.broken(cause)
	}
	if err != nil {
		s.life.RUnlock()
	}
	return err
}

func (s *Store) end() { s.life.RUnlock() }

// readError classifies an error of reading from Pebble.
func (s *Store) readError(what, id string, err error) error {
	class := driver.ErrUnavailable
	if pebble.IsCorruptionError(err) {
		class = driver.ErrCorrupt
	}
	return fmt.Errorf("read %s of session %q: %w: %w", what, id, class, err)
}
