package diskstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/driver"
)

const (
	repairedName = "db.repaired" // the new database while it is made
	asidePrefix  = "damaged-"    // what the old one is called afterwards
)

// Report says what Check or Repair found.
type Report struct {
	// Damage is what is wrong with the files and what of the sessions cannot be
	// read. Repair has dropped that.
	Damage []Damage
	// Sessions and Items are what can be read.
	Sessions, Items int
	// Aside is where Repair has put the old database.
	Aside string
}

// Check reads everything in a store that nobody has open, and changes nothing.
// verify, if not nil, looks at each record.
func Check(ctx context.Context, dir string, verify func(*driver.Record) error) (Report, error) {
	return inspect(dir, func(w *walk, _ *opener) error { return w.run(ctx, verify) })
}

// Repair makes a new database of all that can be read in a store that nobody has
// open, and sets the old one aside. It needs as much room again.
func Repair(ctx context.Context, dir string, verify func(*driver.Record) error) (Report, error) {
	return inspect(dir, func(w *walk, o *opener) error { return o.rebuild(ctx, w, verify) })
}

func inspect(dir string, f func(*walk, *opener) error) (Report, error) {
	dir, err := canonicalPath(dir)
	if err != nil {
		return Report{}, err
	}
	o := &opener{dir: dir, disk: vfs.Default, log: slog.New(slog.DiscardHandler)}
	o.db = o.disk.PathJoin(dir, dbName)
	if _, err := o.disk.Stat(o.disk.PathJoin(dir, markName)); err != nil {
		return Report{}, fmt.Errorf("%q is no session store: %w: %w", dir, driver.ErrInvalid, err)
	}
	format, err := o.checkMark()
	if err != nil {
		return Report{}, err
	}
	if err := o.resume(); err != nil {
		return Report{}, err
	}
	lock, err := pebble.LockDirectory(o.db, o.disk)
	if err != nil {
		return Report{}, o.lockError(err)
	}
	defer func() { _ = lock.Close() }() // ends with the process in any case
	w := &walk{}
	if format >= firstPromising {
		if w.report.Damage, err = o.broken(); err != nil {
			return w.report, err
		}
	}
	db, err := o.salvage(w.report.Damage, lock)
	if err != nil {
		return w.report, fmt.Errorf("the list of tables cannot be read, and without it nothing can be saved; restore the directory from a backup: %w: %w",
			driver.ErrCorrupt, err)
	}
	w.from = &Store{db: &database{DB: db, disk: newFreezer(o.disk, o.log)}}
	err = errors.Join(f(w, o), db.Close())
	return w.report, err
}

// resume ends a repair that a crash came into: the old database is set aside
// only once the new one is whole.
func (o *opener) resume() error {
	_, err := o.disk.Stat(o.db)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := o.disk.Rename(o.disk.PathJoin(o.dir, repairedName), o.db); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError(err)
	}
	return nil
}

