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

	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/frames"
)

// pythons are workers of our SDK.
func pythons(t testing.TB, tools string) *harness {
	t.Helper()
	path := testenv.Python(t)
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
		Path: testenv.Python(b), Args: []string{"testdata/limit.py"}, SocketEnv: frames.SocketEnv,
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

// document is about 1 KB of JSON as people send it.
type document struct {
	Value struct {
		ID    int      `json:"id"`
		Name  string   `json:"name"`
		Tags  []string `json:"tags"`
		Score float64  `json:"score"`
		Text  string   `json:"text"`
	} `json:"value"`
}

func kilobyte(b *testing.B) (*document, json.RawMessage) {
	d := new(document)
	d.Value.ID, d.Value.Name, d.Value.Tags, d.Value.Score = 123456, "a session", []string{"one", "two", "three"}, 0.75
	d.Value.Text = strings.Repeat("some words of text, ", 45)
	return d, encode(b, d)
}

func encode(b *testing.B, v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

func p50(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// BenchmarkCall measures one call at a time with one worker, in turn with the
// limit: a loop of 30 lines on either side. In "json" both encode and decode
// what they send and receive, as every caller does somewhere; in "raw" neither
// does.
func BenchmarkCall(b *testing.B) {
	h := pythons(b, "testdata/tools.py")
	conn := h.start()
	limit := startBare(b, h)
	doc, args := kilobyte(b)
	request := []byte(`{"tool":"echo","args":` + string(args) + `}`)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	call := func(args json.RawMessage) json.RawMessage {
		res, err := conn.Call(ctx, &worker.Call{CorrelationID: "c-123", Tool: "echo", Args: args})
		if err != nil {
			b.Fatal(err)
		}
		return res.Value
	}
	b.Run("json", func(b *testing.B) {
		compare(b, func() {
			answer := call(encode(b, doc))
			if err := json.Unmarshal(answer, &new(document).Value); err != nil {
				b.Fatal(err)
			}
		}, func() {
			answer, err := limit.call(encode(b, map[string]any{"tool": "echo", "args": doc}))
			if err == nil {
				err = json.Unmarshal(answer, new(document))
			}
			if err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("raw", func(b *testing.B) {
		compare(b, func() { call(args) }, func() {
			if _, err := limit.call(request); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// compare reports the median time of ours, of its limit, and the ratio.
func compare(b *testing.B, ours, limit func()) {
	const round = 100
	var times [2][]time.Duration
	for i := 0; b.Loop(); i++ {
		which, f := 0, ours
		if i/round%2 == 1 {
			which, f = 1, limit
		}
		began := time.Now()
		f()
		times[which] = append(times[which], time.Since(began))
	}
	if len(times[1]) == 0 {
		return // a run of one call
	}
	a, l := p50(times[0]), p50(times[1])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(a)/1e3, "p50-us")
	b.ReportMetric(float64(l)/1e3, "limit-p50-us")
	b.ReportMetric(float64(a)/float64(l), "x-limit")
}

// BenchmarkStart measures how long it takes until a worker can take calls.
func BenchmarkStart(b *testing.B) {
	h := pythons(b, "testdata/tools.py")
	var times []time.Duration
	for b.Loop() {
		began := time.Now()
		conn := h.start()
		times = append(times, time.Since(began))
		conn.Kill()
		<-conn.Done()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(p50(times))/1e6, "p50-ms")
}

// BenchmarkTwoWorkers measures eight callers sharing two workers, and the same
// with bare loops.
func BenchmarkTwoWorkers(b *testing.B) {
	h := pythons(b, "testdata/tools.py")
	_, args := kilobyte(b)
	request := []byte(`{"tool":"echo","args":` + string(args) + `}`)
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
