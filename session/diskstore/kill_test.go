package diskstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

const writerEnv = "DISKSTORE_TEST_WRITER"

// writers is how many goroutines write at once in the crash tests; each has
// sessions of its own, so that the last state of each is known.
const writers, sessionsEach = 8, 5

// writeUntilKilled is the child: it writes and prints a line for every write
// acknowledged. It never ends by itself.
func writeUntilKilled(dir string) int {
	s, err := diskstore.Open(context.Background(), dir, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			err := writeAll(context.Background(), s, w, func(id string, n int) {
				mu.Lock()
				defer mu.Unlock()
				// A kill cannot tear a line: a pipe takes so few bytes whole.
				fmt.Fprintln(os.Stdout, id, n)
			})
			fmt.Fprintln(os.Stderr, err)
		})
	}
	group.Wait()
	return 1 // it only ends on errors
}

// writeAll changes the sessions of one writer in turn until an error, and
// reports the number of each acknowledged write. Every seventh is a delete.
func writeAll(ctx context.Context, s driver.Store, w int, acknowledged func(id string, n int)) error {
	for n := 1; ; n++ {
		id := fmt.Sprintf("w%d-%d", w, n%sessionsEach)
		b := driver.Batch{Head: fmt.Append(nil, n), Body: fmt.Append(nil, n), Put: []driver.Item{{Key: "k", Data: fmt.Append(nil, n)}}}
		if deletes(n) {
			b = driver.Batch{Delete: true, Drop: []string{"k"}}
		}
		r, err := s.Get(ctx, id, driver.Read{})
		switch {
		case errors.Is(err, driver.ErrNotFound):
			b.If = driver.IfAbsent
		case err != nil:
			return err
		default:
			b.If, b.Revision = driver.IfRevision, r.Revision
		}
		if _, err := s.Apply(ctx, id, &b); err != nil {
			return err
		}
		acknowledged(id, n)
	}
}

func deletes(n int) bool { return n%7 == 0 }

// ledger is the independent record of what was acknowledged: of each session
// the last write, and how many writes there were.
type ledger struct {
	mu    sync.Mutex
	last  map[string]int
	total int
}

func newLedger() *ledger { return &ledger{last: make(map[string]int)} }

func (l *ledger) note(id string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[id] = n
	l.total++
}

func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &ledger{last: maps.Clone(l.last), total: l.total}
}

// lost compares a store opened after a crash with the ledger and says what is
// missing. A session may be one write ahead of the ledger, the one that was
// under way, and must in any case be whole.
func (l *ledger) lost(ctx context.Context, s driver.Store) (lost []string, err error) {
	for id, n := range l.last {
		r, err := s.Get(ctx, id, driver.Read{})
		item, itemErr := s.Item(ctx, id, "k")
		switch {
		case errors.Is(err, driver.ErrNotFound) && errors.Is(itemErr, driver.ErrNotFound):
			if !deletes(n) && !deletes(n+sessionsEach) {
				lost = append(lost, fmt.Sprintf("%s: acknowledged write %d, found nothing", id, n))
			}
		case err != nil || itemErr != nil:
			return nil, fmt.Errorf("session %q: record: %w, item: %w", id, err, itemErr)
		case string(r.Head) != string(r.Body) || string(r.Head) != string(item):
			return nil, fmt.Errorf("session %q is half written: head %q, body %q, item %q", id, r.Head, r.Body, item)
		default:
			same, next := string(r.Head) == fmt.Sprint(n), string(r.Head) == fmt.Sprint(n+sessionsEach)
			if !next && (!same || deletes(n)) {
				lost = append(lost, fmt.Sprintf("%s: acknowledged write %d, found %q", id, n, r.Head))
			}
		}
	}
	return lost, nil
}

// TestKill kills a process that writes, again and again on the same directory,
// and finds all it had acknowledged each time.
func TestKill(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		book := newLedger()
		killAfter := 20 + random.IntN(3000)
		runAndKill(t, dir, killAfter, book)
		s, err := diskstore.Open(t.Context(), dir, nil)
		if err != nil {
			t.Fatalf("round %d, seed %d: %v", round, seed, err)
		}
		lost, err := book.lost(t.Context(), s)
		if err != nil {
			t.Errorf("round %d, seed %d: %v", round, seed, err)
		}
		if len(lost) > 0 {
			t.Errorf("round %d, seed %d: killed after %d acknowledged writes, lost:\n%s", round, seed, book.total, strings.Join(lost, "\n"))
		}
		if book.total < killAfter {
			t.Errorf("round %d: only %d writes were acknowledged", round, book.total)
		}
		clear(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// clear deletes all sessions of the writers, so that the next round knows the
// state from which it starts.
func clear(t *testing.T, s driver.Store) {
	for w := range writers {
		for n := range sessionsEach {
			if _, err := s.Apply(t.Context(), fmt.Sprintf("w%d-%d", w, n), &driver.Batch{Delete: true, Drop: []string{"k"}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// runAndKill lets a child write in dir, kills it after so many acknowledged
// writes, and enters in the book all it could still say.
func runAndKill(t *testing.T, dir string, killAfter int, book *ledger) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerEnv+"="+dir)
	var complaints strings.Builder
	child.Stderr = &complaints
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(output); lines.Scan(); {
		var id string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &id, &n); err != nil {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		book.note(id, n)
		if book.total == killAfter {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || book.total < killAfter {
		t.Fatalf("the child ended by itself after %d writes: %v\n%s", book.total, err, complaints.String())
	}
}
