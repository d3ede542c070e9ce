package process

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/snakepit-go/snakepit/internal/owndir"
)

// A registry is a directory for each launcher below the run directory:
//
//	hosts/<pid>-<random>/host       the host's identity, locked while it lives
//	hosts/<pid>-<random>/<run id>   one for each worker: empty before the fork,
//	                                then its pid and start time
//
// A record survives the kill -9 of its host because the kernel has the file; a
// power failure needs no record, as it leaves no processes. Directories under
// construction begin with a dot.
//
// What is recorded decides what is killed: the run directory must be this
// user's alone, and a record that is not our own file is not believed.
type registry struct {
	runDir string
	domain string
	log    *slog.Logger

	mu   sync.Mutex // guards all below
	dir  string
	lock *os.File
	// workers is what is recorded, to write it again if the directory is lost.
	workers map[string]workerFile
}

const hostFile = "host"

// identity is what a host says about itself.
type identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	// Domain says where pids and start times may be compared; see pidDomain.
	Domain string `json:"domain"`
}

// record is what is known of a worker: always its run id, and its number and
// start time if its host came to write them.
type record struct {
	run   string
	pid   int
	start uint64
}

// workerFile is the content of a worker's file.
type workerFile struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// openRegistry cleans up behind dead hosts and registers this one.
func openRegistry(runDir string, log *slog.Logger) (*registry, error) {
	if runDir == "" {
		return nil, errors.New("open process registry: no run directory given")
	}
	r := &registry{runDir: runDir, domain: pidDomain(), log: log, workers: make(map[string]workerFile)}
	hosts, err := r.hosts()
	if err != nil {
		return nil, fmt.Errorf("open process registry: %w", err)
	}
	cleanUp(hosts, r.domain, log)
	if err := r.register(); err != nil {
		return nil, fmt.Errorf("open process registry: %w", err)
	}
	return r, nil
}

func (r *registry) hosts() (string, error) { return owndir.Make(filepath.Join(r.runDir, "hosts")) }

// register makes the host's directory, with the records there are.
func (r *registry) register() error {
	hosts, err := r.hosts()
	if err != nil {
		return err
	}
	self, _ := lookUp(os.Getpid())
	who, err := json.Marshal(identity{PID: os.Getpid(), Start: self.start, Domain: r.domain})
	if err != nil {
		return err
	}
	var suffix [6]byte
	rand.Read(suffix[:]) // never fails
	name := fmt.Sprintf("%d-%s", os.Getpid(), hex.EncodeToString(suffix[:]))
	dir := filepath.Join(hosts, name)
	lock, err := createHost(filepath.Join(hosts, "."+name), dir, who)
	if err != nil {
		return err
	}
	if r.lock != nil {
		r.lock.Close() // of a directory that is gone
	}
	r.dir, r.lock = dir, lock
	for run, w := range r.workers {
		if err := r.write(run, w); err != nil {
			return err
		}
	}
	return nil
}

// createHost builds a host's directory aside and moves it into place locked,
// so that nobody can take a host being born for a dead one.
func createHost(aside, dir string, who []byte) (_ *os.File, err error) {
	if err := os.Mkdir(aside, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(aside, hostFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(aside))
	}
	if err = tryLock(lock); err == nil {
		_, err = lock.Write(who)
	}
	if err == nil {
		err = os.Rename(aside, dir)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close(), os.RemoveAll(aside))
	}
	return lock, nil
}

// reserve records a worker that is about to be started. If the directory was
// deleted, as it is when XDG_RUNTIME_DIR goes with its user's last login, it is
// made again. A worker that cannot be recorded is started nevertheless: the
// record only serves to find what is left of it when this host is killed.
func (r *registry) reserve(run string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workers[run] = workerFile{}
	err := r.write(run, workerFile{})
	if errors.Is(err, fs.ErrNotExist) {
		err = r.register()
	}
	if err != nil {
		r.log.Warn("a worker is not recorded: what it starts may live on if this host is killed", "error", err)
	}
}

// started adds the number of a reserved worker.
func (r *registry) started(run string, pid int) error {
	p, _ := lookUp(pid)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workers[run] = workerFile{PID: pid, Start: p.start}
	return r.write(run, r.workers[run])
}

func (r *registry) write(run string, w workerFile) error {
	var content []byte
	if w.PID != 0 {
		var err error
		if content, err = json.Marshal(w); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(r.dir, run), content, 0o600)
}

// release removes the record of a worker that left nothing behind.
func (r *registry) release(run string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.workers, run)
	// A record that stays is harmless: it will match no process.
	_ = os.Remove(filepath.Join(r.dir, run))
}

// close removes the host, unless a worker's record had to stay.
func (r *registry) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.lock.Close()
	if len(r.workers) > 0 {
		return nil
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return fmt.Errorf("close process registry: %w", err)
	}
	return nil
}

// cleanUp ends what the workers of dead hosts left behind. What cannot be
// cleaned up now must not keep this host from starting.
func cleanUp(hosts, domain string, log *slog.Logger) {
	entries, err := os.ReadDir(hosts)
	if err != nil {
		log.Warn("worker processes of earlier hosts are not looked for", "error", err)
		return
	}
	for _, entry := range entries {
		dir := filepath.Join(hosts, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") {
			removeIfAbandoned(entry, dir)
			continue
		}
		if err := cleanUpHost(dir, domain, log); err != nil {
			log.Warn("worker processes of an earlier host are not cleaned up", "host", entry.Name(), "error", err)
		}
	}
}

// removeIfAbandoned removes what a host left that was killed while it
// registered.
func removeIfAbandoned(entry fs.DirEntry, dir string) {
	if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
		_ = os.RemoveAll(dir)
	}
}

func cleanUpHost(dir, domain string, log *slog.Logger) error {
	if err := ownFile(dir); err != nil {
		return err
	}
	if err := ownFile(filepath.Join(dir, hostFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, hostFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another host has just cleaned it up
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if tryLock(lock) != nil {
		return nil // it lives, or another host cleans up behind it
	}
	who, records, err := readHost(dir)
	if err != nil {
		return err
	}
	comparable := who.Domain != "" && who.Domain == domain
	if p, ok := lookUp(who.PID); comparable && ok && !p.dead && p.start == who.Start {
		return nil // it lives: the file system does not keep locks
	}
	if !comparable {
		for i := range records {
			records[i].pid = 0
		}
	}
	killed, err := killAll(records)
	if len(killed) > 0 {
		log.Warn("killed worker processes of a host that is gone", "host_pid", who.PID, "workers", len(records), "killed", killed)
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func readHost(dir string) (identity, []record, error) {
	var who identity
	content, err := os.ReadFile(filepath.Join(dir, hostFile))
	if err != nil {
		return who, nil, err
	}
	if err := json.Unmarshal(content, &who); err != nil {
		return who, nil, fmt.Errorf("read %s: %w", filepath.Join(dir, hostFile), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return who, nil, err
	}
	var records []record
	for _, entry := range entries {
		if entry.Name() == hostFile {
			continue
		}
		if err := ownFile(filepath.Join(dir, entry.Name())); err != nil {
			return who, nil, err
		}
		rec := record{run: entry.Name()}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return who, nil, err
		}
		// Without a complete content the run id is all there is to go by.
		var w workerFile
		if json.Unmarshal(content, &w) == nil {
			rec.pid, rec.start = w.PID, w.Start
		}
		records = append(records, rec)
	}
	return who, records, nil
}

// ownFile makes sure that a record is ours, and no link to something else.
func ownFile(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return owndir.Owned(path, info)
}

// tryLock locks a file for as long as it is open, or fails at once.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
