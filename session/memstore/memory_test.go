package memstore_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// TestSameRecord checks that readers share one record until it changes, and
// that a prepared one is taken over.
func TestSameRecord(t *testing.T) {
	s := memstore.New()
	get := func() *driver.Record {
		t.Helper()
		r, err := s.Get(t.Context(), "s", driver.Read{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	prepared := &driver.Record{ID: "s", Head: []byte("h"), Body: []byte("b")}
	revision, err := s.Apply(t.Context(), "s", &driver.Batch{Head: prepared.Head, Body: prepared.Body, Record: prepared})
	if err != nil {
		t.Fatal(err)
	}
	if get() != prepared || prepared.Revision != revision {
		t.Error("the prepared record was not taken over")
	}
	if _, err := s.Apply(t.Context(), "s", &driver.Batch{Put: []driver.Item{{Key: "k"}}}); err != nil {
		t.Fatal(err)
	}
	if get() != prepared {
		t.Error("another record although only an item changed")
	}
	if _, err := s.Apply(t.Context(), "s", &driver.Batch{If: driver.IfRevision, Revision: revision, Head: []byte("h")}); err != nil {
		t.Fatal(err)
	}
	if get() == prepared || prepared.Revision != revision {
		t.Error("the record changed in place")
	}
}

// TestCloseIsNoDelete closes the store while it is read: what is there is found
// until the store says that it is closed.
func TestCloseIsNoDelete(t *testing.T) {
	const n = 1000
	for range 50 {
		s := memstore.New()
		for i := range n {
			if _, err := s.Apply(t.Context(), fmt.Sprintf("s%06d", i), &driver.Batch{Head: []byte("h"), Body: []byte("b")}); err != nil {
				t.Fatal(err)
			}
		}
		var reader sync.WaitGroup
		reading := make(chan struct{}, 1)
		reader.Go(func() {
			for {
				page, err := s.List(t.Context(), "", "", n)
				if errors.Is(err, driver.ErrClosed) {
					return
				}
				if err != nil || len(page) != n {
					t.Errorf("%d of %d records, %v", len(page), n, err)
					return
				}
				select {
				case reading <- struct{}{}:
				default:
				}
			}
		})
		<-reading
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		reader.Wait()
	}
}

// TestListIsNotEndedByDeletes deletes a stretch of ids longer than the chunk
// in which the index is read, while lists go on: a page must not be empty
// while records follow.
func TestListIsNotEndedByDeletes(t *testing.T) {
	s := memstore.New()
	const n = 2000
	id := func(i int) string { return fmt.Sprintf("s%06d", i) }
	for round := range 10 {
		for i := range n {
			if _, err := s.Apply(t.Context(), id(i), &driver.Batch{Head: []byte("h"), Body: []byte("b")}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Apply(t.Context(), "z", &driver.Batch{Head: []byte("h"), Body: []byte("b")}); err != nil {
			t.Fatal(err)
		}
		var deleter sync.WaitGroup
		deleter.Go(func() {
			for i := range n {
				if _, err := s.Apply(t.Context(), id(i), &driver.Batch{Delete: true}); err != nil {
					t.Error(err)
				}
			}
		})
		last := ""
		for {
			page, err := s.List(t.Context(), "", last, 10)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			last = page[len(page)-1].ID
		}
		deleter.Wait()
		if last != "z" {
			t.Fatalf("round %d: the list ended at %q, before the last record", round, last)
		}
	}
}

// BenchmarkMillion reports what a record costs beside its own bytes.
func BenchmarkMillion(b *testing.B) {
	const records, size = 1_000_000, 200
	for b.Loop() {
		before := heap()
		s := memstore.New()
		for i := range records {
			data := make([]byte, size)
			_, err := s.Apply(b.Context(), fmt.Sprintf("session-%07d", i), &driver.Batch{If: driver.IfAbsent, Head: data[:80:80], Body: data[80:]})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/records-size, "overhead-B/record")
		runtime.KeepAlive(s)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
