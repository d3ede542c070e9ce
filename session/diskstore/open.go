package diskstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/driver"
)

const (
	markName    = "STORE"     // says whose directory this is, once it is complete
	newMarkName = "STORE.new" // the same while the store is being created
	dbName      = "db"
	lockName    = "LOCK" // in it; Pebble's
	markPrefix  = "snakepit session store, format "
)

// Open opens the store in dir, or creates it if dir is missing or empty; the
// parent of dir must exist. It claims the directory until Close.
//
// Errors: driver.ErrLocked if another process, or this one, has it open;
// driver.ErrInvalid if dir cannot be a store (no parent, not a directory,
// something else in it); driver.ErrUnsupported if a newer version wrote it;
// driver.ErrCorrupt if its files are damaged; driver.ErrUnavailable with the
// system's error if the disk refuses (fs.ErrPermission, EROFS, ENOSPC).
func Open(ctx context.Context, dir string, opts *Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts == nil {
		opts = new(Options)
	}
	o := opener{dir: dir, disk: opts.fs, log: opts.Logger}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.disk == nil {
		o.disk = vfs.Default
		// One directory must have one name: the system's file locks do not
		// keep a process from locking a file twice.
		canonical, err := canonicalPath(dir)
		if err != nil {
			return nil, fmt.Errorf("open session store in %q: %w", dir, err)
		}
		o.dir = canonical
	}
	o.db = o.disk.PathJoin(o.dir, dbName)
	reserve := new(spares)
	reserve.fill()
	o.disk = spareFS{o.disk, reserve}
	o.space = &space{disk: o.disk, dir: o.dir, log: o.log}
	s, err := o.open(opts, reserve)
	if err != nil {
		reserve.close()
		return nil, fmt.Errorf("open session store in %q: %w", dir, err)
	}
	return s, nil
}

// canonicalPath makes dir absolute and resolves symbolic links. The last
// element may be missing.
func canonicalPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", parentError(filepath.Dir(abs), err)
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

func parentError(parent string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its parent directory %q is missing; create it, or correct the path: %w: %w", parent, driver.ErrInvalid, err)
	}
	return diskError(err)
}

// diskError says what to do about a refusal of the file system.
func diskError(err error) error {
	advice := "the disk refused"
	switch {
	case errors.Is(err, syscall.EROFS):
		advice = "it is on a read-only file system; mount it writable, or use another directory"
	case errors.Is(err, fs.ErrPermission):
		advice = "no permission; make the directory writable for this user, or use another"
	case errors.Is(err, syscall.ENOSPC):
		advice = "the disk is full; free some space"
	}
	return fmt.Errorf("%s: %w: %w", advice, driver.ErrUnavailable, err)
}

// opener opens one directory.
type opener struct {
	dir, db string
	disk    vfs.FS
	space   *space
	log     *slog.Logger
}

func (o *opener) open(opts *Options, reserve *spares) (_ *Store, err error) {
	format, err := o.claim()
	if err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(o.db, o.disk)
	if err != nil {
		return nil, o.lockError(err)
	}
	defer func() {
		if err != nil {
			_ = lock.Close() // the first error is the one to tell
		}
	}()

	if format == 0 {
		// Another opener may have completed it before we got the lock.
		if format, err = o.claim(); err != nil {
			return nil, err
		}
	}
	if err := o.prepare(format); err != nil {
		return nil, err
	}
	s := &Store{
		dir:     o.dir,
		relaxed: opts.Relaxed,
		lock:    lock,
		opener:  o,
		space:   o.space,
		spares:  reserve,
		log:     o.log,
		seed:    maphash.MakeSeed(),
		syncs:   make(chan *write, 1024),
		done:    make(chan struct{}),
		broke:   make(chan struct{}, 1),
		stop:    make(chan struct{}),
		tended:  make(chan struct{}),
	}
	s.cache.limit = opts.CacheBytes
	if s.cache.limit == 0 {
		s.cache.limit = DefaultCacheBytes
	}
	for i := range s.shards {
		s.shards[i].reset()
	}
	o.space.start()
	if s.db, err = o.database(lock, format > 0, s.alarm); err != nil {
		return nil, err
	}
	if err = s.loadMeta(format > 0); err == nil && format < formatVersion {
		err = o.complete()
	}
	if cause := s.db.disk.cause(); cause != nil {
		err = diskError(cause)
	}
	if err != nil {
		_ = s.db.abandon()
		return nil, err
	}
	s.db.disk.serving.Store(true)
	o.space.tend()
	go s.settle()
	go s.tend()
	return s, nil
}

