package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

func namedCall(id, value string) *session.NamedCall {
	return &session.NamedCall{ID: id, Digest: [32]byte{1}, Answer: session.Answer{
		Value: json.RawMessage(value), Attachments: [][]byte{[]byte("part"), {}}, Worker: "w1",
	}}
}

// commitCall commits a call in a session, or without one if id is empty.
func commitCall(t testing.TB, st *session.Store, id string, call *session.NamedCall) error {
	t.Helper()
	if id == "" {
		return st.KeepCall(t.Context(), *call)
	}
	s := must[*session.Session](t)(st.Peek(t.Context(), id))
	_, err := st.Commit(t.Context(), id, session.Commit{Fence: s.Fence(), Call: call, Set: vars("last", `"`+call.ID+`"`)})
	return err
}

func findCall(t testing.TB, st *session.Store, id, callID string) *session.CallRecord {
	t.Helper()
	_, rec, err := st.FindCall(t.Context(), id, callID)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// eachPlace runs a test for calls in a session and for calls without one.
func eachPlace(t *testing.T, test func(t *testing.T, open func(*session.Options) *session.Store, id string)) {
	for _, id := range []string{"s", ""} {
		t.Run(fmt.Sprintf("session %q", id), func(t *testing.T) {
			test(t, func(o *session.Options) *session.Store {
				st := open(t, nil, o)
				create(t, st, "s", nil)
				return st
			}, id)
		})
	}
}

func TestCallsAreKept(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func(*session.Options) *session.Store, id string) {
		st := open(nil)
		if rec := findCall(t, st, id, "a"); rec != nil {
			t.Fatalf("%+v before there was a call", rec)
		}
		if err := commitCall(t, st, id, namedCall("a", `{"x":1}`)); err != nil {
			t.Fatal(err)
		}
		if err := commitCall(t, st, id, namedCall("a", `{"x":2}`)); !errors.Is(err, session.ErrAlreadyCommitted) {
			t.Errorf("the same id again: %v", err)
		}
		for i := range 100 { // whatever else is written
			must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("n", fmt.Sprint(i))}))
		}
		rec := findCall(t, st, id, "a")
		if rec == nil || rec.Closed || rec.Answer == nil || rec.Digest != [32]byte{1} || time.Since(rec.At) > time.Hour {
			t.Fatalf("found %+v", rec)
		}
		a := rec.Answer
		if string(a.Value) != `{"x":1}` || len(a.Attachments) != 2 || string(a.Attachments[0]) != "part" || len(a.Attachments[1]) != 0 || a.Worker != "w1" {
			t.Errorf("the answer is %q", a)
		}
		if rec.AnswerSize != 11 || len(rec.AnswerSHA256) != 64 {
			t.Errorf("size %d, digest %q", rec.AnswerSize, rec.AnswerSHA256)
		}
		// A large answer is not kept; that there was a call is.
		large := namedCall("large", `"`+strings.Repeat("x", session.MaxAnswerSize)+`"`)
		if err := commitCall(t, st, id, large); err != nil {
			t.Fatal(err)
		}
		if rec := findCall(t, st, id, "large"); rec == nil || rec.Answer != nil || rec.AnswerSize != session.MaxAnswerSize+2+4 {
			t.Errorf("of a large answer: %+v", rec)
		}
		largest := namedCall("largest", `"`+strings.Repeat("x", session.MaxAnswerSize-6)+`"`)
		if err := commitCall(t, st, id, largest); err != nil {
			t.Fatal(err)
		}
		if rec := findCall(t, st, id, "largest"); rec == nil || rec.Answer == nil {
			t.Error("an answer of 64 KiB is not kept")
		}
	})
}

func TestCallIDsAreChecked(t *testing.T) {
	st := open(t, nil, nil)
	create(t, st, "s", nil)
	for _, id := range []string{"", strings.Repeat("x", session.MaxCallIDSize+1), "a\x00b", "\xff"} {
		if err := commitCall(t, st, "s", namedCall(id, "1")); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("%q: %v", id, err)
		}
		if err := commitCall(t, st, "", namedCall(id, "1")); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("%q without a session: %v", id, err)
		}
	}
	if _, _, err := st.FindCall(t.Context(), "none", "a"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a call of no session: %v", err)
	}
	if _, err := st.CloseCall(t.Context(), "none", "a"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("closing a call of no session: %v", err)
	}
}

