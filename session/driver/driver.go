// Package driver is the contract between the session store and a storage
// backend. You read this package if you write a backend; users of sessions
// read package session.
//
// A driver stores opaque bytes. It knows nothing of sessions: no expiry, no
// encoding, no retries, no metrics. All of that is written once, in package
// session, which is the only caller of a driver. What a driver must get right
// is small and strict: one session's batch is atomic, its condition is checked
// in the same instant, and a write that was acknowledged is kept as the driver
// promises in its Info.
//
// # Concurrency and failure
//
// All methods are called from many goroutines at once. A driver starts
// goroutines only if its constructor says so, and ends them in Close.
//
// A write whose outcome the driver cannot tell (a timeout on the way to a
// server, a context that ended while the write was under way) returns
// ErrUnknown. A driver never reports such a write as failed, and never repeats
// it itself: package session resolves it with the operation ids kept in the
// head.
//
// # Where to read on
//
// Package session/drivertest checks all of this; run it against your driver.
// A complete small driver is in examples/customdriver. The word list is in
// docs/glossary.md.
package driver

import (
	"context"
	"sync/atomic"
)

// Store is a storage backend. Implementations are safe for concurrent use.
//
// A session id is 1 to 512 bytes of valid UTF-8, an item key 1 to 256 bytes of
// ASCII letters, digits, '/', '.', '_' and '-'; package session checks both
// before it calls.
type Store interface {
	// Get returns the record of a session.
	//
	// The result is shared: neither side changes it or its byte slices. A
	// driver that keeps records in memory returns the same *Record until the
	// record changes, so that what the caller memoizes in it is kept.
	//
	// Errors: ErrNotFound; ErrUnsupported if the level cannot be given (never
	// a weaker one); ErrCorrupt; ErrUnavailable; the context's error.
	Get(ctx context.Context, id string, read Read) (*Record, error)

	// GetItems is Get together with the bytes of items of the session, all as
	// they were in one instant: data[i] is that of keys[i], nil if there is no
	// such item, and not nil if it is empty. The caller does not change them.
	// There are few keys, and most often none of them exists.
	//
	// Errors: as those of Get; ErrNotFound is about the record.
	GetItems(ctx context.Context, id string, read Read, keys []string) (record *Record, data [][]byte, err error)

	// Apply executes a batch on one session atomically: all of it or none,
	// visible in one instant. It returns the record's new revision, or 0 if
	// the batch stored no record (a delete, or items alone).
	//
	// The driver owns the byte slices of the batch afterwards and may keep
	// them; the caller never changes them again.
	//
	// Errors: ErrExists (If is IfAbsent and the record exists); ErrConflict (If is
	// IfRevision and the record has another revision, or is absent); ErrItemExists
	// (If holds, and an item of Absent exists); ErrTooLarge; ErrUnavailable
	// (nothing was written); ErrUnknown (it may have been written); the context's
	// error (nothing was written).
	Apply(ctx context.Context, id string, batch *Batch) (Revision, error)

	// Item returns the bytes of one item of a session. The caller does not
	// change them.
	//
	// Errors: ErrNotFound, ErrCorrupt, ErrUnavailable.
	Item(ctx context.Context, id, key string) ([]byte, error)

	// Items returns up to limit items that follow after in the order (ID,
	// Key), bytewise, over all sessions, including items whose session has no
	// record. An empty page is the end. It is not a snapshot: an item that
	// exists during the whole listing is returned exactly once. A part of the
	// storage that cannot be read is left out, and told by a *GapError beside
	// the page.
	Items(ctx context.Context, after ItemRef, limit int) ([]ItemInfo, error)

	// List returns up to limit records whose id starts with prefix and
	// follows after, in bytewise order of ids. Records come with their heads;
	// bodies are nil. An empty page is the end. It is not a snapshot: a record
	// that exists during the whole listing is returned exactly once. A part of
	// the storage that cannot be read is left out, and told by a *GapError
	// beside the page.
	List(ctx context.Context, prefix, after string, limit int) ([]*Record, error)

	// Ping returns nil if the backend can serve reads and writes now.
	Ping(ctx context.Context) error

	// Close releases what the driver holds. Writes acknowledged before Close
	// are kept. Every later call, including Close, returns ErrClosed.
	Close() error
}

// Revision identifies one state of one record. It is opaque: only equality
// means anything. A driver never gives the same revision twice to one id, also
// not after the record was deleted and created again, and also not after the
// store was reopened. Zero is "no revision".
type Revision uint64

// Read says how fresh an answer must be.
type Read struct {
	Level ReadLevel
	// After, if not zero, is the revision of a write the answer must include.
	// A driver whose reads always include all acknowledged writes ignores it.
	After Revision
}

// ReadLevel is a promise on the freshness of a read.
type ReadLevel uint8

const (
	// ReadYourWrites includes every write acknowledged by this store handle,
	// and the write named by Read.After wherever it was made. The default.
	ReadYourWrites ReadLevel = iota
	// Strong includes every write acknowledged anywhere before the read began.
	Strong
	// StaleOK may be any earlier state.
	StaleOK
)

// Record is one session as a driver keeps it.
type Record struct {
	ID       string
	Revision Revision
	// Head is small (Limits.Head) and is all that List returns.
	Head []byte
	// Body is the rest; nil in the results of List.
	Body []byte
	// Memo is the caller's: package session keeps the decoded view here. A
	// driver ignores it and never copies it to a record with other bytes.
	Memo atomic.Value
}

// Batch is one atomic change of one session.
//
// It stores a record (Head is not nil), deletes it (Delete), or changes items
// alone (neither).
type Batch struct {
	If Condition
	// Revision is compared with the record's when If is IfRevision.
	Revision Revision

	// Head and Body are the new record. A nil Body keeps the stored one,
	// which must then exist: If is IfRevision in that case.
	Head []byte
	Body []byte

	// Record, if not nil, is the record as it will be, with its ID, Head, Body
	// (the stored one if Batch.Body is nil) and Memo, and without a revision.
	// A driver that keeps records in memory may give it the revision and keep
	// it in place of one of its own, so that what is memoized in it serves the
	// next reader; all others ignore it. A driver that keeps it does so only
	// if the batch is applied, and touches it before anyone else can see it.
	Record *Record

	// Delete removes the record. Deleting an absent record with IfAny is no error,
	// and neither is deleting one that cannot be read. Items stay unless Drop
	// names them.
	Delete bool

	// Put stores items, replacing those of the same key. Drop removes items;
	// an absent one is no error. The same key is never in both.
	Put  []Item
	Drop []string

	// Absent names items that must not exist, checked in the same instant as
	// If. A key of Put may be among them: it is then stored at most once.
	Absent []string

	// Op identifies this write; the caller keeps it in the head too. A driver
	// whose backend removes duplicates by message id may use it for that.
	Op OpID
}

// Condition is checked in the same instant in which the batch is applied.
type Condition uint8

const (
	// IfAny applies whatever the state of the record.
	IfAny Condition = iota
	// IfAbsent applies only if the session has no record.
	IfAbsent
	// IfRevision applies only if the record has Batch.Revision.
	IfRevision
)

// OpID identifies one write among those of a session: 128 random bits, or a
// hash of what the caller called its operation.
type OpID [16]byte

// Item is a named piece of bytes beside a record, such as a chunk of a program.
type Item struct {
	Key  string
	Data []byte
}

// ItemRef names an item of a session. The zero value precedes all items.
type ItemRef struct {
	ID  string
	Key string
}

// ItemInfo is an item without its bytes.
type ItemInfo struct {
	ItemRef
	Size int
}