// prepare brings a directory of an older format, or of none, to where the
// database can be opened. What a crash has left of a creation goes: only a
// complete store is ever written to.
func (o *opener) prepare(format int) error {
	if format == 0 {
		if err := o.clearDatabase(); err != nil {
			return err
		}
	}
	if format == formatVersion {
		return nil
	}
	if format > 0 {
		if err := o.writeMark(); err != nil {
			return err
		}
	}
	if err := createPromises(o.disk, o.dir); err != nil {
		return diskError(err)
	}
	return o.syncDir(o.dir)
}

// claim finds out the format of a complete store. If the directory is empty,
// missing, or was left half made, it makes the beginning of a store and returns
// format 0.
func (o *opener) claim() (format int, err error) {
	parent := o.disk.PathDir(o.dir)
	if _, err := o.disk.Stat(parent); err != nil {
		return 0, parentError(parent, err)
	}
	info, err := o.disk.Stat(o.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := o.mkdir(o.dir, parent); err != nil {
			return 0, err
		}
	case err != nil:
		return 0, diskError(err)
	case !info.IsDir():
		return 0, fmt.Errorf("it is a file, not a directory; move it away, or correct the path: %w", driver.ErrInvalid)
	}

	names, err := o.disk.List(o.dir)
	if err != nil {
		return 0, diskError(err)
	}
	// The root of a mounted volume is empty but for this.
	names = slices.DeleteFunc(names, func(name string) bool { return name == "lost+found" })
	switch {
	case slices.Contains(names, markName):
		return o.checkMark()
	case len(names) > 0 && !slices.Contains(names, newMarkName):
		slices.Sort(names)
		return 0, fmt.Errorf("it holds something else (%s); use an empty or new directory: %w",
			strings.Join(names[:min(len(names), 3)], ", "), driver.ErrInvalid)
	}
	// A mark that was left may be half written.
	if err := o.writeMark(); err != nil {
		return 0, err
	}
	return 0, o.mkdir(o.db, o.dir)
}

// mkdir makes a directory that survives a power loss.
func (o *opener) mkdir(dir, parent string) error {
	if err := o.disk.MkdirAll(dir, 0o700); err != nil {
		return diskError(err)
	}
	return o.syncDir(parent)
}

func (o *opener) syncDir(dir string) error {
	d, err := o.disk.OpenDir(dir)
	if err != nil {
		return diskError(err)
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return diskError(err)
	}
	return nil
}

func (o *opener) writeMark() error {
	f, err := o.disk.Create(o.disk.PathJoin(o.dir, newMarkName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return diskError(err)
	}
	_, err = f.Write([]byte(markPrefix + strconv.Itoa(formatVersion) + "\n"))
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return diskError(err)
	}
	return o.syncDir(o.dir)
}

// complete says durably that the store has all its parts.
func (o *opener) complete() error {
	from, to := o.disk.PathJoin(o.dir, newMarkName), o.disk.PathJoin(o.dir, markName)
	if err := o.disk.Rename(from, to); err != nil {
		return diskError(err)
	}
	return o.syncDir(o.dir)
}

// clearDatabase removes all files of the database but its lock.
func (o *opener) clearDatabase() error {
	names, err := o.disk.List(o.db)
	if err != nil {
		return diskError(err)
	}
	for _, name := range names {
		if name == lockName {
			continue
		}
		if err := o.disk.RemoveAll(o.disk.PathJoin(o.db, name)); err != nil {
			return diskError(err)
		}
	}
	return nil
}

