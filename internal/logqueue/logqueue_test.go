package logqueue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit/internal/logqueue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func notice(dropped uint64) []byte { return fmt.Appendf(nil, "%d dropped\n", dropped) }

// gate is a writer that lets nothing through while it is closed, as a terminal
// after Ctrl-S, and fails while it is broken, as a pipe without a reader.
type gate struct {
	open chan struct{}

	mu     sync.Mutex
	text   strings.Builder
	broken bool
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken {
		return 0, io.ErrClosedPipe
	}
	return g.text.Write(p)
}

func (g *gate) setBroken(broken bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broken = broken
}

func (g *gate) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

func write(t *testing.T, q *logqueue.Queue, records ...string) {
	t.Helper()
	for _, r := range records {
		if n, err := q.Write([]byte(r)); n != len(r) || err != nil {
			t.Errorf("write %q: %d, %v", r, n, err)
		}
	}
}

func flush(t *testing.T, q *logqueue.Queue) {
	t.Helper()
	if err := q.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStuckReader fills the queue, which must take or drop each record at once,
// and then lets the reader go on.
func TestStuckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		q := logqueue.New(g, 8, notice)
		write(t, q, "a\n")
		synctest.Wait() // it is with the writer now, which waits
		write(t, q, "bbb\n", "ccc\n", "d\n", "e\n", "fffffffff\n")
		if n := q.Dropped(); n != 3 {
			t.Errorf("%d dropped", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := q.Flush(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("flush of a stuck log: %v", err)
		}
		close(g.open)
		flush(t, q)
		write(t, q, "g\n")
		flush(t, q)
		if got, want := g.String(), "a\nbbb\nccc\n3 dropped\ng\n"; got != want {
			t.Errorf("the log is\n%swant\n%s", got, want)
		}
	})
}

// TestDroppedIsToldInItsPlace has room come before the queue is empty.
func TestDroppedIsToldInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		q := logqueue.New(g, 4, notice)
		write(t, q, "a\n")
		synctest.Wait()
		write(t, q, "bb\n", "cc\n")
		g.open <- struct{}{} // a leaves, b is with the writer
		synctest.Wait()
		write(t, q, "d\n")
		close(g.open)
		flush(t, q)
		if got, want := g.String(), "a\nbb\n1 dropped\nd\n"; got != want {
			t.Errorf("the log is\n%swant\n%s", got, want)
		}
	})
}

// TestBrokenPipe has the reader go away and another one come. Nothing spins
// meanwhile: each flush returns.
func TestBrokenPipe(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	q := logqueue.New(g, 100, notice)
	g.setBroken(true)
	for range 3 {
		write(t, q, "lost\n")
		flush(t, q)
	}
	g.setBroken(false)
	write(t, q, "here\n")
	flush(t, q)
	if got := g.String(); got != "3 dropped\nhere\n" || q.Dropped() != 3 {
		t.Errorf("the log is %q, %d dropped", got, q.Dropped())
	}
}

func TestManyWriters(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	q := logqueue.New(g, 1<<20, notice)
	const writers, each = 8, 500
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range each {
				write(t, q, fmt.Sprintf("%d %d\n", w, n))
			}
		})
	}
	all.Wait()
	flush(t, q)
	next := make([]int, writers)
	for line := range strings.Lines(g.String()) {
		var w, n int
		if _, err := fmt.Sscanf(line, "%d %d\n", &w, &n); err != nil || next[w] != n {
			t.Fatalf("after record %d of writer %d: %q (%v)", next[w]-1, w, line, err)
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("%d records of writer %d", n, w)
		}
	}
}
