package diskstore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/snakepit-go/snakepit/session/driver"
)

// database is an open Pebble database with the file system below it.
type database struct {
	*pebble.DB
	disk     *freezer
	promises *promises
}

// flushTimeout bounds how long closing waits for the last flush, which on a
// full disk never ends. What was not flushed is in the log.
const flushTimeout = 10 * time.Second

// database opens the database after it has compared the logs with what was
// promised of them. When it breaks later, alarm is called.
func (o *opener) database(lock *pebble.Lock, exists bool, alarm func()) (_ *database, err error) {
	kept, err := o.verify()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = kept.file.Close()
		}
	}()
	if err := kept.state(stateOpen); err != nil {
		return nil, diskError(err)
	}
	disk := newFreezer(o.disk, o.log)
	disk.promises, disk.onFreeze = kept, alarm
	if o.space != nil {
		disk.onFull = o.space.release
	}
	disk.noteSync()
	opts := pebbleOptions(disk, o.log)
	opts.Lock = lock
	opts.ErrorIfNotExists = exists
	db, err := pebble.Open(o.db, opts)
	if cause := disk.cause(); cause != nil {
		if db != nil {
			_ = db.Close()
		}
		disk.clean()
		return nil, diskError(cause)
	}
	if err != nil {
		return nil, o.pebbleError(err)
	}
	return &database{DB: db, disk: disk, promises: kept}, nil
}

// verify returns the promises of the store, if they hold.
func (o *opener) verify() (*promises, error) {
	kept, closed, err := openPromises(o.disk, o.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &DamageError{Dir: o.dir, Damage: []Damage{{File: syncedName, Reason: "it is missing, and with it what is known of the logs"}}}
	case errors.Is(err, driver.ErrCorrupt):
		return nil, &DamageError{Dir: o.dir, Damage: []Damage{{File: syncedName, Reason: err.Error()}}}
	case err != nil:
		return nil, diskError(err)
	}
	damaged, err := kept.check(o.disk, o.db)
	switch {
	case err != nil:
		err = o.pebbleError(err)
	case len(damaged) > 0:
		err = &DamageError{Dir: o.dir, Closed: closed, Damage: damaged}
	}
	if err != nil {
		_ = kept.file.Close()
		return nil, err
	}
	return kept, nil
}

// pebbleError classifies an error of opening the database.
func (o *opener) pebbleError(err error) error {
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return fmt.Errorf("its database files are missing; restore them from a backup: %w: %w", driver.ErrCorrupt, err)
	case errors.As(err, new(syscall.Errno)) && !pebble.IsCorruptionError(err) && !errors.Is(err, fs.ErrNotExist):
		return diskError(err)
	}
	return fmt.Errorf("its files are damaged; see what is left with `snakepit store check --data %s`, or restore them from a backup: %w: %w",
		o.dir, driver.ErrCorrupt, err)
}

// close flushes, so that the tables have all that the log has, closes, and
// says in SYNCED that it did.
func (d *database) close() error {
	flushed := d.flush()
	err := d.Close()
	if err == nil && flushed && !d.disk.frozen() {
		err = d.promises.state(stateClosed)
	}
	return errors.Join(err, d.promises.file.Close())
}

// abandon closes a database that is broken.
func (d *database) abandon() error {
	err := d.Close()
	d.disk.clean()
	return errors.Join(err, d.promises.file.Close())
}

// flush writes what only the log holds to tables. It tells whether it has.
func (d *database) flush() bool {
	done, err := d.AsyncFlush()
	if err != nil {
		return false
	}
	select {
	case <-done:
		return !d.disk.frozen()
	case <-time.After(flushTimeout):
		return false
	}
}
