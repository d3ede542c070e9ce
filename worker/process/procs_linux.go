package process

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
)

// pidDomain says where the numbers of processes and their start times are
// comparable: within one boot and one pid namespace. Without it a pid proves
// nothing.
func pidDomain() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + ns
}

// lookUp returns a process without its run id.
func lookUp(pid int) (proc, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	// The second field is the name in parentheses, which may hold anything.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return proc{}, false
	}
	// From here on: state ppid pgrp ... and as the 20th starttime.
	fields := bytes.Fields(stat[i+1:])
	if len(fields) < 20 {
		return proc{}, false
	}
	group, err1 := strconv.Atoi(string(fields[2]))
	start, err2 := strconv.ParseUint(string(fields[19]), 10, 64)
	if errors.Join(err1, err2) != nil {
		return proc{}, false
	}
	state := fields[0][0]
	return proc{pid: pid, group: group, start: start, dead: state == 'Z' || state == 'X', stopped: state == 'T'}, true
}

// processes returns the living processes that can be seen, with the run ids
// of those whose environment can be read.
func processes() ([]proc, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var procs []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p, ok := lookUp(pid)
		if !ok || p.dead {
			continue
		}
		p.run = runIDOf(pid)
		procs = append(procs, p)
	}
	return procs, nil
}

// runIDOf returns "" also for a process of another user.
func runIDOf(pid int) string {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	for entry := range bytes.SplitSeq(env, []byte{0}) {
		if id, ok := bytes.CutPrefix(entry, []byte(RunIDEnv+"=")); ok {
			return string(id)
		}
	}
	return ""
}
