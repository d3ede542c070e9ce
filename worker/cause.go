package worker

// Cause says why a worker ended, or is started again. It is a word for metrics;
// String is for people.
type Cause string

const (
	// CauseExited: not the pool ended it.
	CauseExited Cause = "exited"
	// CauseNoPong: it was idle and answered no pings.
	CauseNoPong Cause = "no_pong"
	// CauseSuspended: its process was stopped by a signal, and not continued.
	CauseSuspended Cause = "suspended"
	// CauseUnansweredCancel: a cancelled call went on beyond the cancel grace.
	CauseUnansweredCancel Cause = "unanswered_cancel"
	// CausePanic: the consumer of a stream panicked.
	CausePanic Cause = "panic"
	// CauseRequested: Restart replaced it.
	CauseRequested Cause = "requested"
	// CauseStopped: its pool was stopped.
	CauseStopped Cause = "stopped"
	// CauseStartFailed: it did not start.
	CauseStartFailed Cause = "start_failed"
)

var causes = map[Cause]string{
	CauseExited:           "it ended by itself, or something outside of its pool ended it",
	CauseNoPong:           "it was idle and left three pings in a row unanswered",
	CauseSuspended:        "its process was stopped by a signal (SIGSTOP) and not continued",
	CauseUnansweredCancel: "another call that was cancelled went on beyond the cancel grace",
	CausePanic:            "the consumer of another call's stream panicked",
	CauseRequested:        "its restart was requested",
	CauseStopped:          "its pool was stopped",
	CauseStartFailed:      "it did not start",
}

func (c Cause) String() string { return causes[c] }
