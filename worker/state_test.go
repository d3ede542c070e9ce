package worker_test

import (
	"testing"

	"github.com/snakepit-go/snakepit/worker"
)

// TestStateMoves holds the whole table against what a worker may do, said a
// second time and in other words.
func TestStateMoves(t *testing.T) {
	const (
		stopped  = worker.StateStopped
		starting = worker.StateStarting
		ready    = worker.StateReady
		busy     = worker.StateBusy
		draining = worker.StateDraining
		stopping = worker.StateStopping
		backoff  = worker.StateBackoff
	)
	all := []worker.State{stopped, starting, ready, busy, draining, stopping, backoff}
	why := map[[2]worker.State]string{
		{stopped, starting}:  "the pool starts",
		{starting, ready}:    "the worker said hello",
		{starting, backoff}:  "it could not be started",
		{starting, stopped}:  "the pool stopped before it was ready",
		{ready, busy}:        "it got its first call",
		{busy, ready}:        "its last call was answered",
		{ready, stopping}:    "it gives no sign of life, is to be replaced, or the pool stops",
		{busy, stopping}:     "a cancelled call was not answered",
		{busy, draining}:     "it has calls and is to be replaced, or the pool stops",
		{draining, stopping}: "its calls are done, or took too long",
		{ready, backoff}:     "it died",
		{busy, backoff}:      "it died with calls",
		{stopping, backoff}:  "it was killed and is gone",
		{backoff, starting}:  "the pause is over",
		{ready, stopped}:     "it died just as the pool stopped",
		{busy, stopped}:      "it died just as the pool stopped",
		{draining, backoff}:  "it died while it was to be replaced",
		{draining, stopped}:  "it died while the pool stopped",
		{stopping, stopped}:  "it has ended",
		{backoff, stopped}:   "the pool stops during the pause",
	}
	for _, from := range all {
		for _, to := range all {
			_, want := why[[2]worker.State{from, to}]
			if got := from.CanBecome(to); got != want {
				t.Errorf("%s to %s: allowed is %v, want %v", from, to, got, want)
			}
		}
		if got, want := from.TakesCalls(), from == ready || from == busy; got != want {
			t.Errorf("%s takes calls: %v, want %v", from, got, want)
		}
		if from.CanBecome("nonsense") || worker.State("nonsense").CanBecome(from) {
			t.Errorf("%s has to do with a state that does not exist", from)
		}
	}
}
