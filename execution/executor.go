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
	// Hint prefers that worker and takes any other if it is busy. If the worker
	// keeps in-process objects for the session, tools that use them, or may do
	// so, wait for it.
	Hint Affinity = iota
	// StrictQueue waits for that worker.
	StrictQueue
	// StrictFailFast fails with worker.ErrWorkerBusy if that worker is busy.
	StrictFailFast
)

// commitTimeout bounds a commit. It replaces the caller's deadline, because a
// commit given up half-way would leave an outcome nobody knows.
const commitTimeout = 10 * time.Second

// How often a call is run again: an idempotent one after a crash, and one that
// asks for it after a conflict.
const (
	maxCrashRetries    = 2
	maxConflictRetries = 5
)

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
	named    *namedCalls
	bindings *bindings
	localUse localUse
}

// Request is one call.
type Request struct {
	Pool *worker.Pool
	// Session is the session's id; empty for a call without one.
	Session string
	// Call is what to run. Its Session and Host are set by the executor.
	Call worker.Call
	// CallID makes the effect on the session happen once: when a call of this
	// id has been committed, a repetition gets its answer.
	CallID   string
	Affinity Affinity
	// MustExist makes a missing session an error; otherwise it is created.
	MustExist bool
	// OnConflict says what becomes of the call if others have changed what it
	// has read or written; empty is what the tool says.
	OnConflict worker.OnConflict
}

