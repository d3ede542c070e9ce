// Package chaos kills workers and servers under load and checks that no
// acknowledged write is lost, repeated or reordered. It holds tests only;
// `make chaos` runs them for long, `make test` briefly.
//
// The recorder is independent of what it judges: it writes down what each
// client sent and what it was told, and compares that with what the session
// holds at the end.
package chaos

import (
	"fmt"
	"slices"
	"sync"
)

// answer is what a client was told about a write.
type answer uint8

const (
	// acknowledged: the write is in the session, once.
	acknowledged answer = iota
	// refused: the write is not in the session.
	refused
	// unknown: the write may be in the session, once.
	unknown
)

// history records the writes of all clients to all sessions.
type history struct {
	mu sync.Mutex
	// writes of a session, in the order in which they were sent.
	writes map[string][]write
}

type write struct {
	client int
	value  string
	answer answer
}

func newHistory() *history { return &history{writes: make(map[string][]write)} }

// sent records a write about to be made, as unknown until told otherwise, and
// returns how to record its answer.
func (h *history) sent(session string, client int, value string) func(answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := len(h.writes[session])
	h.writes[session] = append(h.writes[session], write{client, value, unknown})
	return func(a answer) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.writes[session][at].answer = a
	}
}

// count returns how many writes had each answer.
func (h *history) count() (counts [3]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, writes := range h.writes {
		for _, w := range writes {
			counts[w.answer]++
		}
	}
	return counts
}

// check compares a session's log with what was recorded and returns every
// contradiction.
func (h *history) check(session string, log []string) (faults []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := make(map[string]int, len(log))
	for i, value := range log {
		if before, twice := at[value]; twice {
			faults = append(faults, fmt.Sprintf("%s: %s was applied twice, at %d and %d", session, value, before, i))
		}
		at[value] = i
	}
	latest := make(map[int]write) // of each client, the last acknowledged one
	for _, w := range h.writes[session] {
		i, found := at[w.value]
		delete(at, w.value)
		switch {
		case w.answer == acknowledged && !found:
			faults = append(faults, fmt.Sprintf("%s: %s was acknowledged and is lost", session, w.value))
		case w.answer == refused && found:
			faults = append(faults, fmt.Sprintf("%s: %s was refused and is there", session, w.value))
		}
		if w.answer != acknowledged || !found {
			continue
		}
		// A client sends its next write after the answer to the last one.
		if before, ok := latest[w.client]; ok && slices.Index(log, before.value) > i {
			faults = append(faults, fmt.Sprintf("%s: %s of client %d came before its earlier %s", session, w.value, w.client, before.value))
		}
		latest[w.client] = w
	}
	for value := range at {
		faults = append(faults, fmt.Sprintf("%s: %s was never sent", session, value))
	}
	return faults
}
