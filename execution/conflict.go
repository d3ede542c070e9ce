package execution

import (
	"errors"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// again says whether an attempt that failed with err is repeated, and counts
// it: after a crash that can do no harm, and after a conflict if the call is to
// be run on the newer state.
func (c *sessionCall) again(err error) bool {
	if crash, ok := errors.AsType[*worker.CrashError](err); ok {
		c.crashes++
		return c.crashes <= maxCrashRetries && (c.Call.Idempotent || !crash.MaybeExecuted)
	}
	if c.OnConflict == worker.Retry && errors.Is(err, session.ErrStateConflict) {
		c.conflicts++
		return c.conflicts <= maxConflictRetries
	}
	return false
}

// strict says that the call must not be committed over a conflict.
func (c *sessionCall) strict() bool {
	return c.OnConflict == worker.Fail || c.OnConflict == worker.Retry
}

// basis is what the commit of an attempt is based on: the state it got, and
// what it has read of it. A worker that did not say may have read anything. A
// call that changes nothing has no conflicts: it is as if it had run at once
// when it got its state.
func (c *sessionCall) basis(sess *session.Session, read *worker.VarsRead, changed bool) *session.Basis {
	b := &session.Basis{Session: sess, Refuse: c.strict() && changed, All: read == nil}
	if read != nil {
		b.All, b.Read = read.All, read.Keys
	}
	return b
}
