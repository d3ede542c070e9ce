package process

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// proc is a process of the system.
type proc struct {
	pid, group int
	// start tells a process from an earlier one of the same number.
	start uint64
	// dead processes wait to be reaped.
	dead bool
	// stopped ones wait for SIGCONT.
	stopped bool
	// run is the run id in its environment, or "".
	run string
}

// orphanWait bounds how long killAll waits for the processes it kills.
const orphanWait = 5 * time.Second

// killAll kills every process that provably belongs to one of the records, and
// waits until none is left. It returns the pids of what it killed.
func killAll(records []record) ([]int, error) {
	if len(records) == 0 {
		return nil, nil
	}
	var killed []int
	deadline := time.Now().Add(orphanWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		// Anew in each round: a process may fork while it is being killed.
		procs, err := processes()
		if err != nil {
			return killed, fmt.Errorf("list processes: %w", err)
		}
		targets := belonging(procs, records, os.Getpid())
		if len(targets) == 0 {
			return killed, nil
		}
		var refused error
		for _, t := range targets {
			switch err := kill(t); {
			case err != nil:
				refused = errors.Join(refused, err)
			case !slices.Contains(killed, t.pid):
				killed = append(killed, t.pid)
			}
		}
		if time.Now().After(deadline) {
			return killed, errors.Join(fmt.Errorf("%d processes still live %v after they were killed", len(targets), orphanWait), refused)
		}
		time.Sleep(pause)
	}
}

// belonging returns the processes that provably belong to one of the records,
// never self: one with a recorded number and start time, one that carries a
// recorded run id, and one in a recorded group that holds such a process. The
// last is a proof because the number of a group is not given away again while
// the group has members.
func belonging(procs []proc, records []record, self int) []proc {
	runs := make(map[string]bool)
	starts := make(map[int]uint64) // of the leaders, by pid
	for _, r := range records {
		runs[r.run] = true
		if r.pid != 0 {
			starts[r.pid] = r.start
		}
	}
	certain := func(p proc) bool {
		start, recorded := starts[p.pid]
		if p.run != "" {
			return runs[p.run] // whatever the record says
		}
		return recorded && start == p.start
	}
	groups := make(map[int]bool)
	for _, p := range procs {
		if _, recorded := starts[p.group]; recorded && certain(p) {
			groups[p.group] = true
		}
	}
	var targets []proc
	for _, p := range procs {
		if p.pid != self && (certain(p) || groups[p.group]) {
			targets = append(targets, p)
		}
	}
	return targets
}

// kill kills exactly the process that was seen.
func kill(p proc) error {
	// The handle is taken first and the process looked at again after that:
	// it cannot come to mean another process in between.
	handle, err := os.FindProcess(p.pid)
	if err != nil {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	defer handle.Release()
	if now, ok := lookUp(p.pid); !ok || now.start != p.start {
		return nil
	}
	if err := handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	return nil
}
