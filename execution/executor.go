package execution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// Affinity says how much a session clings to the worker that holds its state.
type Affinity uint8

const (
	// Hint prefers that worker and takes any other if it is busy. A session
	// whose worker keeps in-process objects for it waits for that worker.
	Hint Affinity = iota
	// StrictQueue waits for that worker.
	StrictQueue
	// StrictFailFast fails with worker.ErrWorkerBusy if that worker is busy.
	StrictFailFast
)

// commitTimeout bounds a commit. It replaces the caller's deadline, because a
// commit given up half-way would leave an outcome nobody knows.
const commitTimeout = 10 * time.Second

// maxRetries bounds how often an idempotent call is run again after a crash.
const maxRetries = 2

// Options of an Executor. Sessions, Directory and Pools are required.
type Options struct {
	Sessions  *session.Store
	Directory Directory
	Pools     []*worker.Pool
	HostTools map[string]HostTool
	// MaxBindings bounds the sessions whose worker is remembered; default
	// 100,000.
	MaxBindings int
	Logger      *slog.Logger
}

// Executor runs calls. It starts no goroutine.
type Executor struct {
	sessions  *session.Store
	directory Directory
	pools     []*worker.Pool
	hostTools map[string]HostTool
	logger    *slog.Logger

	turns    *turns
	bindings *bindings
}

// Request is one call.
type Request struct {
	Pool *worker.Pool
	// Session is the session's id; empty for a call without one.
	Session string
	// Call is what to run. Its Session and Host are set by the executor.
	Call worker.Call
	// CallID makes the call idempotent: once a call of this id has committed,
	// a repetition ends with session.ErrAlreadyCommitted.
	CallID   string
	Affinity Affinity
	// MustExist makes a missing session an error; otherwise it is created.
	MustExist bool
}

// Result is the answer of a call.
type Result struct {
	*worker.Result
	// Session is the session as the call left it; nil without one.
	Session *session.Session
}