func TestCloseCall(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func(*session.Options) *session.Store, id string) {
		st := open(nil)
		rec := must[*session.CallRecord](t)(st.CloseCall(t.Context(), id, "a"))
		if rec == nil || !rec.Closed || rec.Answer != nil {
			t.Fatalf("closed: %+v", rec)
		}
		if err := commitCall(t, st, id, namedCall("a", "1")); !errors.Is(err, session.ErrAlreadyCommitted) {
			t.Errorf("a commit after its id was closed: %v", err)
		}
		if rec := must[*session.CallRecord](t)(st.CloseCall(t.Context(), id, "a")); !rec.Closed {
			t.Error("closed twice, it is open")
		}
		if err := commitCall(t, st, id, namedCall("b", "1")); err != nil {
			t.Fatal(err)
		}
		if rec := must[*session.CallRecord](t)(st.CloseCall(t.Context(), id, "b")); rec.Closed || string(rec.Answer.Value) != "1" {
			t.Errorf("closing what was committed gave %+v", rec)
		}
	})
}

// TestOneOfManyCommitsOfAnID: all come at once, closings among them.
func TestOneOfManyCommitsOfAnID(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func(*session.Options) *session.Store, id string) {
		st := open(nil)
		for round := range 50 {
			callID := fmt.Sprint("call", round)
			var mu sync.Mutex
			made := 0
			var all sync.WaitGroup
			for n := range 8 {
				all.Go(func() {
					if n == 7 {
						if _, err := st.CloseCall(t.Context(), id, callID); err != nil {
							t.Error(err)
						}
						return
					}
					err := commitCall(t, st, id, namedCall(callID, fmt.Sprint(n)))
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						made++
					} else if !errors.Is(err, session.ErrAlreadyCommitted) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			rec := findCall(t, st, id, callID)
			if rec.Closed && made != 0 || !rec.Closed && made != 1 {
				t.Fatalf("%d commits were made, and the record says closed: %t", made, rec.Closed)
			}
		}
	})
}

func TestCallsAreKeptForTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := memstore.New()
		st := open(t, drv, &session.Options{DefaultTTL: 1000 * time.Hour, SweepInterval: 30 * time.Minute})
		s := create(t, st, "s", nil)
		deadline := s.Deadline()
		for _, id := range []string{"s", ""} {
			if err := commitCall(t, st, id, namedCall("a", "1")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(23 * time.Hour)
		for _, id := range []string{"s", ""} {
			if findCall(t, st, id, "a") == nil {
				t.Error("forgotten before its time")
			}
			if err := commitCall(t, st, id, namedCall("b", "1")); err != nil {
				t.Fatal(err)
			}
		}
		deadline = deadline.Add(23 * time.Hour)
		time.Sleep(2 * time.Hour) // and sweeps
		for _, id := range []string{"s", ""} {
			if rec := findCall(t, st, id, "a"); rec != nil {
				t.Errorf("session %q: kept beyond its time: %+v", id, rec)
			}
			if findCall(t, st, id, "b") == nil {
				t.Error("the newer one was forgotten, too")
			}
			var kept *session.Session
			if id != "" {
				kept, _, _ = st.FindCall(t.Context(), id, "b")
			}
			since, complete, err := st.CallsKeptSince(t.Context(), kept, "b")
			if err != nil || !complete || time.Since(since) != 24*time.Hour {
				t.Errorf("kept since %v, complete %t, %v", since, complete, err)
			}
		}
		// Forgetting is no use of the session.
		if now := must[*session.Session](t)(st.Peek(t.Context(), "s")); !now.Deadline().Equal(deadline) {
			t.Errorf("the sweeper moved the deadline from %v to %v", deadline, now.Deadline())
		}
		if err := commitCall(t, st, "s", namedCall("a", "2")); err != nil {
			t.Errorf("an id that was forgotten: %v", err)
		}
		time.Sleep(2000 * time.Hour)
		if left := items(t, drv); len(left) != 0 {
			t.Errorf("left when all has expired: %v", left)
		}
		if left := must[int](t)(drv.Count(t.Context())); left != 0 {
			t.Errorf("%d records are left", left)
		}
	})
}

