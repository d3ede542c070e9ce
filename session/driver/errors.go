package driver

import "errors"

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
	// ErrInvalid: the arguments make no sense; nothing was written.
	ErrInvalid = errors.New("invalid argument")
	// ErrCorrupt: stored bytes are not what was written.
	ErrCorrupt = errors.New("corrupt")
	// ErrLocked: another process or handle holds this store.
	ErrLocked = errors.New("locked by another user")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("closed")
)