// Result is the answer of a call.
type Result struct {
	*worker.Result
	// Session is the session as the call left it; nil without one.
	Session *session.Session
	// Overwritten are the variables that the call set or unset although another
	// write had changed them since the call got them.
	Overwritten []string
	// Repeated says that a call of this id was committed before, and that this
	// is its answer; the session is as it is now.
	Repeated bool
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
		named:     newNamedCalls(),
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

// Forget makes the workers drop what they hold of a session that is gone.
func (x *Executor) Forget(id, incarnation string) {
	for _, pool := range x.pools {
		if old, ok := x.bindings.dropSession(bindingKey{pool.Name(), id}, incarnation); ok {
			pool.Forget(old.ref, id)
		}
	}
}

// Execute runs a call and returns when its answer is known and what it changed
// is committed.
//
// Errors: the worker package's for the pool and the tool; the session
// package's for the store; *StateNotCommittedError; ErrSessionWorkerGone; of
// calls with an id ErrCallIDReused, ErrCallClosed and *AnswerNotKeptError; the
// context's error.
func (x *Executor) Execute(ctx context.Context, req Request) (*Result, error) {
	if req.Session != "" {
		return x.executeInSession(ctx, req)
	}
	if req.CallID != "" {
		return x.executePlainNamed(ctx, req)
	}
	return x.runPlain(ctx, req)
}

func (x *Executor) executeInSession(ctx context.Context, req Request) (*Result, error) {
	adm, err := req.Pool.Admit()
	if err != nil {
		return nil, err
	}
	defer adm.Leave()
	ctx, leave, err := x.named.take(ctx, req.name(), adm.Await)
	if err != nil {
		return nil, err
	}
	defer leave()
	tool, _ := req.Pool.Tool(req.Call.Tool)
	ctx, mine, err := x.turns.take(ctx, req.Session, tool.ReadOnly, adm.Await)
	if err != nil {
		return nil, err
	}
	defer mine.end()

	c := &sessionCall{Request: req, tool: tool, admission: adm, readOnly: tool.ReadOnly, nested: mine.nested}
	c.Call.Idempotent = req.Call.Idempotent || tool.Idempotent
	if c.OnConflict == "" {
		c.OnConflict = tool.OnConflict
	}
	c.watchChunks()
	for {
		res, err := x.inSession(ctx, c)
		if err == nil || c.delivered || ctx.Err() != nil || !c.again(err) {
			return res, err
		}
	}
}

// sessionCall is a request that has its session's turn.
type sessionCall struct {
	Request
	tool      worker.Tool
	admission *worker.Admission
	readOnly  bool
	nested    bool // part of another call of the session
	// crashes and conflicts count the attempts that ended so.
	crashes, conflicts int
	// hold is that of the attempt under way.
	hold *session.Hold
	// named is what is kept of the call if it has an id.
	named *session.NamedCall
	// delivered says that the caller has got a chunk, left that it wants no
	// more.
	delivered, left bool
}

func (c *sessionCall) watchChunks() {
	deliver := c.Call.OnChunk
	if deliver == nil {
		return
	}
	c.Call.OnChunk = func(chunk worker.Chunk) error {
		c.delivered = true
		err := deliver(chunk)
		c.left = err != nil
		return err
	}
}

// guest says that the call does not take the session away from the worker it
// is bound to: neither readers, which overlap, nor nested calls do.
func (c *sessionCall) guest() bool { return c.readOnly || c.nested }

// raised reports whether err proves that the worker ran the tool, so that it
// holds the state the call came with. Other refusals may have been made before
// the worker looked at the state, or on this side; and once the caller has
// gone, err is the caller's and can be anything.
func (c *sessionCall) raised(ctx context.Context, err error) bool {
	fault, ok := errors.AsType[*worker.ToolError](err)
	return ok && !c.left && ctx.Err() == nil && (fault.Kind == worker.ToolRaised || fault.Kind == worker.Unencodable)
}

func (x *Executor) runPlain(ctx context.Context, req Request) (*Result, error) {
	call := req.Call
	host := x.newHost(ctx, nil, true)
	defer host.seal()
	call.Session, call.Host = nil, host
	res, err := req.Pool.Execute(ctx, &call)
	if err != nil {
		return nil, err
	}
	return &Result{Result: res}, nil
}

// attempt runs the call once on one worker, in a session that is held for it.
func (x *Executor) attempt(ctx context.Context, c *sessionCall, sess *session.Session) (*Result, error) {
	fence := sess.Fence() // of the claim
	if c.named = c.Request.named(); c.named != nil {
		// Looked up in the same instant as the state that the call gets.
		now, rec, err := x.sessions.FindCall(ctx, c.Session, c.CallID)
		if err != nil {
			return nil, err
		}
		if sess = now; rec != nil {
			return c.repeat(rec, sess)
		}
	}

	lease, bound, err := x.acquire(ctx, c, sess)
	if err != nil {
		return nil, err
	}
	defer lease.Release()

	host := x.newHost(ctx, sess, c.readOnly)
	committed := false
	defer func() {
		if err := host.close(committed); err != nil {
			x.logger.WarnContext(ctx, "programs staged by a call were not removed; the sweeper will",
				"session", c.Session, "tool", c.Call.Tool, "error", err)
		}
	}()

	held := binding{key: bound.key, ref: lease.Worker(), copy: copyOf(sess), local: bound.local}
	res, err := x.call(ctx, c, lease, bound, sess, host)
	if err != nil {
		if c.raised(ctx, err) {
			x.bind(held, c.guest())
		} else {
			x.forget(bound.key, lease)
		}
		return nil, err
	}
	held.local = res.Local
	x.localUse.observe(c.Pool.Name(), c.tool, res)

	after := sess
	put, drop := host.seal()
	changed := changesVars(res.Change) || len(put)+len(drop) > 0
	basis := c.basis(sess, res.Read, changed)
	switch {
	case c.readOnly && changed:
		x.forget(bound.key, lease)
		return nil, &worker.ToolError{Kind: worker.WorkerFault, Type: "ProtocolError",
			Message: "the worker changed its session in a read-only call"}
	case changed || c.named != nil:
		answer(c.named, res)
		after, err = x.commit(ctx, c, lease, res.Change, session.Commit{
			Fence: fence, Basis: basis, Hold: c.hold, Call: c.named, Programs: put, DropPrograms: drop,
		})
		if err != nil {
			x.forget(bound.key, lease)
			if c.named != nil && errors.Is(err, session.ErrAlreadyCommitted) {
				return x.committedBefore(ctx, &c.Request)
			}
			return nil, err
		}
		committed = true
		if len(basis.Overwritten) > 0 {
			x.logger.WarnContext(ctx, "a call overwrote variables that another write had changed meanwhile",
				"session", c.Session, "tool", c.Call.Tool, "variables", basis.Overwritten)
		}
	}
	if changed {
		// The version of the worker's copy. If somebody else wrote in between,
		// the commit made a higher one, and the next call sends the state anew.
		held.copy.version++
	}
	x.bind(held, c.guest())
	return &Result{Result: res, Session: after, Overwritten: basis.Overwritten}, nil
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

// acquire gets a worker for the session, as its affinity wants, and says what
// the worker holds.
func (x *Executor) acquire(ctx context.Context, c *sessionCall, sess *session.Session) (*worker.Lease, binding, error) {
	key := bindingKey{c.Pool.Name(), c.Session}
	bound := x.bindings.get(key)
	want := worker.Want{Worker: bound.ref, Mode: worker.Prefer}
	switch {
	case bound.ref == worker.Ref{}:
		// A hint from an earlier process or another node: its place, whatever
		// worker is there now.
		want.Worker = worker.Ref{ID: sess.WorkerHint()}
	case c.nested:
		// It cannot insist on the worker that runs the call it is part of.
	case c.Affinity == StrictFailFast:
		want.Mode = worker.RequireNow
	case c.Affinity == StrictQueue, bound.local && x.localUse.needed(c.Pool.Name(), c.tool):
		want.Mode = worker.Require
	}
	lease, err := c.admission.Acquire(ctx, want)
	if errors.Is(err, worker.ErrWorkerGone) {
		x.bindings.drop(key)
		if c.Affinity != Hint {
			return nil, binding{}, fmt.Errorf("session %q on worker %s: %w", c.Session, bound.ref.ID, ErrSessionWorkerGone)
		}
		lease, err = c.admission.Acquire(ctx, worker.Want{})
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
func (x *Executor) call(ctx context.Context, c *sessionCall, lease *worker.Lease, bound binding, sess *session.Session, host *callHost) (*worker.Result, error) {
	call := c.Call
	watch(&call, c.named)
	call.Host = host
	state := worker.SessionState{
		ID:          sess.ID(),
		Incarnation: sess.Incarnation(),
		Version:     sess.StateVersion(),
		ReadOnly:    c.readOnly,
		WantRead:    c.strict() && !c.readOnly,
	}
	call.Session = &state
	if bound.copy == copyOf(sess) {
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

// changesVars reports whether there is anything in a change.
func changesVars(c *worker.StateChange) bool { return c != nil && len(c.Set)+len(c.Unset) > 0 }

func (x *Executor) commit(ctx context.Context, c *sessionCall, lease *worker.Lease, change *worker.StateChange, commit session.Commit) (*session.Session, error) {
	if change != nil {
		commit.Set, commit.Unset = change.Set, change.Unset
	}
	if !c.guest() {
		commit.WorkerHint = lease.Worker().ID
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	after, err := x.sessions.Commit(ctx, c.Session, commit)
	if err != nil {
		return nil, &worker.CallError{Worker: lease.Worker().ID, Err: &StateNotCommittedError{Executed: true, Err: err}}
	}
	return after, nil
}

// bind records what a worker holds after a call it answered. What a guest left
// in another worker than the session's is dropped: nothing would ever look for
// it there. So is what a call left elsewhere whose session has objects in its
// worker: the session stays with them.
func (x *Executor) bind(held binding, guest bool) {
	if old := x.bindings.get(held.key); (guest || old.local) && old.ref != (worker.Ref{}) && old.ref != held.ref {
		x.poolForget(held)
		return
	}
	for _, old := range x.bindings.put(held) {
		x.poolForget(old)
	}
}

// forget makes sure that the worker's copy of a state is not used again: it
// was not committed, or is not certain to be there. A session that is bound to
// the worker stays so, with the objects the worker keeps for it, which are not
// part of the state.
func (x *Executor) forget(key bindingKey, lease *worker.Lease) {
	if !x.bindings.dropCopy(key, lease.Worker()) {
		lease.Forget(key.session)
	}
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
		logger:   x.logger,
		sess:     sess,
		readOnly: readOnly,
		staged:   make(map[string]*session.StagedProgram),
		dropped:  make(map[string]struct{}),
	}
}
