// Package drivertest is the conformance suite of session/driver: what a driver
// must do, written as tests that anyone who writes one can run.
//
//	func TestDriver(t *testing.T) {
//		drivertest.Run(t, drivertest.Harness{
//			Open: func(t testing.TB) driver.Store {
//				s, err := mystore.Open(t.TempDir())
//				if err != nil {
//					t.Fatal(err)
//				}
//				return s
//			},
//		})
//	}
//
// Run checks the contract point by point (contract.go, items.go, errors and
// limits in capability.go), under concurrency (concurrency.go, pages.go),
// over reopening (durability.go), and by random histories, both of driver
// calls (random.go) and of calls to session.Store above the driver
// (facade.go), each compared with a trivial model. A failed history prints the
// seed that replays it. Compare plays the same histories on two drivers, and
// Bench measures one.
//
// The package is for tests; nothing else may import it. It knows no driver.
package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Harness is how the suite gets at a driver.
type Harness struct {
	// Open returns a new store without content. The suite closes it.
	Open func(t testing.TB) driver.Store

	// Reopen opens again the store that was closed, with its content. It is
	// nil if the driver keeps nothing.
	Reopen func(t testing.TB, closed driver.Store) driver.Store
}

// Run runs the whole suite. Every part gets stores of its own.
func Run(t *testing.T, h Harness) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"Contract", testContract},
		{"Items", testItems},
		{"Invalid", testInvalid},
		{"Capabilities", testCapabilities},
		{"Limits", testLimits},
		{"Concurrency", testConcurrency},
		{"Pages", testPages},
		{"Cancellation", testCancellation},
		{"Durability", testDurability},
		{"Closed", testClosed},
		{"Leaks", testLeaks},
		{"RandomHistory", testRandomHistory},
		{"RandomSessions", testRandomSessions},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, h) })
	}
}

// open returns a store that is closed when the test ends.
func open(t testing.TB, h Harness) driver.Store {
	t.Helper()
	s := h.Open(t)
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

// closeStore closes a store that the test may have closed already.
func closeStore(t testing.TB, s driver.Store) {
	t.Helper()
	if err := s.Close(); err != nil && !errors.Is(err, driver.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
}

// apply makes a batch that must succeed.
func apply(t testing.TB, s driver.Store, id string, b driver.Batch) driver.Revision {
	t.Helper()
	revision, err := s.Apply(t.Context(), id, &b)
	if err != nil {
		t.Fatalf("Apply(%q, %s): %v", id, describe(&b), err)
	}
	switch {
	case b.Head != nil && revision == 0:
		t.Fatalf("Apply(%q, %s): no revision for a stored record", id, describe(&b))
	case b.Head == nil && revision != 0:
		t.Fatalf("Apply(%q, %s): revision %d although no record was stored", id, describe(&b), revision)
	}
	return revision
}

// create stores a record that must not exist yet.
func create(t testing.TB, s driver.Store, id, head, body string) driver.Revision {
	t.Helper()
	return apply(t, s, id, driver.Batch{If: driver.IfAbsent, Head: []byte(head), Body: []byte(body), Op: opID()})
}

// refused makes a batch that must fail with the given error and change nothing.
func refused(t testing.TB, s driver.Store, id string, b driver.Batch, want error) {
	t.Helper()
	before, beforeErr := s.Get(t.Context(), id, driver.Read{})
	revision, err := s.Apply(t.Context(), id, &b)
	if !errors.Is(err, want) {
		t.Errorf("Apply(%q, %s): error %v, want %v", id, describe(&b), err, want)
	}
	if err != nil && revision != 0 {
		t.Errorf("Apply(%q, %s): revision %d together with error %v", id, describe(&b), revision, err)
	}
	after, afterErr := s.Get(t.Context(), id, driver.Read{})
	if class(beforeErr) != class(afterErr) {
		t.Fatalf("refused batch changed the record: Get gave %v before, %v after", beforeErr, afterErr)
	}
	if beforeErr == nil && (before.Revision != after.Revision || string(before.Head) != string(after.Head) || string(before.Body) != string(after.Body)) {
		t.Errorf("refused batch changed the record: %s before, %s after", show(before), show(after))
	}
}

// expect checks what Get returns.
func expect(t testing.TB, s driver.Store, id string, revision driver.Revision, head, body string) {
	t.Helper()
	r, err := s.Get(t.Context(), id, driver.Read{})
	if err != nil {
		t.Fatalf("Get(%q): %v", id, err)
	}
	if r.ID != id || r.Revision != revision || string(r.Head) != head || string(r.Body) != body {
		t.Errorf("Get(%q) = %s, want revision %d, head %.40q, body %.40q", id, show(r), revision, head, body)
	}
}

func expectAbsent(t testing.TB, s driver.Store, id string) {
	t.Helper()
	if r, err := s.Get(t.Context(), id, driver.Read{}); !errors.Is(err, driver.ErrNotFound) || r != nil {
		t.Errorf("Get(%q) = %s, %v; want no record and %v", id, show(r), err, driver.ErrNotFound)
	}
}

func show(r *driver.Record) string {
	if r == nil {
		return "no record"
	}
	return fmt.Sprintf("%q at revision %d, head %.40q, body %.40q", r.ID, r.Revision, r.Head, r.Body)
}

func describe(b *driver.Batch) string {
	condition := [...]string{"any", "absent", "revision"}
	text := fmt.Sprintf("if %d", b.If)
	if int(b.If) < len(condition) {
		text = "if " + condition[b.If]
	}
	if b.If == driver.IfRevision {
		text += fmt.Sprintf(" %d", b.Revision)
	}
	if b.Head != nil {
		text += fmt.Sprintf(", head %.20q", b.Head)
	}
	if b.Body != nil {
		text += fmt.Sprintf(", body %.20q", b.Body)
	}
	if b.Delete {
		text += ", delete"
	}
	for _, item := range b.Put {
		text += fmt.Sprintf(", put %q", item.Key)
	}
	for _, key := range b.Drop {
		text += fmt.Sprintf(", drop %q", key)
	}
	for _, key := range b.Absent {
		text += fmt.Sprintf(", without %q", key)
	}
	return text
}

// class is the sentinel an error stands for, as text; "" for nil.
func class(err error) string {
	if err == nil {
		return ""
	}
	for _, sentinel := range []error{
		driver.ErrNotFound, driver.ErrExists, driver.ErrConflict, driver.ErrItemExists, driver.ErrUnavailable, driver.ErrUnknown,
		driver.ErrUnsupported, driver.ErrTooLarge, driver.ErrInvalid, driver.ErrCorrupt, driver.ErrLocked,
		driver.ErrClosed, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	return "no error of the contract: " + err.Error()
}
