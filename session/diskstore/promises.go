package diskstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/snakepit-go/snakepit/session/driver"
)

// syncedName is the file that says how much of each log and manifest was on
// disk. A log by itself cannot tell that its end is missing: to whoever opens
// it after a crash, a log that was cut looks like one that was never longer.
//
// An entry is written after each fsync of its file and before anybody is told
// that his write is durable. It need not be synced itself: after kill -9 the
// system still has it, and after a power loss an older entry promises less,
// never too much. It is removed, durably, before its file is.
const (
	syncedName    = "SYNCED"
	newSyncedName = "SYNCED.new"

	// An entry lies in a sector of its own, which a disk writes whole.
	entrySector = 512
	entrySize   = 24 // checksum (4 bytes), kind (4), number (8), length (8)
	// firstEntries is the number of entries for which there is room at first.
	firstEntries = 64
)

// appended names a file to which Pebble appends.
type appended struct {
	kind   byte // one of the constants below
	number uint64
}

const (
	aState    = 'S' // the first entry: whether the store was closed
	aLog      = 'L'
	aManifest = 'M'
)

const (
	stateOpen   = 1
	stateClosed = 2
)

// appendedOf tells which appended file a path names, if one.
func appendedOf(name string) (appended, bool) {
	base := path.Base(strings.ReplaceAll(name, `\`, "/"))
	a := appended{kind: aLog}
	digits, ok := strings.CutSuffix(base, ".log")
	if !ok {
		a.kind = aManifest
		if digits, ok = strings.CutPrefix(base, "MANIFEST-"); !ok {
			return a, false
		}
	}
	var err error
	a.number, err = strconv.ParseUint(digits, 10, 64)
	return a, err == nil
}

// file is the name of an appended file.
func (a appended) file() string {
	if a.kind == aManifest {
		return fmt.Sprintf("MANIFEST-%06d", a.number)
	}
	return fmt.Sprintf("%06d.log", a.number)
}

// log is the number that the chunks of the file carry, 0 in a manifest.
func (a appended) log() uint64 {
	if a.kind == aManifest {
		return 0
	}
	return a.number
}

// promises is the open SYNCED file. Its methods may be called at once.
type promises struct {
	file vfs.File

	mu      sync.Mutex // guards what follows
	lengths map[appended]int64
	places  map[appended]int64
	free    []int64
	size    int64 // of the file
}

// createPromises makes the file of a store that has no appended file yet, or
// that was made before there was one.
func createPromises(disk vfs.FS, dir string) error {
	name := disk.PathJoin(dir, newSyncedName)
	f, err := disk.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	content := make([]byte, firstEntries*entrySector)
	copy(content, encodeEntry(appended{kind: aState}, stateOpen))
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return disk.Rename(name, disk.PathJoin(dir, syncedName))
}

// openPromises reads the file. closed tells whether the store was closed.
func openPromises(disk vfs.FS, dir string) (p *promises, closed bool, err error) {
	name := disk.PathJoin(dir, syncedName)
	if _, err := disk.Stat(name); err != nil {
		return nil, false, err // opening would make it
	}
	f, err := disk.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, false, err
	}
	p = &promises{file: f, lengths: make(map[appended]int64), places: make(map[appended]int64)}
	closed, err = p.read()
	if err != nil {
		_ = f.Close()
		return nil, false, err
	}
	return p, closed, nil
}

func (p *promises) read() (closed bool, err error) {
	info, err := p.file.Stat()
	if err != nil {
		return false, err
	}
	content := make([]byte, info.Size())
	if _, err := p.file.ReadAt(content, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	p.size = info.Size() / entrySector * entrySector
	if p.size == 0 {
		return false, fmt.Errorf("%s is empty: %w", syncedName, driver.ErrCorrupt)
	}
	for place := int64(0); place < p.size; place += entrySector {
		entry := content[place : place+entrySize]
		if allZero(entry) && place > 0 {
			p.free = append(p.free, place)
			continue
		}
		a := appended{entry[4], binary.LittleEndian.Uint64(entry[8:])}
		length := int64(binary.LittleEndian.Uint64(entry[16:]))
		if crc32.Checksum(entry[4:], castagnoli) != binary.LittleEndian.Uint32(entry) || (a.kind == aState) != (place == 0) {
			return false, fmt.Errorf("%s is damaged at byte %d: %w", syncedName, place, driver.ErrCorrupt)
		}
		if place == 0 {
			closed = length == stateClosed
			continue
		}
		p.lengths[a], p.places[a] = length, place
	}
	return closed, nil
}

func encodeEntry(a appended, length int64) []byte {
	b := make([]byte, entrySector)
	b[4] = a.kind
	binary.LittleEndian.PutUint64(b[8:], a.number)
	binary.LittleEndian.PutUint64(b[16:], uint64(length))
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:entrySize], castagnoli))
	return b
}

// state says durably whether the store is closed.
func (p *promises) state(n int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.file.WriteAt(encodeEntry(appended{kind: aState}, n), 0); err != nil {
		return err
	}
	return p.file.Sync()
}

// probe writes the file as it is and waits until it is on disk.
func (p *promises) probe() error {
	p.mu.Lock()
	_, err := p.file.WriteAt(encodeEntry(appended{kind: aState}, stateOpen), 0)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return p.file.Sync() // without the lock: nobody waits for a probe
}

// keep says that a file is on disk up to length.
func (p *promises) keep(a appended, length int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lengths[a] >= length {
		return nil
	}
	place, ok := p.places[a]
	if !ok {
		place = p.place()
		p.places[a] = place
	}
	p.lengths[a] = length
	_, err := p.file.WriteAt(encodeEntry(a, length), place)
	return err
}

// place returns where a new entry goes. The caller holds mu.
func (p *promises) place() int64 {
	if n := len(p.free) - 1; n >= 0 {
		place := p.free[n]
		p.free = p.free[:n]
		return place
	}
	p.size += entrySector
	return p.size - entrySector
}

// drop forgets a file, durably, because it is going to be removed.
func (p *promises) drop(a appended) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	place, ok := p.places[a]
	if !ok {
		return nil
	}
	if _, err := p.file.WriteAt(make([]byte, entrySector), place); err != nil {
		return err
	}
	delete(p.places, a)
	delete(p.lengths, a)
	p.free = append(p.free, place)
	return p.file.Sync()
}

// check compares the files in a database directory with what was promised. It
// returns what is damaged. A manifest that is not the current one does not
// count: it was replaced, or a crash has come before it was put to use.
func (p *promises) check(disk vfs.FS, db string) (damaged []Damage, err error) {
	current, err := pebble.Peek(db, disk)
	if err != nil {
		return nil, err
	}
	names, err := disk.List(db)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	files := make(map[appended]int64)
	oldest := uint64(0)
	for a, length := range p.lengths {
		switch {
		case a.kind == aLog && (oldest == 0 || a.number < oldest):
			oldest = a.number
		case a.kind == aManifest && disk.PathBase(current.ManifestFilename) != a.file():
			continue
		}
		files[a] = length
	}
	for _, name := range names {
		// Logs older than all entries are about to be removed.
		if a, ok := appendedOf(name); ok && a.kind == aLog && a.number >= oldest {
			files[a] = max(files[a], 0)
		}
	}
	for a, length := range files {
		found, err := scanFile(disk, disk.PathJoin(db, a.file()), a.log(), nil)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			damaged = append(damaged, Damage{File: dbName + "/" + a.file(), Lost: length, Reason: "it is missing"})
		case err != nil:
			return nil, err
		case found.damaged(length):
			synced := max(length, found.promised)
			damaged = append(damaged, Damage{
				File: dbName + "/" + a.file(), Sound: found.end, Lost: synced - found.end,
				Reason: fmt.Sprintf("it is sound up to byte %d, and %d bytes were on disk", found.end, synced),
			})
		}
	}
	return damaged, nil
}

// scanFile scans one file of chunks.
func scanFile(disk vfs.FS, name string, log uint64, record func([]byte)) (scan, error) {
	f, err := disk.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return scan{}, err
	}
	defer f.Close()
	return scanChunks(f, log, record)
}
