package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Store is the facade over a storage driver. It is safe for concurrent use.
type Store struct {
	drv  driver.Store
	info driver.Info
	opts Options
	log  *slog.Logger

	quota   quota
	usage   usage
	holds   holds
	sweeper sweeper

	stats struct {
		created, deleted, expired, sweeps atomic.Uint64
		damaged                           atomic.Int64
	}
	damage damage

	closed   atomic.Bool
	closing  sync.Once
	closeErr error
	// stop ends the sweeper goroutine; stopped is closed when it has ended.
	stop    context.CancelFunc
	stopped chan struct{}
}

// New returns a store over drv, which it owns from then on. It starts the
// sweeper, a goroutine that Close ends.
func New(drv driver.Store, options *Options) (*Store, error) {
	if drv == nil {
		return nil, &InvalidError{"driver", "is nil"}
	}
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	st := &Store{drv: drv, info: describe(drv), opts: opts, stopped: make(chan struct{})}
	st.log = opts.Logger.With("store", st.info.Name)
	st.quota.init(st)
	st.usage.init(st)
	st.sweeper.init()
	ctx, stop := context.WithCancel(context.Background())
	st.stop = stop
	if opts.SweepInterval < 0 {
		close(st.stopped)
	} else {
		go st.runSweeper(ctx)
	}
	return st, nil
}

// describe fills what a driver leaves open with what holds for all drivers.
func describe(drv driver.Store) driver.Info {
	info := driver.Describe(drv)
	if info.Name == "" {
		info.Name = driver.DefaultInfo.Name
	}
	limits, defaults := &info.Limits, driver.DefaultInfo.Limits
	for _, l := range []struct {
		value    *int
		fallback int
	}{
		{&limits.Head, defaults.Head},
		{&limits.Record, defaults.Record},
		{&limits.Item, defaults.Item},
		{&limits.Batch, defaults.Batch},
		{&limits.BatchItems, defaults.BatchItems},
	} {
		if *l.value <= 0 {
			*l.value = l.fallback
		}
	}
	return info
}

// Driver describes the storage driver.
func (st *Store) Driver() driver.Info { return st.info }

// Ping returns nil if the backend can serve reads and writes now.
func (st *Store) Ping(ctx context.Context) error {
	return st.do(ctx, OpPing, "", func(ctx context.Context) error { return st.drv.Ping(ctx) })
}

// Close ends the sweeper and closes the driver. Every later operation returns
// ErrClosed, except Close, which returns what the first one did.
func (st *Store) Close() error {
	st.closing.Do(func() {
		st.closed.Store(true)
		st.stop()
		<-st.stopped
		if err := st.drv.Close(); err != nil {
			st.closeErr = &Error{Op: "close", Driver: st.info.Name, Err: err}
		}
	})
	return st.closeErr
}

// do is the path of every operation on one session, or on none if id is empty
// and op is not about a session: it checks, bounds, wraps and reports.
func (st *Store) do(ctx context.Context, op Operation, id string, f func(context.Context) error) error {
	var start time.Time
	if st.opts.Observer.Operation != nil {
		start = time.Now()
	}
	err := st.admit(op, id)
	switch {
	case err != nil:
	case op.long():
		err = f(ctx)
	default:
		ctx, timer := bound(ctx, st.opts.OperationTimeout)
		err = f(ctx)
		timer.stop()
	}
	if err != nil {
		err = st.wrap(op, id, err)
	}
	if st.opts.Observer.Operation != nil {
		st.opts.Observer.Operation(op, resultOf(err), time.Since(start))
	}
	return err
}

func (st *Store) wrap(op Operation, id string, err error) error {
	return &Error{Op: op.String(), ID: id, Driver: st.info.Name, Err: err}
}

func (st *Store) admit(op Operation, id string) error {
	if st.closed.Load() {
		return ErrClosed
	}
	if op.global() || id == "" && op.ofCalls() {
		return nil
	}
	return checkID(id)
}

// global operations are about no single session.
func (op Operation) global() bool {
	switch op {
	case OpList, OpCount, OpStats, OpSweep, OpPing:
		return true
	}
	return false
}

