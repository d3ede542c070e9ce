package session_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// residentLimit is what a million sessions of 200 bytes may take.
const residentLimit = 600e6

// BenchmarkMillionSessions reports the resident memory of a million sessions of
// about 200 bytes, the same as in the other benchmarks: at its peak while they are created, with the
// garbage collector as it is by default, and at rest, after what is free has
// been returned. x-limit is for the one at rest.
func BenchmarkMillionSessions(b *testing.B) {
	const sessions = 1_000_000
	for b.Loop() {
		debug.FreeOSMemory()
		before, _ := resident(b)
		st, err := session.New(memstore.New(), &session.Options{MaxSessions: -1, SweepInterval: -1})
		if err != nil {
			b.Fatal(err)
		}
		for i := range sessions {
			if _, _, err := st.Create(b.Context(), fmt.Sprintf("session-%08d", i), &session.CreateOptions{Vars: benchVars()}); err != nil {
				b.Fatal(err)
			}
		}
		_, peak := resident(b)
		debug.FreeOSMemory()
		now, _ := resident(b)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(peak/1e6, "peak-MB")
		b.ReportMetric((now-before)/1e6, "resident-MB")
		b.ReportMetric((now-before)/residentLimit, "x-limit")
		runtime.KeepAlive(st)
		if err := st.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// resident is the resident memory of this process in bytes, now and at its
// highest.
func resident(b *testing.B) (now, peak float64) {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatalf("the kernel's account of this process is needed, which Linux gives: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch name {
		case "VmRSS":
			now = kb * 1024
		case "VmHWM":
			peak = kb * 1024
		}
	}
	return now, peak
}