// TestCallsMakeRoom: answers go before ids, the oldest first, and what was lost
// is told.
func TestCallsMakeRoom(t *testing.T) {
	eachPlace(t, func(t *testing.T, open func(*session.Options) *session.Store, id string) {
		st := open(&session.Options{MaxCallBytes: 16 << 10})
		answer := `"` + strings.Repeat("x", 1500) + `"`
		find := func(n int) *session.CallRecord { return findCall(t, st, id, fmt.Sprint(n*16)) } // of one keeper, or not
		since := func(n int) (time.Time, bool) {
			var s *session.Session
			if id != "" {
				s = must[*session.Session](t)(st.Peek(t.Context(), id))
			}
			since, complete, err := st.CallsKeptSince(t.Context(), s, fmt.Sprint(n))
			if err != nil {
				t.Fatal(err)
			}
			return since, complete
		}
		const calls = 400
		var keepers []int
		for n := range calls {
			if err := commitCall(t, st, id, namedCall(fmt.Sprint(n*16), answer)); err != nil {
				t.Fatal(err)
			}
			if rec := find(n); rec.Answer == nil {
				t.Fatalf("the newest answer, %d, is not kept", n)
			}
			keepers = append(keepers, n)
		}
		bare, lost := 0, 0
		for _, n := range keepers {
			switch rec := find(n); {
			case rec == nil:
				lost++
				if since, complete := since(n * 16); complete || time.Since(since) > time.Minute {
					t.Errorf("call %d was lost, and all since %v is said to be kept: %t", n, since, complete)
				}
			case rec.Answer == nil:
				bare++
			}
		}
		if bare == 0 {
			t.Error("no answer made room")
		}
		if id != "" && lost == 0 {
			t.Errorf("all of %d calls are kept within 16 KiB", calls)
		}
	})
}

func TestCallsStayWithinTheirBound(t *testing.T) {
	drv := memstore.New()
	const bound = 16 << 10
	st := open(t, drv, &session.Options{MaxCallBytes: bound})
	create(t, st, "s", nil)
	for n := range 1000 {
		if err := commitCall(t, st, "s", namedCall(fmt.Sprint(n), `"`+strings.Repeat("x", n*7%6000)+`"`)); err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, info := range items(t, drv) {
			size += len(info.Key) + info.Size
		}
		if size > bound {
			t.Fatalf("%d bytes after %d calls", size, n)
		}
	}
}

// TestSpaceOfAnID holds docs/api.md to what it says: 11,000 ids in 4 MiB.
func TestSpaceOfAnID(t *testing.T) {
	const part = 100 // of both
	st := open(t, memstore.New(), &session.Options{MaxCallBytes: 4 << 20 / part})
	create(t, st, "s", nil)
	for n := range 11_000 / part {
		if err := commitCall(t, st, "s", namedCall(fmt.Sprint(n), `"an answer, which makes room before ids do"`)); err != nil {
			t.Fatal(err)
		}
	}
	if findCall(t, st, "s", "0") == nil {
		t.Error("the first id had to make room")
	}
}

func TestCallsGoWithTheirSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := memstore.New()
		st := open(t, drv, &session.Options{SweepInterval: time.Minute})
		for name, end := range map[string]func(){
			"deleted":  func() { must[bool](t)(st.Delete(t.Context(), "s")) },
			"expired":  func() { time.Sleep(2 * time.Hour) },
			"replaced": func() { time.Sleep(66*time.Minute + time.Second) }, // expired, and most likely not swept
		} {
			create(t, st, "s", nil)
			if err := commitCall(t, st, "s", namedCall("a", "1")); err != nil {
				t.Fatal(err)
			}
			end()
			if name == "replaced" {
				if must[int](t)(drv.Count(t.Context())) != 1 {
					t.Fatal("it was swept before it could be replaced")
				}
			} else if len(items(t, drv)) != 0 {
				t.Errorf("%s: %v is left", name, items(t, drv))
			}
			create(t, st, "s", nil)
			if rec := findCall(t, st, "s", "a"); rec != nil {
				t.Errorf("%s: a new session knows the calls of the one before: %+v", name, rec)
			}
			if n := len(items(t, drv)); n != 0 {
				t.Errorf("%s: %d items are left", name, n)
			}
			if err := commitCall(t, st, "s", namedCall("a", "1")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			must[bool](t)(st.Delete(t.Context(), "s"))
		}
		// What was left by a batch that could not name all is swept.
		create(t, st, "s", nil)
		if err := commitCall(t, st, "s", namedCall("a", "1")); err != nil {
			t.Fatal(err)
		}
		left := items(t, drv)
		if _, err := drv.Apply(t.Context(), "s", &driver.Batch{Delete: true}); err != nil {
			t.Fatal(err)
		}
		create(t, st, "s", nil)
		if err := commitCall(t, st, "s", namedCall("b", "1")); err != nil {
			t.Fatal(err)
		}
		result := must[session.SweepResult](t)(st.Sweep(t.Context()))
		if result.Items != len(left) || findCall(t, st, "s", "b") == nil {
			t.Errorf("swept %d items of %d, and the new session's call is %v", result.Items, len(left), findCall(t, st, "s", "b"))
		}
	})
}

