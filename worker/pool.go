package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// Pool keeps a number of workers running and gives each call a free one.
//
// One goroutine for each worker supervises it (supervise.go). Callers meet in
// one short critical section; a slot that becomes free goes straight to the
// first caller that waits for it, so nobody can overtake the queue.
type Pool struct {
	opts   PoolOptions
	places []*place
	byID   map[string]*place
	onExit []func(Ref)
	tools  atomic.Pointer[toolSet]
	calls  atomic.Uint64

	// ready is closed when a worker has become ready for the first time.
	ready     chan struct{}
	readyOnce sync.Once
	// attempts receives how the first start at each place went.
	attempts chan error
	// ended is closed when the pool is closed and its goroutines have ended.
	ended chan struct{}

	mu         sync.Mutex // guards all below, and the places
	phase      phase
	goroutines int
	cancel     context.CancelFunc // ends the run of all places
	graceful   context.Context    // how long workers may take to stop
	abort      context.CancelFunc // ends graceful
	free       []*list[*instance] // workers with a free slot, by load
	queue      queue
	turns      int // callers in the queue that wait for a turn, or had to
	// admitted counts the callers let in: queued, holding a slot, or between
	// two attempts of Execute. drained is closed when there are none.
	admitted int
	drained  chan struct{}

	restarts, saturated, queueTimeouts uint64
}

// phase is the life of the pool itself.
type phase uint8

const (
	phaseNew phase = iota
	phaseRunning
	phaseDraining
	phaseClosed
)

// toolSet is what the workers of the pool offer.
type toolSet struct {
	list   []Tool
	byName map[string]Tool
}

// NewPool returns a pool that is not started yet.
func NewPool(opts PoolOptions) (*Pool, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool{
		opts:     opts,
		byID:     make(map[string]*place, opts.Size),
		ready:    make(chan struct{}),
		attempts: make(chan error, opts.Size),
		ended:    make(chan struct{}),
	}
	for n := range opts.Size {
		pl := &place{pool: p, id: fmt.Sprintf("%s-%d", opts.Name, n+1), state: StateStopped, tried: make(chan struct{}), wake: make(chan struct{}, 1)}
		p.places = append(p.places, pl)
		p.byID[pl.id] = pl
	}
	return p, nil
}

// Grace is how long cancelled calls and then workers may take to end before
// they are killed: CancelGrace and StopGrace.
func (p *Pool) Grace() time.Duration { return p.opts.CancelGrace + p.opts.StopGrace }

// Name is the name of the pool.
func (p *Pool) Name() string { return p.opts.Name }

// OnExit has f called after a worker has ended and before its replacement
// starts. It is to be set before Start.
func (p *Pool) OnExit(f func(Ref)) { p.onExit = append(p.onExit, f) }

// Start starts all workers in parallel and returns when the first is ready;
// the others follow. If not one of them can be started, it stops the pool
// again and returns the first *StartError: a tool file that does not load will
// not load the next time either. When ctx ends first, the pool is stopped and
// the cause returned.
func (p *Pool) Start(ctx context.Context) error {
	p.mu.Lock()
	if p.phase != phaseNew {
		defer p.mu.Unlock()
		return p.errorf("started a second time: %w", cmp.Or(p.refusal(), errors.New("it is running")))
	}
	p.phase = phaseRunning
	// The workers outlive the call of Start, but keep its values.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	for _, pl := range p.places {
		p.goroutines++
		go func() {
			defer p.exited()
			pl.run(run)
		}()
	}
	p.mu.Unlock()

	var failed error
	for range p.places {
		select {
		case <-p.ready:
			return nil
		case <-ctx.Done():
			failed = context.Cause(ctx)
		case err := <-p.attempts:
			if err == nil {
				return nil
			}
			failed = cmp.Or(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if p.started() { // at the last moment, or at a second attempt
		return nil
	}
	p.close(ctx)
	p.abort() // nothing runs that deserves grace
	if !p.reaped() {
		failed = errors.Join(failed, p.errorf("workers are not gone %v after they were killed", reapTime))
	}
	return failed
}

// started reports whether a worker has been ready.
func (p *Pool) started() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// Drain refuses new callers with ErrDraining and waits until those that are
// queued or running have been served. When ctx ends first, the pool goes on
// draining. Stop may follow at any time.
func (p *Pool) Drain(ctx context.Context) error {
	p.mu.Lock()
	if p.phase < phaseDraining {
		p.phase = phaseDraining
	}
	if p.admitted == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.drained == nil {
		p.drained = make(chan struct{})
	}
	drained := p.drained
	p.mu.Unlock()

	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		running := 0
		for _, pl := range p.places {
			if pl.worker != nil {
				running += pl.worker.load
			}
		}
		return p.errorf("drain: %d calls run and %d wait: %w", running, p.turns+p.queue.len, context.Cause(ctx))
	}
}

// reapTime is how long Stop waits for workers that were killed to be gone.
const reapTime = 5 * time.Second

// Stop fails those who wait with ErrClosed, lets every worker finish its calls
// and end, and kills what is left after StopGrace, or when ctx ends. It
// returns when all workers and goroutines are gone: nil, also if some workers
// had to be killed after StopGrace, or the cause if ctx ended first. A second
// Stop waits for the same end, and may cut it short.
func (p *Pool) Stop(ctx context.Context) error {
	p.close(ctx)
	select {
	case <-p.ended:
		return nil
	default:
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
	}
	p.abort()
	if !p.reaped() {
		return p.errorf("stop: workers are not gone %v after they were killed: %w", reapTime, context.Cause(ctx))
	}
	return p.errorf("stop: workers were killed: %w", context.Cause(ctx))
}

// close makes the pool end, in its own time.
func (p *Pool) close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase == phaseClosed {
		return
	}
	p.phase = phaseClosed
	p.graceful, p.abort = context.WithTimeout(context.WithoutCancel(ctx), p.opts.StopGrace)
	closed := p.errorf("%w", ErrClosed)
	p.queue.fail(&p.queue.any, closed)
	for _, pl := range p.places {
		if pl.worker != nil {
			p.queue.fail(&pl.worker.pinned, closed)
		}
	}
	if p.cancel != nil {
		p.cancel()
	}
	p.endIfDone()
}