// broken returns what of the promises of the store does not hold.
func (o *opener) broken() ([]Damage, error) {
	kept, err := o.verify()
	if damage, ok := errors.AsType[*DamageError](err); ok {
		return damage.Damage, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, kept.file.Close()
}

// salvage opens the database for reading. Of damaged logs it sees the records
// that are whole.
func (o *opener) salvage(damage []Damage, lock *pebble.Lock) (_ *pebble.DB, err error) {
	fsys := salvageFS{FS: o.disk, logs: make(map[string]vfs.File)}
	for _, d := range damage {
		a, ok := appendedOf(d.File)
		name := o.disk.PathJoin(o.db, a.file())
		if _, err := o.disk.Stat(name); !ok || a.kind != aLog || err != nil {
			continue
		}
		if fsys.logs[name], err = o.rewrite(name, a); err != nil {
			return nil, err
		}
	}
	opts := pebbleOptions(newFreezer(fsys, o.log), o.log)
	opts.ReadOnly, opts.Lock, opts.DisableConsistencyCheck, opts.ErrorIfNotExists = true, lock, true, true
	return pebble.Open(o.db, opts)
}

// rewrite returns a log with the whole records of a damaged one.
func (o *opener) rewrite(name string, a appended) (vfs.File, error) {
	const copied = "log"
	memory := vfs.NewMem()
	f, err := memory.Create(copied, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	log := newLogWriter(record.NewLogWriter, io.Writer(f), a.number, record.LogWriterConfig{WriteWALSyncOffsets: func() bool { return true }})
	var failed error
	_, err = scanFile(o.disk, name, a.log(), func(b []byte) {
		if _, err := log.WriteRecord(b); err != nil {
			failed = err
		}
	})
	if err := errors.Join(err, failed, log.Close()); err != nil {
		return nil, err
	}
	return memory.Open(copied)
}

// newLogWriter calls Pebble's, whose type for the number has no public name.
func newLogWriter[W, C, L any, N ~uint64](make func(W, N, C) L, w W, number uint64, c C) L {
	return make(w, N(number), c)
}

// salvageFS is a disk on which some logs are other ones.
type salvageFS struct {
	vfs.FS
	logs map[string]vfs.File
}

func (d salvageFS) Unwrap() vfs.FS { return d.FS }

func (d salvageFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if f, ok := d.logs[name]; ok {
		return f, nil
	}
	return d.FS.Open(name, opts...)
}

// walk reads all there is, and copies it if it is told where to.
type walk struct {
	from   *Store
	to     *pebble.DB // nil copies nothing
	report Report
	newest driver.Revision
}

func (w *walk) lost(what string, err error) {
	w.report.Damage = append(w.report.Damage, Damage{File: dbName, Reason: fmt.Sprintf("%s cannot be read: %v", what, err)})
}

func (w *walk) set(key, value []byte) error {
	if w.to == nil {
		return nil
	}
	return w.to.Set(key, value, pebble.NoSync)
}

func (w *walk) run(ctx context.Context, verify func(*driver.Record) error) error {
	if err := w.all(ctx, rangeHead, recordRef, func(key, value []byte) error { return w.record(key, value, verify) }); err != nil {
		return err
	}
	return w.all(ctx, rangeItem, itemRef, w.item)
}

// all calls f for every key of a range that can be read.
func (w *walk) all(ctx context.Context, space byte, ref func([]byte) driver.ItemRef, f func(key, value []byte) error) error {
	gaps, err := w.from.page(ctx, []byte{space}, []byte{space + 1}, math.MaxInt, ref, f)
	for _, g := range gaps {
		what := "sessions"
		if space == rangeItem {
			what = "parts of programs"
		}
		w.report.Damage = append(w.report.Damage, Damage{File: dbName, Reason: what + ": " + g.String()})
	}
	return err
}

func (w *walk) record(key, value []byte, verify func(*driver.Record) error) error {
	id := string(key[1:])
	revision, head, err := decodeHead(id, value)
	var body []byte
	if err == nil {
		body, err = w.from.value(recordKey(rangeBody, id))
	}
	if err == nil && verify != nil {
		err = verify(&driver.Record{ID: id, Revision: revision, Head: head, Body: body})
	}
	if err != nil {
		w.lost(fmt.Sprintf("session %q", id), err)
		return nil
	}
	w.report.Sessions++
	w.newest = max(w.newest, revision)
	return errors.Join(w.set(key, value), w.set(recordKey(rangeBody, id), body))
}

func (w *walk) item(key, value []byte) error {
	ref, err := splitItemKey(key)
	if err != nil {
		w.lost(fmt.Sprintf("part of a program %x", key), err)
		return nil
	}
	w.report.Items++
	size := binary.AppendUvarint(nil, uint64(len(value)))
	return errors.Join(w.set(key, value), w.set(itemKey(rangeSize, ref.ID, ref.Key), size))
}

// meta writes the values of the store itself.
func (w *walk) meta() error {
	id, err := w.from.value(metaID)
	if err != nil {
		w.lost("the id of the store", err)
		random := make([]byte, 16)
		if _, err := rand.Read(random); err != nil {
			return err
		}
		id = []byte(hex.EncodeToString(random))
	}
	reserved, err := w.from.number(metaReserved)
	if err != nil {
		w.lost("the last revision", err)
	}
	// Revisions of what was lost must not come again either.
	reserved = max(reserved, uint64(w.newest)) + reservation
	return errors.Join(
		w.set(metaFormat, encodeUint64(formatVersion)), w.set(metaID, id),
		w.set(metaCount, encodeUint64(uint64(w.report.Sessions))), w.set(metaReserved, encodeUint64(reserved)))
}

// rebuild makes the new database and puts it in the place of the old one.
func (o *opener) rebuild(ctx context.Context, w *walk, verify func(*driver.Record) error) (err error) {
	repaired := o.disk.PathJoin(o.dir, repairedName)
	if err := o.disk.RemoveAll(repaired); err != nil {
		return diskError(err)
	}
	disk := newFreezer(o.disk, o.log)
	if w.to, err = pebble.Open(repaired, pebbleOptions(disk, o.log)); err != nil {
		return diskError(err)
	}
	err = errors.Join(w.run(ctx, verify), w.meta(), w.to.Flush(), w.to.Close(), disk.cause())
	if err != nil {
		return errors.Join(fmt.Errorf("nothing was changed: %w", err), o.disk.RemoveAll(repaired))
	}
	w.report.Aside = o.disk.PathJoin(o.dir, asidePrefix+time.Now().UTC().Format("20060102T150405Z"))
	if err := errors.Join(o.disk.Rename(o.db, w.report.Aside), o.disk.Rename(repaired, o.db)); err != nil {
		return diskError(err)
	}
	if err := createPromises(o.disk, o.dir); err != nil {
		return diskError(err)
	}
	return errors.Join(o.writeMark(), o.complete())
}
