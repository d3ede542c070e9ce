package driver

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of the contract. Drivers wrap them with what was attempted and
// with the cause: fmt.Errorf("read record %q: %w: %w", id, ErrUnavailable, err).
//
// Only ErrUnavailable is a failure of the backend, and only it is retried; the
// others are answers.
var (
	// ErrNotFound: there is no such record or item.
	ErrNotFound = errors.New("not found")
	// ErrExists: the record exists, and the batch required its absence.
	ErrExists = errors.New("already exists")
	// ErrConflict: the record is not at the required revision.
	ErrConflict = errors.New("revision conflict")
	// ErrItemExists: an item exists, and the batch required its absence.
	ErrItemExists = errors.New("item already exists")
	// ErrUnavailable: the backend cannot serve now; nothing was written.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnknown: the write may or may not have been made.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnsupported: the driver cannot do this at all.
	ErrUnsupported = errors.New("unsupported")
	// ErrTooLarge: a limit of the driver is exceeded; nothing was written.
	ErrTooLarge = errors.New("too large")
	// ErrFull: there is no room for the write; nothing was written, and reads
	// and deletions go on.
	ErrFull = errors.New("the store is full")
	// ErrInvalid: the arguments make no sense; nothing was written.
	ErrInvalid = errors.New("invalid argument")
	// ErrCorrupt: stored bytes are not what was written.
	ErrCorrupt = errors.New("corrupt")
	// ErrLocked: another process or handle holds this store.
	ErrLocked = errors.New("locked by another user")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("closed")
)

// GapError comes with a page of List or Items if some of the storage between its
// entries cannot be read: the page is what is left, and it is to be used. It is
// an ErrCorrupt.
type GapError struct {
	Gaps []Gap
}

// Gap is a part of a listing that cannot be read: what follows From and precedes
// To, the next entry that can be read; a zero To is the end. Listings of records
// have no Key in it.
type Gap struct {
	From, To ItemRef
	Err      error
}

func (g Gap) String() string {
	to := "the end"
	if g.To != (ItemRef{}) {
		to = fmt.Sprintf("%q", g.To.ID)
	}
	return fmt.Sprintf("what lies between %q and %s cannot be read: %v", g.From.ID, to, g.Err)
}

func (e *GapError) Error() string {
	lines := make([]string, len(e.Gaps))
	for i, g := range e.Gaps {
		lines[i] = g.String()
	}
	return strings.Join(lines, "; ")
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *GapError) Is(target error) bool { return target == ErrCorrupt }
