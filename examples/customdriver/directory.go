package customdriver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/snakepit-go/snakepit/session/driver"
)

const (
	suffix    = ".session"
	temporary = "writing.tmp"
	rangeFile = "RANGE"
	lockFile  = "LOCK"
)

// directory is the part that knows files. A session is the file named by the
// hash of its id (ids may be longer than file names, and hold any character):
// a line with the hash of the rest, and the rest as JSON.
type directory struct {
	path string
	lock *os.File
}

// file is the JSON form of contents.
type file struct {
	ID       string            `json:"id"`
	Revision driver.Revision   `json:"revision,omitempty"` // 0: no record
	Head     []byte            `json:"head,omitempty"`
	Body     []byte            `json:"body,omitempty"`
	Items    map[string][]byte `json:"items,omitempty"`
}

// unsettledError is the error of a change that may have happened or not.
type unsettledError struct{ cause error }

func (e *unsettledError) Error() string { return "outcome unsettled: " + e.cause.Error() }

// open makes and claims the directory. The system gives the claim up when the
// process ends, however it ends.
func (d *directory) open(path string) error {
	d.path = path
	err := os.Mkdir(path, 0o700)
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	if d.lock, err = os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = d.lock.Close()
		return fmt.Errorf("another process, or this one, has it open: %w: %w", driver.ErrLocked, err)
	}
	return nil
}

func (d *directory) close() error { return d.lock.Close() }

// readAll reads all sessions.
func (d *directory) readAll() (map[string]*contents, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	sessions := make(map[string]*contents, len(entries))
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), suffix) {
			continue
		}
		name := filepath.Join(d.path, entry.Name())
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
		}
		id, c, err := decode(text)
		if err != nil {
			// Never guess: damaged bytes are an error, not an empty session.
			return nil, fmt.Errorf("file %q is damaged, restore it from a backup: %w: %w", name, driver.ErrCorrupt, err)
		}
		sessions[id] = c
	}
	return sessions, nil
}

// nextRange returns the number below a range of revisions that nobody has used:
// 2^40 for each opening.
func (d *directory) nextRange() (driver.Revision, error) {
	text, err := os.ReadFile(filepath.Join(d.path, rangeFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	n := uint64(0)
	if err == nil {
		if n, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 24); err != nil {
			return 0, fmt.Errorf("file %s: %w: %w", rangeFile, driver.ErrCorrupt, err)
		}
	}
	if err := d.replace(rangeFile, fmt.Appendln(nil, n+1)); err != nil {
		return 0, fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	return driver.Revision(n << 40), nil
}

// write makes the file of a session what c says, or removes it if c is empty.
// An *unsettledError apart, an error means that nothing has changed.
func (d *directory) write(id string, c *contents) error {
	hash := sha256.Sum256([]byte(id))
	name := hex.EncodeToString(hash[:]) + suffix
	if c.empty() {
		err := os.Remove(filepath.Join(d.path, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return d.sync()
	}
	text, err := encode(id, c)
	if err != nil {
		return err
	}
	return d.replace(name, text)
}

// replace gives a file new contents in one step: a crash leaves the old ones or
// the new ones, never a mixture.
func (d *directory) replace(name string, text []byte) error {
	temp := filepath.Join(d.path, temporary)
	if err := writeSynced(temp, text); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(d.path, name)); err != nil {
		return err
	}
	return d.sync()
}

func writeSynced(name string, text []byte) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Sync()
}

// sync makes renames and removals durable. They are visible already, so that
// whether they last is open if it fails.
func (d *directory) sync() error {
	if err := syncDirectory(d.path); err != nil {
		return &unsettledError{err}
	}
	return nil
}

func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func encode(id string, c *contents) ([]byte, error) {
	f := file{ID: id, Items: c.items}
	if c.record != nil {
		f.Revision, f.Head, f.Body = c.record.Revision, c.record.Head, c.record.Body
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%x\n%s", sha256.Sum256(text), text), nil
}

func decode(text []byte) (string, *contents, error) {
	sum, rest, _ := bytes.Cut(text, []byte("\n"))
	if string(sum) != fmt.Sprintf("%x", sha256.Sum256(rest)) {
		return "", nil, errors.New("the checksum differs")
	}
	var f file
	if err := json.Unmarshal(rest, &f); err != nil {
		return "", nil, err
	}
	c := &contents{items: f.Items}
	if f.Revision != 0 {
		// JSON leaves empty bytes out; a record has both, if only empty ones.
		c.record = &driver.Record{ID: f.ID, Revision: f.Revision, Head: append([]byte{}, f.Head...), Body: append([]byte{}, f.Body...)}
	}
	return f.ID, c, nil
}