// TestKeepersAreNoSessions: what keeps calls without a session counts nowhere.
func TestKeepersAreNoSessions(t *testing.T) {
	eachCounting(t, func(t *testing.T, drv func() driver.Store) {
		seen := make(chan string, 100)
		note := func(id, _ string) { seen <- id }
		st := open(t, drv(), &session.Options{MaxSessions: 2, Observer: session.Observer{Created: note, Deleted: note, Expired: note}})
		for n := range 100 {
			if err := commitCall(t, st, "", namedCall(fmt.Sprint(n), "1")); err != nil {
				t.Fatal(err)
			}
		}
		create(t, st, "a", nil)
		create(t, st, "b", nil)
		if _, _, err := st.Create(t.Context(), "c", nil); !errors.Is(err, session.ErrQuotaExceeded) {
			t.Errorf("a third session: %v", err)
		}
		page := must[session.Page](t)(st.List(t.Context(), session.ListOptions{}))
		if len(page.Sessions) != 2 || page.Sessions[0].ID() != "a" {
			t.Errorf("listed %d sessions", len(page.Sessions))
		}
		stats := must[session.Stats](t)(st.Stats(t.Context()))
		if stats.Sessions != 2 || stats.Created != 2 || must[int](t)(st.Count(t.Context(), session.ListOptions{})) != 2 {
			t.Errorf("stats are %+v", stats)
		}
		if result := must[session.SweepResult](t)(st.Sweep(t.Context())); result.Live != 2 || result.Items != 0 {
			t.Errorf("a sweep has seen %+v", result)
		}
		if len(seen) != 2 {
			t.Errorf("%d sessions were reported", len(seen))
		}
		if _, err := st.Get(t.Context(), "\x00calls/00"); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("a keeper as a session: %v", err)
		}
	})
}

// TestUnknownCommitOfACall: the record of the call tells, also when the session
// has been written too often since for its last 16 writes to tell.
func TestUnknownCommitOfACall(t *testing.T) {
	for _, made := range []bool{true, false} {
		t.Run(fmt.Sprint(made), func(t *testing.T) {
			drv := newFaulty()
			st := open(t, drv, nil)
			s := create(t, st, "s", nil)
			drv.onApply(func(next applyFunc, ctx context.Context, id string, b *driver.Batch) (driver.Revision, error) {
				drv.onApply(nil)
				if made {
					if _, err := next(ctx, id, b); err != nil {
						t.Error(err)
					}
				}
				for n := range 40 {
					must[*session.Session](t)(st.Patch(t.Context(), "s", session.Patch{Set: vars("n", fmt.Sprint(n))}))
				}
				return 0, driver.ErrUnknown
			})
			after, err := st.Commit(t.Context(), "s", session.Commit{Fence: s.Fence(), Call: namedCall("a", "1"), Set: vars("a", "1")})
			if err != nil {
				t.Fatal(err)
			}
			wantVars(t, after, map[bool]string{true: `{"a":1,"n":39}`, false: `{"n":39,"a":1}`}[made])
			if after.StateVersion() != 42 {
				t.Errorf("state version %d after 41 changes", after.StateVersion())
			}
		})
	}
}
