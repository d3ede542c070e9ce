package diskstore

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// pebbleOptions returns the options of the database. The format version is
// named rather than "newest", so that another version of Pebble does not
// change what is on disk unasked.
func pebbleOptions(disk *freezer, log *slog.Logger) *pebble.Options {
	opts := &pebble.Options{
		FS:                 disk,
		FormatMajorVersion: pebble.FormatWALSyncChunks,
		Merger:             sumMerger,
		// A log is as large as a memtable, and up to seven of them are kept: that
		// bounds what a small store takes on the disk.
		MemTableSize:                4 << 20,
		MemTableStopWritesThreshold: 3,
		CacheSize:                   32 << 20,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      pebbleLogger{disk: disk, log: log},
		// Pebble's default for this event is to end the process. Whoever reads
		// the corrupt block gets ErrCorrupt; this is for the operator.
		EventListener: &pebble.EventListener{
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				log.Error("session store has a corrupt file", "path", info.Path, "details", info.Details)
			},
			BackgroundError: func(err error) {
				log.Error("session store: background work of the database failed", "error", err)
			},
		},
	}
	// Creating a session asks for a key that is not there; the filters answer
	// that without a read.
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return opts
}

// pebbleLogger passes what Pebble says to slog.
type pebbleLogger struct {
	disk *freezer
	log  *slog.Logger
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Warn("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return. Failed writes, its usual cause, never reach Pebble
// (see freezer), so that what is left are broken invariants of Pebble itself.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("pebble: "+format, args...)
	l.disk.freeze(err)
	panic(err)
}

// sumMerger adds 64-bit numbers: the count of records is kept by adding to it
// in the batches that create and delete.
var sumMerger = &pebble.Merger{
	Name: "snakepit.sum",
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		s := new(sum)
		return s, s.add(value)
	},
}

type sum uint64

func (s *sum) add(value []byte) error {
	n, err := decodeUint64(value)
	*s += sum(n) // wraps as two's complement does
	return err
}

func (s *sum) MergeNewer(value []byte) error { return s.add(value) }
func (s *sum) MergeOlder(value []byte) error { return s.add(value) }

func (s *sum) Finish(bool) ([]byte, io.Closer, error) {
	return encodeUint64(uint64(*s)), nil, nil
}
