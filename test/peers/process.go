package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a Python process of ours.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(ctx context.Context, at place, script string) (*child, error) {
	cmd := exec.CommandContext(ctx, at.python, filepath.Join(at.dir, script))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", script, err)
	}
	return &child{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<20)}, nil
}

// address reads the port that a server prints when it is ready.
func (c *child) address() (string, error) {
	line, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read the server's port: %w", err)
	}
	return "127.0.0.1:" + strings.TrimSpace(line), nil
}

func (c *child) end() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// stat returns the fields of /proc/PID/stat from the state on.
func stat(pid int) ([]string, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, false
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])), true
}

// processorTime is what this process and those of the peer have used so far.
func processorTime(sys system) time.Duration {
	var self syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &self)
	sum := time.Duration(self.Utime.Nano() + self.Stime.Nano())
	ids, _ := sys.processes()
	for _, pid := range ids {
		if f, ok := stat(pid); ok {
			const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
			user, _ := strconv.Atoi(f[11])
			kernel, _ := strconv.Atoi(f[12])
			sum += time.Duration(user+kernel) * tick
		}
	}
	return sum
}

// workerMemory is the mean proportional set size of the workers, in bytes:
// pages that several share are divided among them.
func workerMemory(sys system) float64 {
	ids, n := sys.processes()
	sum := 0.0
	for _, pid := range ids[:n] {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
				kilobytes, _ := strconv.ParseFloat(f[1], 64)
				sum += kilobytes * 1024
			}
		}
	}
	return sum / float64(max(n, 1))
}

// livingWorkers counts the workers that are there now.
func livingWorkers(sys system) int {
	ids, n := sys.processes()
	living := 0
	for _, pid := range ids[:n] {
		if f, ok := stat(pid); ok && f[0] != "Z" {
			living++
		}
	}
	return living
}
