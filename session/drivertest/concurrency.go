package drivertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
)

func testConcurrency(t *testing.T, h Harness) {
	t.Run("one creator wins", func(t *testing.T) {
		s := open(t, h)
		for round := range 50 {
			id := fmt.Sprintf("race-%d", round)
			winner := race(t, 8, func(caller int) (bool, error) {
				_, err := s.Apply(t.Context(), id, &driver.Batch{
					If: driver.IfAbsent, Head: fmt.Appendf(nil, "head %d", caller), Body: fmt.Appendf(nil, "body %d", caller), Op: opID(),
				})
				if errors.Is(err, driver.ErrExists) {
					return false, nil
				}
				return err == nil, err
			})
			r, err := s.Get(t.Context(), id, driver.Read{})
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("head %d", winner); string(r.Head) != want {
				t.Fatalf("caller %d created the record, and it is %s", winner, show(r))
			}
		}
	})
	t.Run("one writer wins each revision", func(t *testing.T) {
		s := open(t, h)
		revision := create(t, s, "cas", "head", "body")
		for range 50 {
			var next atomic.Uint64
			winner := race(t, 8, func(caller int) (bool, error) {
				got, err := s.Apply(t.Context(), "cas", &driver.Batch{
					If: driver.IfRevision, Revision: revision, Head: fmt.Appendf(nil, "head %d", caller), Body: fmt.Appendf(nil, "body %d", caller), Op: opID(),
				})
				if errors.Is(err, driver.ErrConflict) {
					return false, nil
				}
				next.Store(uint64(got))
				return err == nil, err
			})
			revision = driver.Revision(next.Load())
			expect(t, s, "cas", revision, fmt.Sprintf("head %d", winner), fmt.Sprintf("body %d", winner))
		}
	})
	t.Run("one writer makes an item", func(t *testing.T) {
		s := open(t, h)
		create(t, s, "once", "head", "body")
		for round := range 50 {
			key := fmt.Sprint(round)
			winner := race(t, 8, func(caller int) (bool, error) {
				_, err := s.Apply(t.Context(), "once", &driver.Batch{Put: put(key, fmt.Sprint(caller)), Absent: []string{key}, Op: opID()})
				if errors.Is(err, driver.ErrItemExists) {
					return false, nil
				}
				return err == nil, err
			})
			expectItem(t, s, "once", key, fmt.Sprint(winner))
		}
	})
	t.Run("no update is lost", func(t *testing.T) { testNoUpdateLost(t, open(t, h)) })
	t.Run("a batch is never half visible", func(t *testing.T) { testNeverHalf(t, open(t, h)) })
}

// race runs attempt in n goroutines at once and returns the one that won. It
// is an error if none does, or more than one.
func race(t *testing.T, n int, attempt func(caller int) (won bool, err error)) int {
	t.Helper()
	var winners []int
	var mu sync.Mutex
	var callers sync.WaitGroup
	start := make(chan struct{})
	for caller := range n {
		callers.Go(func() {
			<-start
			won, err := attempt(caller)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("caller %d: %v", caller, err)
			}
			if won {
				winners = append(winners, caller)
			}
		})
	}
	close(start)
	callers.Wait()
	if len(winners) != 1 {
		t.Fatalf("callers %v won a race that only one can win", winners)
	}
	return winners[0]
}

// testNoUpdateLost counts in a record by compare-and-set from many goroutines.
func testNoUpdateLost(t *testing.T, s driver.Store) {
	const callers, each = 8, 40
	create(t, s, "count", "0", "0")
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range each {
				if err := increment(t.Context(), s, "count"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	r, err := s.Get(t.Context(), "count", driver.Read{})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprint(callers * each); string(r.Head) != want || string(r.Body) != want {
		t.Errorf("%s acknowledged increments gave %s", want, show(r))
	}
}

// increment adds one to the number in a record. Since one writer wins each
// time, it can lose only as often as there are increments to be made.
func increment(ctx context.Context, s driver.Store, id string) error {
	for range 10_000 {
		r, err := s.Get(ctx, id, driver.Read{})
		if err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscan(string(r.Head), &n); err != nil {
			return fmt.Errorf("head %q: %w", r.Head, err)
		}
		next := fmt.Append(nil, n+1)
		_, err = s.Apply(ctx, id, &driver.Batch{If: driver.IfRevision, Revision: r.Revision, Head: next, Body: next, Op: opID()})
		if !errors.Is(err, driver.ErrConflict) {
			return err
		}
	}
	return errors.New("every writer seems to lose")
}

// testNeverHalf reads while a writer keeps head, body and items equal.
func testNeverHalf(t *testing.T, s driver.Store) {
	value := func(n int) []byte { return fmt.Appendf(nil, "%06d", n) }
	store := func(n int) driver.Batch {
		return driver.Batch{
			Head: value(n), Body: value(n), Op: opID(),
			Put: []driver.Item{{Key: "a", Data: value(n)}, {Key: "z", Data: value(n)}},
		}
	}
	apply(t, s, "half", store(0))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writer sync.WaitGroup
	writer.Go(func() {
		defer stop()
		for n := 1; n <= 300 && ctx.Err() == nil; n++ {
			b := store(n)
			if _, err := s.Apply(t.Context(), "half", &b); err != nil {
				t.Errorf("write %d: %v", n, err)
			}
		}
	})
	defer writer.Wait()
	var last driver.Revision
	lastHead := ""
	for ctx.Err() == nil {
		z, err := s.Item(t.Context(), "half", "z")
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Get(t.Context(), "half", driver.Read{})
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Item(t.Context(), "half", "a")
		if err != nil {
			t.Fatal(err)
		}
		whole, items, err := s.GetItems(t.Context(), "half", driver.Read{}, []string{"a", "z"})
		if err != nil {
			t.Fatal(err)
		}
		if string(items[0]) != string(whole.Head) || string(items[1]) != string(whole.Head) {
			t.Fatalf("items %q were read together with %s", items, show(whole))
		}
		switch {
		case string(r.Head) != string(r.Body):
			t.Fatalf("half a batch: %s", show(r))
		case string(z) > string(r.Head) || string(r.Head) > string(a):
			t.Fatalf("item %q, then %s, then item %q: a later read saw less", z, show(r), a)
		case string(r.Head) < lastHead:
			t.Fatalf("read %q after %q", r.Head, lastHead)
		case r.Revision == last != (string(r.Head) == lastHead):
			t.Fatalf("revision %d with %q after revision %d with %q", r.Revision, r.Head, last, lastHead)
		}
		last, lastHead = r.Revision, string(r.Head)
	}
}
