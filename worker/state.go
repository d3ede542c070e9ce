package worker

import "slices"

// State is where a worker stands in its life.
type State string

const (
	// StateStopped: not started yet, or the pool has been stopped.
	StateStopped State = "stopped"
	// StateStarting: the transport is starting it.
	StateStarting State = "starting"
	// StateReady: it runs and has no call.
	StateReady State = "ready"
	// StateBusy: it has at least one call; with a capacity above one it may
	// take more.
	StateBusy State = "busy"
	// StateDraining: it finishes the calls it has and takes no others.
	StateDraining State = "draining"
	// StateStopping: it is being ended, or was found dead by a call.
	StateStopping State = "stopping"
	// StateBackoff: it has ended and will be started again after a pause.
	StateBackoff State = "backoff"
)

func (s State) String() string { return string(s) }

// moves is the whole life of a worker: every allowed change of state. A worker
// that ends by itself goes from any running state straight to backoff, or to
// stopped if the pool is stopping too.
var moves = map[State][]State{
	StateStopped:  {StateStarting},
	StateStarting: {StateReady, StateBackoff, StateStopped},
	StateReady:    {StateBusy, StateStopping, StateBackoff, StateStopped},
	StateBusy:     {StateReady, StateDraining, StateStopping, StateBackoff, StateStopped},
	StateDraining: {StateStopping, StateBackoff, StateStopped},
	StateStopping: {StateBackoff, StateStopped},
	StateBackoff:  {StateStarting, StateStopped},
}

// CanBecome reports whether a worker may go from state s directly to next.
func (s State) CanBecome(next State) bool { return slices.Contains(moves[s], next) }

// TakesCalls reports whether a worker in this state may be given a call.
func (s State) TakesCalls() bool { return s == StateReady || s == StateBusy }
