package worker

import "time"

// PoolStats is a moment of a pool. Counters count from its start.
type PoolStats struct {
	Name string
	// Size is the number of places; Ready of those whose worker runs, busy or
	// not; Busy of those that have at least one call.
	Size, Ready, Busy int
	// Queued is the number of callers that wait, AwaitingTurn of those that
	// wait for a turn (Admission.Await); the others wait for a worker.
	Queued, AwaitingTurn int
	// Calls counts calls given to a worker, Restarts the times a worker was
	// to be started again.
	Calls, Restarts uint64
	// Saturated counts callers refused because the queue was full,
	// QueueTimeouts those that waited too long.
	Saturated, QueueTimeouts uint64
}

// WorkerStats is a moment of one worker.
type WorkerStats struct {
	ID         string
	Generation uint64
	PID        int
	State      State
	// Calls counts the calls given to it since it started, InFlight the slots
	// taken now.
	Calls    uint64
	InFlight int
	Runtime  string
	Started  time.Time
	// LastExit says how the last worker at this place ended, or why it could
	// not be started; "" if none has.
	LastExit string
}

// Stats returns the pool's numbers, all of one moment.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PoolStats{
		Name: p.opts.Name, Size: len(p.places), Queued: p.turns + p.queue.len, AwaitingTurn: p.turns,
		Calls: p.calls.Load(), Restarts: p.restarts,
		Saturated: p.saturated, QueueTimeouts: p.queueTimeouts,
	}
	for _, pl := range p.places {
		if pl.state.TakesCalls() {
			s.Ready++
		}
		if pl.worker != nil && pl.worker.load > 0 {
			s.Busy++
		}
	}
	return s
}

// Workers describes the worker at each place, in the order of their numbers.
func (p *Pool) Workers() []WorkerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]WorkerStats, 0, len(p.places))
	for _, pl := range p.places {
		s := WorkerStats{ID: pl.id, Generation: pl.generation, State: pl.state, LastExit: pl.lastExit}
		if w := pl.worker; w != nil {
			s.PID, s.Runtime, s.Started = w.info.PID, w.info.Runtime, w.started
			s.Calls, s.InFlight = w.calls.Load(), w.load
		}
		all = append(all, s)
	}
	return all
}