// New returns an executor over started or unstarted pools.
func New(opts Options) *Executor {
	if opts.MaxBindings <= 0 {
		opts.MaxBindings = 100_000
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	x := &Executor{
		sessions:  opts.Sessions,
		directory: opts.Directory,
		pools:     opts.Pools,
		hostTools: opts.HostTools,
		logger:    opts.Logger,
		turns:     newTurns(),
		bindings:  newBindings(opts.MaxBindings),
	}
	for _, pool := range x.pools {
		name := pool.Name()
		pool.OnExit(func(ref worker.Ref) { x.bindings.dropWorker(name, ref) })
	}
	return x
}

// Bound returns the number of sessions bound to a worker.
func (x *Executor) Bound(pool string, ref worker.Ref) int {
	return x.bindings.count(pool, ref)
}

// Forget makes every worker drop what it holds of a session that is gone.
func (x *Executor) Forget(id string) {
	for _, pool := range x.pools {
		if old, ok := x.bindings.drop(bindingKey{pool.Name(), id}); ok {
			pool.Forget(old.ref, id)
		}
	}
}

// Execute runs a call and returns when its answer is known and what it changed
// is committed.
//
// Errors: the worker package's for the pool and the tool; the session
// package's for the store, among them session.ErrAlreadyCommitted;
// *StateNotCommittedError; ErrSessionWorkerGone; the context's error.
func (x *Executor) Execute(ctx context.Context, req Request) (*Result, error) {
	if req.Session == "" {
		return x.executePlain(ctx, req)
	}
	tool, _ := req.Pool.Tool(req.Call.Tool)
	endTurn, err := x.turns.take(ctx, req.Session, tool.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("wait for the turn of session %q: %w", req.Session, err)
	}
	defer endTurn()

	chunks := 0
	if deliver := req.Call.OnChunk; deliver != nil {
		req.Call.OnChunk = func(c worker.Chunk) error { chunks++; return deliver(c) }
	}
	for attempt := 0; ; attempt++ {
		res, err := x.attempt(ctx, &req, tool.ReadOnly)
		crash, crashed := errors.AsType[*worker.CrashError](err)
		if !crashed || attempt == maxRetries || chunks > 0 || ctx.Err() != nil {
			return res, err
		}
		if crash.MaybeExecuted && !req.Call.Idempotent && !tool.Idempotent {
			return res, err
		}
	}
}

func (x *Executor) executePlain(ctx context.Context, req Request) (*Result, error) {
	if req.CallID != "" {
		return nil, fmt.Errorf("%w: a call id needs a session, where its commit is remembered", session.ErrInvalid)
	}
	call := req.Call
	call.Session, call.Host = nil, x.newHost(ctx, nil, true)
	res, err := req.Pool.Execute(ctx, &call)
	if err != nil {
		return nil, err
	}
	return &Result{Result: res}, nil
}

// attempt runs the call once on one worker.
func (x *Executor) attempt(ctx context.Context, req *Request, readOnly bool) (*Result, error) {
	sess, err := x.open(ctx, req)
	if err != nil {
		return nil, err
	}
	var op session.OpID
	if req.CallID != "" {
		if op = session.OperationFor(req.CallID); sess.HasOperation(op) {
			return nil, fmt.Errorf("call %q in session %q: %w", req.CallID, req.Session, session.ErrAlreadyCommitted)
		}
	}

	key := bindingKey{req.Pool.Name(), req.Session}
	lease, bound, err := x.acquire(ctx, req, key, sess)
	if err != nil {
		return nil, err
	}
	defer lease.Release()

	// Neither readers, which overlap, nor nested calls take the session away
	// from the worker it is bound to.
	guest := readOnly || carries(ctx, req.Session)
	ctx = withTurn(ctx, req.Session)
	host := x.newHost(ctx, sess, readOnly)
	committed := false
	defer func() {
		if err := host.close(committed); err != nil {
			x.logger.WarnContext(ctx, "programs staged by a call were not removed; the sweeper will",
				"session", req.Session, "tool", req.Call.Tool, "error", err)
		}
	}()

	held := binding{
		key:         key,
		ref:         lease.Worker(),
		incarnation: sess.Incarnation(),
		version:     sess.StateVersion(),
		local:       bound.local,
	}
	res, err := x.call(ctx, req, lease, bound, sess, host, readOnly)
	if err != nil {
		if _, answered := errors.AsType[*worker.ToolError](err); answered {
			x.bind(held, guest)
		} else {
			x.forget(key, lease)
		}
		return nil, err
	}
	held.local = res.Local

	after := sess
	put, drop := host.changes()
	changed := res.Change != nil || len(put)+len(drop) > 0
	if !readOnly && (changed || req.CallID != "") {
		if after, err = x.commit(ctx, req, lease, res.Change, session.Commit{
			Fence: sess.Fence(), Op: op, Programs: put, DropPrograms: drop,
		}); err != nil {
			x.forget(key, lease)
			return nil, err
		}
		committed = true
	}
	if changed {
		// The version of the worker's copy. If somebody else wrote in between,
		// the commit made a higher one, and the next call sends the state anew.
		held.version++
	}
	x.bind(held, guest)
	return &Result{Result: res, Session: after}, nil
}

// open returns the session of a call, owned by this process.
func (x *Executor) open(ctx context.Context, req *Request) (*session.Session, error) {
	sess, err := x.sessions.Get(ctx, req.Session)
	if errors.Is(err, session.ErrNotFound) && !req.MustExist {
		self := x.directory.Self()
		sess, _, err = x.sessions.Create(ctx, req.Session, &session.CreateOptions{Owner: &self})
	}
	if err != nil {
		return nil, err
	}
	return x.directory.Claim(ctx, sess)
}

// acquire gets a worker for the session, as its affinity wants.
func (x *Executor) acquire(ctx context.Context, req *Request, key bindingKey, sess *session.Session) (*worker.Lease, binding, error) {
	bound := x.bindings.get(key)
	want := worker.Want{Worker: bound.ref, Mode: worker.Prefer}
	switch {
	case bound.ref == worker.Ref{}:
		// A hint from an earlier process or another node: its place, whatever
		// worker is there now.
		want.Worker = worker.Ref{ID: sess.WorkerHint()}
	case req.Affinity == StrictFailFast:
		want.Mode = worker.RequireNow
	case req.Affinity == StrictQueue, bound.local && !carries(ctx, req.Session):
		// A nested call cannot wait for the worker that runs its parent.
		want.Mode = worker.Require
	}
	lease, err := req.Pool.Acquire(ctx, want)
	if errors.Is(err, worker.ErrWorkerGone) {
		x.bindings.drop(key)
		if req.Affinity != Hint {
			return nil, binding{}, fmt.Errorf("session %q on worker %s: %w", req.Session, bound.ref.ID, ErrSessionWorkerGone)
		}
		lease, err = req.Pool.Acquire(ctx, worker.Want{})
	}
	if err != nil {
		return nil, binding{}, err
	}
	if lease.Worker() != bound.ref {
		bound = binding{key: key}
	}
	return lease, bound, nil
}

// call runs the tool, sending the state only if the worker does not hold it.
func (x *Executor) call(ctx context.Context, req *Request, lease *worker.Lease, bound binding, sess *session.Session, host *callHost, readOnly bool) (*worker.Result, error) {
	call := req.Call
	call.Host = host
	state := worker.SessionState{
		ID:          sess.ID(),
		Incarnation: sess.Incarnation(),
		Version:     sess.StateVersion(),
		ReadOnly:    readOnly,
	}
	call.Session = &state
	if bound.incarnation == state.Incarnation && bound.version == state.Version {
		res, err := lease.Call(ctx, &call)
		if !errors.Is(err, worker.ErrStateMissing) {
			return res, err
		}
	}
	state.Vars = sess.Vars()
	state.Labels = sess.Labels()
	state.Metadata = sess.Metadata()
	for _, p := range sess.Programs() {
		state.Programs = append(state.Programs, worker.Program{
			Name: p.Name, Size: p.Size, SHA256: p.SHA256, ContentType: p.ContentType,
		})
	}
	return lease.Call(ctx, &call)
}

func (x *Executor) commit(ctx context.Context, req *Request, lease *worker.Lease, change *worker.StateChange, c session.Commit) (*session.Session, error) {
	if change != nil {
		c.Set, c.Unset = change.Set, change.Unset
	}
	c.WorkerHint = lease.Worker().ID
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	after, err := x.sessions.Commit(ctx, req.Session, c)
	if err != nil {
		return nil, &StateNotCommittedError{Executed: true, Err: err}
	}
	return after, nil
}

// bind records what a worker holds after a call it answered.
func (x *Executor) bind(held binding, guest bool) {
	if old := x.bindings.get(held.key); guest && old.ref != (worker.Ref{}) && old.ref != held.ref {
		if !held.local {
			x.poolForget(held)
		}
		return
	}
	for _, old := range x.bindings.put(held) {
		x.poolForget(old)
	}
}

// forget drops the worker's copy of a state that was not committed. Objects
// the worker keeps for the session stay: they are not part of the state.
func (x *Executor) forget(key bindingKey, lease *worker.Lease) {
	bound := x.bindings.get(key)
	if bound.ref != lease.Worker() {
		return
	}
	if bound.local {
		bound.version = 0
		x.bindings.put(bound)
		return
	}
	x.bindings.drop(key)
}

func (x *Executor) poolForget(old binding) {
	for _, pool := range x.pools {
		if pool.Name() == old.key.pool {
			pool.Forget(old.ref, old.key.session)
		}
	}
}

func (x *Executor) newHost(call context.Context, sess *session.Session, readOnly bool) *callHost {
	return &callHost{
		call:     call,
		sessions: x.sessions,
		tools:    x.hostTools,
		sess:     sess,
		readOnly: readOnly,
		staged:   make(map[string]*session.StagedProgram),
		dropped:  make(map[string]struct{}),
	}
}