// ofCalls operations are about the id of a call, in a session or without one.
func (op Operation) ofCalls() bool { return op == OpCallFind || op == OpCallKeep || op == OpCallClose }

// long operations make many calls of the driver, each with a bound of its own.
func (op Operation) long() bool {
	switch op {
	case OpCount, OpStats, OpSweep, OpProgramPut, OpProgramStage:
		return true
	}
	return false
}

// load returns the view of the stored session, expired or not.
func (st *Store) load(ctx context.Context, id string, read driver.Read) (*Session, error) {
	rec, err := st.drv.Get(ctx, id, read)
	if err != nil {
		if rec, err = st.loadAgain(ctx, id, read, err); err != nil {
			return nil, err
		}
	}
	return viewOf(rec)
}

// loadAgain repeats a read that failed because the backend was not available.
func (st *Store) loadAgain(ctx context.Context, id string, read driver.Read, err error) (*driver.Record, error) {
	for again := outages; errors.Is(err, ErrUnavailable) && again.wait(ctx); {
		var rec *driver.Record
		if rec, err = st.drv.Get(ctx, id, read); err == nil {
			return rec, nil
		}
	}
	return nil, corruptRecord(id, "record", err)
}

// corruptRecord gives a driver's own finding the type that names the session.
func corruptRecord(id, part string, err error) error {
	if errors.Is(err, ErrCorrupt) {
		return &CorruptError{ID: id, Part: part, Reason: err.Error()}
	}
	return err
}

// newest is load with all acknowledged writes, wherever they were made, if the
// driver can tell.
func (st *Store) newest(ctx context.Context, id string) (*Session, error) {
	s, err := st.load(ctx, id, driver.Read{Level: driver.Strong})
	if errors.Is(err, ErrUnsupported) {
		s, err = st.load(ctx, id, driver.Read{})
	}
	return s, err
}

// apply makes a write, and repeats it while the backend says that it is not
// available and nothing was written.
func (st *Store) apply(ctx context.Context, id string, batch *driver.Batch) (driver.Revision, error) {
	for again := outages; ; {
		rev, err := st.drv.Apply(ctx, id, batch)
		if err == nil || !errors.Is(err, ErrUnavailable) || !again.wait(ctx) {
			return rev, err
		}
	}
}

// fits checks an encoded draft against the limits, so that the error can say
// which.
func (st *Store) fits(d *Draft) error {
	written := len(d.batch.Head) + len(d.batch.Body)
	for _, item := range d.batch.Put {
		written += len(item.Data)
	}
	size := len(d.batch.Head) + len(d.batch.Body)
	if d.batch.Body == nil {
		size += len(d.base.rec.Body)
	}
	limits := st.info.Limits
	before := &d.before // a limit that was lowered holds for what grows
	switch bounds := &st.opts; {
	case d.head.varsBytes > int64(bounds.MaxVars) && d.head.varsBytes > before.VarsBytes:
		return tooLarge("variables of the session", d.head.varsBytes, int64(bounds.MaxVars))
	case d.head.programs > int64(bounds.MaxPrograms) && int(d.head.programs) > before.Programs:
		return &LimitError{What: "programs of the session", Use: d.head.programs, Limit: int64(bounds.MaxPrograms), number: true}
	case d.head.programBytes > bounds.MaxProgramBytes && d.head.programBytes > before.ProgramBytes:
		return tooLarge("programs of the session", d.head.programBytes, bounds.MaxProgramBytes)
	case len(d.batch.Head) > limits.Head:
		return tooLarge("head of the session", int64(len(d.batch.Head)), int64(limits.Head))
	case size > limits.Record:
		return tooLarge(fmt.Sprintf("session on store %q", st.info.Name), int64(size), int64(limits.Record))
	case written > limits.Batch:
		return tooLarge(fmt.Sprintf("write to store %q", st.info.Name), int64(written), int64(limits.Batch))
	}
	return nil
}

// firstItems returns as many items as one batch may drop beside those that it
// names otherwise; the sweeper removes the others.
func (st *Store) firstItems(keys []string, others int) []string {
	return keys[:min(len(keys), st.info.Limits.BatchItems-others)]
}
