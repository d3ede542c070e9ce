package frames_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/frames"
	"github.com/snakepit-go/snakepit/worker/process"
)

// interpreter returns a Python to run workers with.
func interpreter(t testing.TB) string {
	t.Helper()
	python, err := process.FindPython(context.Background(), process.PythonQuery{})
	if err != nil {
		t.Skip(err)
	}
	return python.Path
}

// pythons are workers of our SDK.
func pythons(t testing.TB, tools string) *harness {
	t.Helper()
	path := interpreter(t)
	library, err := filepath.Abs("../../python")
	if err != nil {
		t.Fatal(err)
	}
	return newHarness(t, func(worker.Spec) worker.Command {
		return worker.Command{
			Path: path,
			Args: []string{"-m", "snakepit", tools},
			Env:  []string{"PYTHONPATH=" + library, "PYTHONUNBUFFERED=1"},
		}
	})
}

// bare is a client as bare as testdata/limit.py.
type bare struct {
	conn net.Conn
	in   *bufio.Reader
	buf  []byte
}

func startBare(b *testing.B, h *harness) *bare {
	b.Helper()
	proc, err := h.opts.Launcher.Launch(context.Background(), worker.Command{
		Path: interpreter(b), Args: []string{"testdata/limit.py"}, SocketEnv: frames.SocketEnv,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		proc.Kill()
		<-proc.Done()
		proc.Conn().Close()
	})
	return &bare{conn: proc.Conn(), in: bufio.NewReaderSize(proc.Conn(), 65536)}
}

func (c *bare) call(request []byte) ([]byte, error) {
	c.buf = binary.BigEndian.AppendUint32(c.buf[:0], uint32(len(request)))
	c.buf = append(c.buf, request...)
	if _, err := c.conn.Write(c.buf); err != nil {
		return nil, err
	}
	var prefix [4]byte
	if _, err := io.ReadFull(c.in, prefix[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(prefix[:]))
	_, err := io.ReadFull(c.in, answer)
	return answer, err
}

// kilobyte is about 1 KB of JSON as people send it.
func kilobyte() json.RawMessage {
	return json.RawMessage(`{"value":{"id":123456,"name":"a session","tags":["one","two","three"],"score":0.75,"text":"` +
		strings.Repeat("some words of text, ", 45) + `"}}`)
}

func p50(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// BenchmarkCall measures one call at a time with one worker, in turn with the
// limit: a loop of 30 lines on either side.
func BenchmarkCall(b *testing.B) {
	h := pythons(b, "testdata/bench_tools.py")
	conn := h.start()
	limit := startBare(b, h)
	args := kilobyte()
	request := append(append([]byte(`{"tool":"echo","args":`), args...), '}')
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	const round = 100
	var ours, theirs []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		if i/round%2 == 0 {
			if _, err := conn.Call(ctx, &worker.Call{CorrelationID: "c-123", Tool: "echo", Args: args}); err != nil {
				b.Fatal(err)
			}
			ours = append(ours, time.Since(began))
		} else {
			if _, err := limit.call(request); err != nil {
				b.Fatal(err)
			}
			theirs = append(theirs, time.Since(began))
		}
	}
	if len(theirs) < round {
		return // the first, short run
	}
	a, l := p50(ours), p50(theirs)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(a)/1e3, "p50-us")
	b.ReportMetric(float64(l)/1e3, "limit-p50-us")
	b.ReportMetric(float64(a)/float64(l), "x-limit")
}

// BenchmarkTwoWorkers measures eight callers sharing two workers, and the same
// with bare loops.
func BenchmarkTwoWorkers(b *testing.B) {
	h := pythons(b, "testdata/bench_tools.py")
	args := kilobyte()
	request := append(append([]byte(`{"tool":"echo","args":`), args...), '}')
	conns := make(chan worker.Conn, 2)
	bares := make(chan *bare, 2)
	for range 2 {
		conns <- h.start()
		bares <- startBare(b, h)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	perSecond := func(n int, call func() error) float64 {
		began := time.Now()
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for range n / 8 {
					if err := call(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		callers.Wait()
		return float64(n/8*8) / time.Since(began).Seconds()
	}
	const round = 1600
	var ours, theirs []float64
	for b.Loop() {
		ours = append(ours, perSecond(round, func() error {
			conn := <-conns
			defer func() { conns <- conn }()
			_, err := conn.Call(ctx, &worker.Call{CorrelationID: "c-123", Tool: "echo", Args: args})
			return err
		}))
		theirs = append(theirs, perSecond(round, func() error {
			c := <-bares
			defer func() { bares <- c }()
			_, err := c.call(request)
			return err
		}))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	a, l := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(a, "calls/s")
	b.ReportMetric(l, "limit-calls/s")
	b.ReportMetric(l/a, "x-limit")
}