// reaped waits for the pool to have ended, after everything was killed.
func (p *Pool) reaped() bool {
	limit := time.NewTimer(reapTime)
	defer limit.Stop()
	select {
	case <-p.ended:
		return true
	case <-limit.C:
		return false
	}
}

// spawn runs f in a goroutine that Stop waits for. It reports false if the
// pool has ended already: then no worker is left that f could wait for.
func (p *Pool) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase == phaseClosed && p.goroutines == 0 {
		return false
	}
	p.goroutines++
	go func() {
		defer p.exited()
		f()
	}()
	return true
}

func (p *Pool) exited() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.goroutines--
	p.endIfDone()
}

// endIfDone is called with p.mu held whenever what it tests has changed.
func (p *Pool) endIfDone() {
	if p.phase == phaseClosed && p.goroutines == 0 {
		p.abort()
		close(p.ended)
	}
}

// leave counts one admitted caller less; p.mu is held.
func (p *Pool) leave() {
	p.admitted--
	if p.admitted == 0 && p.drained != nil {
		close(p.drained)
		p.drained = nil
	}
}

// refusal is why new callers are not let in; p.mu is held.
func (p *Pool) refusal() error {
	switch p.phase {
	case phaseNew:
		return p.errorf("not started: %w", ErrNoWorkers)
	case phaseDraining:
		return p.errorf("%w", ErrDraining)
	case phaseClosed:
		return p.errorf("%w", ErrClosed)
	}
	return nil
}

func (p *Pool) errorf(format string, args ...any) error {
	return fmt.Errorf("pool "+p.opts.Name+": "+format, args...)
}

// offer makes the tools of a new worker those of the pool.
func (p *Pool) offer(w *instance) {
	next := &toolSet{list: w.info.Tools, byName: make(map[string]Tool, len(w.info.Tools))}
	for _, t := range next.list {
		next.byName[t.Name] = t
	}
	last := p.tools.Swap(next)
	if last != nil && !reflect.DeepEqual(last.byName, next.byName) {
		p.opts.Logger.Warn("worker offers other tools than the one before; its tools count from now on",
			"pool", p.opts.Name, "worker", w.ref.ID, "tools", len(next.list), "before", len(last.list))
	}
}

// Tools returns what the workers offer, as the newest of them declared it;
// nil before the first is ready. The slice is shared.
func (p *Pool) Tools() []Tool {
	if set := p.tools.Load(); set != nil {
		return set.list
	}
	return nil
}

// Tool returns the declaration of one tool.
func (p *Pool) Tool(name string) (Tool, bool) {
	set := p.tools.Load()
	if set == nil {
		return Tool{}, false
	}
	t, ok := set.byName[name]
	return t, ok
}

// Forget tells a worker to drop what it holds of these sessions. A worker that
// is gone has forgotten already.
func (p *Pool) Forget(ref Ref, sessions ...string) {
	p.mu.Lock()
	var conn Conn
	if pl := p.byID[ref.ID]; pl != nil && pl.worker != nil && pl.worker.ref == ref {
		conn = pl.worker.conn
	}
	p.mu.Unlock()
	if conn != nil {
		conn.Forget(sessions...)
	}
}
