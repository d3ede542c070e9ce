package session

import (
	"errors"
	"fmt"

	"github.com/snakepit-go/snakepit/session/driver"
)

// The sentinels of this package, found with errors.Is. The first group are
// those of the driver contract.
var (
	// ErrNotFound: there is no such session or program, or it has expired.
	ErrNotFound = driver.ErrNotFound
	// ErrConflict: the session is not at the expected revision.
	ErrConflict = driver.ErrConflict
	// ErrUnavailable: the backend cannot serve now; nothing was written.
	ErrUnavailable = driver.ErrUnavailable
	// ErrUnknown: the write may or may not have been made, and there is no
	// way left to tell.
	ErrUnknown = driver.ErrUnknown
	// ErrUnsupported: the driver cannot do this, or the record was written by
	// a newer version of Snakepit.
	ErrUnsupported = driver.ErrUnsupported
	// ErrTooLarge: a limit is exceeded; the error is a *LimitError.
	ErrTooLarge = driver.ErrTooLarge
	// ErrStoreFull: the storage has no room for the write, nothing was written,
	// and reads and deletions go on.
	ErrStoreFull = driver.ErrFull
	// ErrInvalid: an argument is not allowed; the error is an *InvalidError.
	ErrInvalid = driver.ErrInvalid
	// ErrCorrupt: stored bytes are not what was written; the error is a
	// *CorruptError.
	ErrCorrupt = driver.ErrCorrupt
	// ErrLocked: another process or handle holds the storage.
	ErrLocked = driver.ErrLocked
	// ErrClosed: the store was closed.
	ErrClosed = driver.ErrClosed

	// ErrProgramNotFound: there is a session, and it has no such program. It
	// is an ErrNotFound.
	ErrProgramNotFound = fmt.Errorf("program %w", ErrNotFound)
	// ErrQuotaExceeded: the store holds as many live sessions as it may, or as
	// many bytes; then the error is a *LimitError.
	ErrQuotaExceeded = errors.New("session quota exceeded")
	// ErrFenced: a commit came from a former owner of the session, or for a
	// former session of the same id.
	ErrFenced = errors.New("fenced")
	// ErrAlreadyCommitted: a write with this operation id was made before, and
	// the session that comes with this error is the current one; or a call of
	// this id is recorded, which FindCall has.
	ErrAlreadyCommitted = errors.New("already committed")
	// ErrStateConflict: others changed variables on which a commit was based; it
	// is an ErrConflict, and the error a *StateConflictError.
	ErrStateConflict = fmt.Errorf("state changed since: %w", ErrConflict)
	// ErrUpdateFailed: the function given to Update returned an error, which
	// is wrapped too. Nothing was written.
	ErrUpdateFailed = errors.New("update function failed")
)

// Error is the context of an operation that failed. Every error of a Store is
// one, around the cause.
type Error struct {
	// Op is the operation: "update".
	Op string
	// ID is the session, or empty for operations on the whole store.
	ID string
	// Driver is the name of the storage driver.
	Driver string
	Err    error
}

func (e *Error) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("session %s (%s): %v", e.Op, e.Driver, e.Err)
	}
	return fmt.Sprintf("session %s %q (%s): %v", e.Op, e.ID, e.Driver, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// InvalidError says which argument is not allowed, and why.
type InvalidError struct {
	Field  string
	Reason string
}

func (e *InvalidError) Error() string { return "invalid " + e.Field + ": " + e.Reason }

// Is makes errors.Is(err, ErrInvalid) true.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// CorruptError names the session whose stored bytes are damaged. Such a
// session can be deleted, but not read or changed.
type CorruptError struct {
	ID string
	// Part is what is damaged: "head", "body", "record" for both, "record of a
	// call", or "program" and its name.
	Part   string
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt %s of session %q: %s", e.Part, e.ID, e.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// LimitError says which limit a write would exceed. It is an ErrTooLarge, or an
// ErrQuotaExceeded if the limit is one of the whole store.
type LimitError struct {
	// What is limited: "variables of the session".
	What string
	// Use is what it would have been, and Limit what is allowed: bytes, or the
	// number of things.
	Use, Limit int64
	number     bool
	quota      bool
}

func (e *LimitError) Error() string {
	unit, sentinel, remedy := "bytes", ErrTooLarge, ""
	if e.number {
		unit = "of them"
	}
	if e.quota {
		sentinel, remedy = ErrQuotaExceeded, "; delete some sessions, or raise the limit"
	}
	return fmt.Sprintf("%v: %s: %d %s, where %d are allowed%s", sentinel, e.What, e.Use, unit, e.Limit, remedy)
}

// Is makes errors.Is(err, ErrTooLarge) or ErrQuotaExceeded true.
func (e *LimitError) Is(target error) bool {
	if e.quota {
		return target == ErrQuotaExceeded
	}
	return target == ErrTooLarge
}

// tooLarge says which limit is exceeded.
func tooLarge(what string, size, limit int64) error {
	return &LimitError{What: what, Use: size, Limit: limit}
}
