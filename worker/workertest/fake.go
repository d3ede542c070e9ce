package workertest

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// Fake is a transport whose workers live in this process. The zero value
// starts workers that take one call at a time and offer StandardTools.
type Fake struct {
	// Capacity of each worker; 1 if zero.
	Capacity int
	// Tools that the workers offer; StandardTools if nil. With ToolsFor, each
	// worker may offer others.
	Tools    []Tool
	ToolsFor func(worker.Spec) []Tool
	// OnStart is called for each start, if not nil. It may wait, and an error
	// makes the start fail.
	OnStart func(context.Context, worker.Spec) error
	// OnPing answers pings, if not nil.
	OnPing func(context.Context, worker.Spec) error
	// OnSuspended says whether a worker stands still; none does if it is nil.
	OnSuspended func(worker.Spec) bool
	// OnForget is told of forgotten sessions, if not nil.
	OnForget func(spec worker.Spec, sessions []string)
	// Undying workers stay after Kill until they are told to Crash.
	Undying bool

	mu      sync.Mutex
	pids    int
	workers map[string]*Worker
}

// Tool is a tool of a Fake: its declaration, and what it does.
type Tool struct {
	worker.Tool
	// Run returns the tool's result. It runs in a goroutine of its own, and
	// returns soon after Invocation.Gone is closed.
	Run func(*Invocation) (any, error)
}

// window is how far a streaming tool may be ahead of its consumer.
const window = 16

// Start starts a worker.
func (f *Fake) Start(ctx context.Context, spec worker.Spec) (worker.Conn, error) {
	if f.OnStart != nil {
		if err := f.OnStart(ctx, spec); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	offered := f.Tools
	if f.ToolsFor != nil {
		offered = f.ToolsFor(spec)
	} else if offered == nil {
		offered = StandardTools()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pids++
	w := &Worker{
		fake: f, spec: spec,
		info: worker.Info{
			PID: f.pids, Runtime: "fake", SDK: "workertest", Protocol: 1, Capacity: max(f.Capacity, 1),
		},
		tools:    make(map[string]Tool),
		done:     make(chan struct{}),
		calls:    make(map[*call]struct{}),
		sessions: make(map[string]*held),
	}
	for _, t := range offered {
		w.info.Tools = append(w.info.Tools, t.Tool)
		w.tools[t.Name] = t
	}
	w.gone, w.end = context.WithCancelCause(context.Background())
	if f.workers == nil {
		f.workers = make(map[string]*Worker)
	}
	f.workers[spec.ID] = w
	return w, nil
}

// Worker returns the newest worker started at a place, or nil.
func (f *Fake) Worker(id string) *Worker {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.workers[id]
}

// Worker is a running worker of a Fake: a worker.Conn that can be told to
// crash.
type Worker struct {
	fake  *Fake
	spec  worker.Spec
	info  worker.Info
	tools map[string]Tool
	done  chan struct{}
	gone  context.Context
	end   context.CancelCauseFunc

	mu       sync.Mutex // guards all below
	exit     worker.Exit
	ended    bool
	stopping bool
	idle     chan struct{} // closed when stopping and no call runs
	calls    map[*call]struct{}
	sessions map[string]*held
}

// call is a call as the worker has it.
type call struct {
	answer   chan answer // has room for the one answer
	chunks   chan worker.Chunk
	answered chan struct{} // closed with the answer, or the worker's end
	cancel   context.CancelCauseFunc
}

type answer struct {
	result *worker.Result
	err    error
}

var errKilled = errors.New("worker ended")

// Info describes the worker.
func (w *Worker) Info() worker.Info { return w.info }

// Spec is what the pool asked for.
func (w *Worker) Spec() worker.Spec { return w.spec }

// Done is closed when the worker has ended.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Exit says how it ended.
func (w *Worker) Exit() worker.Exit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exit
}

// Crash ends the worker as if it had died by itself.
func (w *Worker) Crash() { w.finish(1, "", "exit status 1") }

// Kill ends the worker.
func (w *Worker) Kill() {
	if !w.fake.Undying {
		w.finish(137, "SIGKILL", "killed by signal 9 (SIGKILL)")
	}
}

func (w *Worker) finish(code int, signal, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.ended = true
	w.exit = worker.Exit{Code: code, Signal: signal, Reason: reason, Expected: w.stopping, Time: time.Now()}
	close(w.done)
	for c := range w.calls {
		w.settle(c, answer{err: w.crash(true)})
	}
	w.end(errKilled)
}

func (w *Worker) crash(maybe bool) error {
	return &worker.CrashError{Worker: w.spec.ID, MaybeExecuted: maybe, Exit: w.exit}
}

// settle gives a call its answer; w.mu is held. A second answer is lost.
func (w *Worker) settle(c *call, a answer) {
	if _, running := w.calls[c]; !running {
		return
	}
	delete(w.calls, c)
	c.answer <- a
	close(c.answered)
	if len(w.calls) == 0 && w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
}

// Stop lets calls finish and ends the worker, at the latest when ctx ends.
func (w *Worker) Stop(ctx context.Context) error {
	w.mu.Lock()
	w.stopping = true
	var idle chan struct{}
	if len(w.calls) > 0 && !w.ended {
		if w.idle == nil {
			w.idle = make(chan struct{})
		}
		idle = w.idle
	}
	w.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-w.done:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		w.Kill()
	} else if !w.fake.Undying {
		w.finish(0, "", "exit status 0")
	}
	<-w.done
	return nil
}

