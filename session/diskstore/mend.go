package diskstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

const (
	// tendInterval is how often the room on the disk and the descriptors in
	// reserve are looked after.
	tendInterval = time.Second
	// A broken database is opened again after pauses of firstPause to lastPause.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// tend is the goroutine that opens the database again after it broke, and that
// looks after what the store keeps in reserve. It ends with Close.
func (s *Store) tend() {
	defer close(s.tended)
	ticker := time.NewTicker(tendInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.broke:
			s.mend()
		case <-ticker.C:
			s.space.tend()
			s.spares.fill()
		}
	}
}

// mend replaces the broken database. What was acknowledged is in it again;
// what was under way has been answered with driver.ErrUnknown.
func (s *Store) mend() {
	cause := s.retire()
	if cause == nil {
		return
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
		if isFull(cause) {
			s.space.release()
		}
		err := s.replace()
		if err == nil {
			s.log.Info("session store works again", "after", cause)
			return
		}
		if previous := s.outage(); previous == nil || previous.Error() != err.Error() {
			s.log.Error("session store cannot be opened again yet", "error", err)
		}
		cause = err
		s.down.Store(&err)
	}
}

// retire closes the broken database once all calls that use it have returned,
// and forgets what was read from it: some of that may never become durable. It
// returns what broke it, or nil if there is nothing to do.
func (s *Store) retire() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed || s.db == nil || !s.db.disk.frozen() {
		return nil
	}
	last := &write{done: make(chan struct{})}
	s.syncs <- last
	<-last.done // and so are all writes before it
	cause := s.db.disk.cause()
	s.down.Store(&cause)
	_ = s.db.abandon() // it says once more that it is broken
	s.db = nil
	for i := range s.shards {
		s.shards[i].reset()
	}
	s.cache.bytes.Store(0)
	s.gaps.reset()
	s.unsynced.Store(0)
	return cause
}

// replace opens the database again.
func (s *Store) replace() error {
	db, err := s.opener.database(s.lock, true, s.alarm)
	if err != nil {
		return err
	}
	s.life.Lock()
	defer s.life.Unlock()
	s.db = db
	err = s.loadMeta(true)
	if err == nil {
		// A new manifest, and tables of what was in the logs: after a failed
		// fsync nobody knows what the disk has of the old ones.
		err = db.Flush()
	}
	if cause := db.disk.cause(); cause != nil {
		err = diskError(cause)
	}
	if err != nil {
		s.db = nil
		return errors.Join(err, db.abandon())
	}
	db.disk.serving.Store(true)
	s.down.Store(nil)
	return nil
}

// alarm wakes tend after a write has failed.
func (s *Store) alarm() {
	select {
	case s.broke <- struct{}{}:
	default:
	}
}

// outage is why there is no database at the moment, or nil.
func (s *Store) outage() error {
	if err := s.down.Load(); err != nil {
		return *err
	}
	if s.db != nil {
		return s.db.disk.cause()
	}
	return nil
}

// broken is the answer to calls between a failed write and the time when the
// database is open again.
func (s *Store) broken(cause error) error {
	return fmt.Errorf("session store in %q cannot serve since a write to the disk failed; it tries again by itself: %w: %w",
		s.dir, driver.ErrUnavailable, cause)
}