// checkMark reads the format of a complete store.
func (o *opener) checkMark() (format int, err error) {
	f, err := o.disk.Open(o.disk.PathJoin(o.dir, markName))
	if err != nil {
		return 0, diskError(err)
	}
	defer f.Close()
	text := make([]byte, 128)
	n, err := f.ReadAt(text, 0)
	if n == 0 && err != nil {
		return 0, fmt.Errorf("read %s: %w: %w", markName, driver.ErrCorrupt, err)
	}
	line, ok := bytes.CutPrefix(text[:n], []byte(markPrefix))
	version, err := strconv.ParseUint(strings.TrimSuffix(string(line), "\n"), 10, 32)
	if !ok || err != nil || version == 0 {
		return 0, fmt.Errorf("its %s file says %q, which is no format of this store; restore the directory from a backup: %w",
			markName, text[:n], driver.ErrCorrupt)
	}
	return int(version), checkFormat(version)
}

// checkFormat refuses what a newer program wrote. Older formats are brought up
// to date.
func checkFormat(version uint64) error {
	if version <= formatVersion {
		return nil
	}
	return fmt.Errorf("it has format %d and this program knows format %d; open it with the version that wrote it: %w",
		version, formatVersion, driver.ErrUnsupported)
}

// lockError tells a lock that is taken from a file that cannot be made.
func (o *opener) lockError(err error) error {
	var path *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.As(err, &path) && errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its database directory %q is missing; restore it from a backup: %w: %w", o.db, driver.ErrCorrupt, err)
	case errors.As(err, &path):
		return diskError(err)
	case errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES:
		return diskError(err)
	}
	return fmt.Errorf("another process, or this one, has it open; stop that process, or use another directory: %w: %w",
		driver.ErrLocked, err)
}

// loadMeta reads the store's own values, or writes the first ones, and
// reserves revisions for as long as it is open.
func (s *Store) loadMeta(complete bool) error {
	batch := s.db.NewBatch()
	defer discard(batch)
	format, err := s.value(metaFormat)
	switch {
	case errors.Is(err, pebble.ErrNotFound) && !complete:
		id := make([]byte, 16)
		if _, err := rand.Read(id); err != nil {
			return err
		}
		s.id = hex.EncodeToString(id)
		err = errors.Join(
			batch.Set(metaFormat, encodeUint64(formatVersion), nil),
			batch.Set(metaID, []byte(s.id), nil),
			batch.Set(metaCount, encodeUint64(0), nil))
		if err != nil {
			return err
		}
	case err != nil:
		return metaError("format", err)
	default:
		version, err := decodeUint64(format)
		if err != nil {
			return metaError("format", err)
		}
		if err := checkFormat(version); err != nil {
			return err
		}
		if err := batch.Set(metaFormat, encodeUint64(formatVersion), nil); err != nil {
			return err
		}
		id, err := s.value(metaID)
		if err != nil {
			return metaError("id", err)
		}
		s.id = string(id)
		count, err := s.number(metaCount)
		if err != nil {
			return metaError("count", err)
		}
		s.count.Store(int64(count))
		reserved, err := s.number(metaReserved)
		if err != nil {
			return metaError("revision", err)
		}
		s.revision.Store(reserved)
	}
	if err := batch.Set(metaReserved, encodeUint64(s.revision.Load()+reservation), nil); err != nil {
		return err
	}
	return s.db.Apply(batch, pebble.Sync)
}

func (s *Store) number(key []byte) (uint64, error) {
	value, err := s.value(key)
	if err != nil {
		return 0, err
	}
	return decodeUint64(value)
}

// metaError is the error of a value without which the store cannot be opened.
func metaError(what string, err error) error {
	if errors.Is(err, pebble.ErrNotFound) || pebble.IsCorruptionError(err) || errors.Is(err, driver.ErrCorrupt) {
		return fmt.Errorf("its %s is damaged; restore the directory from a backup: %w: %w", what, driver.ErrCorrupt, err)
	}
	return diskError(err)
}