// Ping answers at once, or as Fake.OnPing does.
func (w *Worker) Ping(ctx context.Context) error {
	if w.gone.Err() != nil {
		return errKilled
	}
	if w.fake.OnPing == nil {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(w.gone, func() { cancel(errKilled) })()
	return w.fake.OnPing(ctx, w.spec)
}

// Suspended is what Fake.OnSuspended says.
func (w *Worker) Suspended() bool {
	return w.fake.OnSuspended != nil && w.fake.OnSuspended(w.spec)
}

// Forget drops sessions.
func (w *Worker) Forget(sessions ...string) {
	w.mu.Lock()
	for _, id := range sessions {
		delete(w.sessions, id)
	}
	w.mu.Unlock()
	if w.fake.OnForget != nil {
		w.fake.OnForget(w.spec, sessions)
	}
}

// Call runs a tool of the Fake.
func (w *Worker) Call(ctx context.Context, wc *worker.Call) (*worker.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	tool, ok := w.tools[wc.Tool]
	if !ok {
		return nil, worker.ErrToolNotFound
	}
	if tool.Streams && wc.OnChunk == nil {
		return nil, &worker.ToolError{
			Kind: worker.InvalidArguments, Type: "TypeError", Message: "tool " + tool.Name + " streams: call it as a stream",
		}
	}
	// The host's tools find the caller's values in it.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	unwatch := context.AfterFunc(w.gone, func() { cancel(errKilled) })
	end := func(cause error) {
		unwatch()
		cancel(cause)
	}
	c := &call{
		answer: make(chan answer, 1), chunks: make(chan worker.Chunk, window),
		answered: make(chan struct{}), cancel: cancel,
	}
	w.mu.Lock()
	if w.ended {
		defer w.mu.Unlock()
		end(errKilled)
		return nil, w.crash(false)
	}
	state, err := w.adopt(wc.Session)
	if err != nil {
		w.mu.Unlock()
		end(err)
		return nil, err
	}
	w.calls[c] = struct{}{}
	w.mu.Unlock()

	inv := &Invocation{worker: w, call: wc, running: c, state: state, ctx: inner}
	if wc.Host != nil {
		inv.gate = &gate{host: wc.Host}
	}
	go func() {
		result, err := inv.run(tool)
		end(worker.ErrCanceled)
		close(c.chunks)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && !w.ended {
			w.keep(wc.Session, state, result)
		}
		w.settle(c, answer{result, err})
	}()
	return w.receive(ctx, wc, c)
}

// receive delivers the chunks of a call in the caller's goroutine, and then
// its answer.
func (w *Worker) receive(ctx context.Context, wc *worker.Call, c *call) (*worker.Result, error) {
	giveUp := func(err error) error {
		c.cancel(worker.ErrCanceled)
		return &worker.UnansweredError{Err: err, Answered: c.answered}
	}
	chunks := c.chunks
	for {
		// An ended context counts before a chunk that is ready too.
		if ctx.Err() != nil {
			return nil, giveUp(context.Cause(ctx))
		}
		if chunks == nil {
			select {
			case a := <-c.answer:
				return a.result, a.err
			case <-ctx.Done():
			}
			continue
		}
		select {
		case chunk, ok := <-chunks:
			if !ok {
				chunks = nil
			} else if err := wc.OnChunk(chunk); err != nil {
				return nil, giveUp(err)
			}
		case <-w.done:
			chunks = nil
		case <-ctx.Done():
		}
	}
}

// marshal is the encoding of values on the way out of a worker.
func marshal(v any) (json.RawMessage, error) {
	if raw, ok := v.(json.RawMessage); ok {
		return raw, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, &worker.ToolError{Kind: worker.Unencodable, Type: "TypeError", Message: err.Error()}
	}
	return raw, nil
}
