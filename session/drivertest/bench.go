package drivertest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
)

// What the benchmarks store: sessions of about 200 bytes, programs of 1 MiB.
const (
	benchSessions = 10_000
	benchHead     = 80
	benchBody     = 120
	benchProgram  = 1 << 20
)

// Bench measures a driver: reads, compare-and-set updates by 1 and by 64
// callers, creates, pages of 100, and programs in chunks as large as the
// driver allows.
func Bench(b *testing.B, h Harness) {
	b.Run("Get", func(b *testing.B) {
		s := benchStore(b, h)
		parallel(b, 64, func(r *rand.Rand, _ int) error {
			_, err := s.Get(b.Context(), benchID(r.IntN(benchSessions)), driver.Read{})
			return err
		})
	})
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("Update/callers=%d", callers), func(b *testing.B) {
			s := benchStore(b, h)
			head, body := pattern(benchHead), pattern(benchBody)
			parallel(b, callers, func(r *rand.Rand, caller int) error {
				// Callers have sessions of their own: what is measured is the
				// driver, not their conflicts.
				id := benchID(r.IntN(benchSessions/callers)*callers + caller)
				old, err := s.Get(b.Context(), id, driver.Read{})
				if err != nil {
					return err
				}
				_, err = s.Apply(b.Context(), id, &driver.Batch{If: driver.IfRevision, Revision: old.Revision, Head: head, Body: body})
				return err
			})
		})
	}
	b.Run("Create", func(b *testing.B) {
		s := open(b, h)
		head, body := pattern(benchHead), pattern(benchBody)
		parallel(b, 64, func(r *rand.Rand, _ int) error {
			_, err := s.Apply(b.Context(), fmt.Sprintf("%016x", r.Uint64()), &driver.Batch{If: driver.IfAbsent, Head: head, Body: body})
			return err
		})
	})
	b.Run("List", func(b *testing.B) {
		s := benchStore(b, h)
		b.ReportAllocs()
		after := ""
		for b.Loop() {
			page, err := s.List(b.Context(), "", after, 100)
			if err != nil {
				b.Fatal(err)
			}
			after = ""
			if len(page) > 0 {
				after = page[len(page)-1].ID
			}
		}
	})
	b.Run("ProgramPut", func(b *testing.B) {
		s := open(b, h)
		b.SetBytes(benchProgram)
		for n := 0; b.Loop(); n++ {
			benchPutProgram(b, s, n%8)
		}
	})
	b.Run("ProgramGet", func(b *testing.B) {
		s := open(b, h)
		keys := benchPutProgram(b, s, 0)
		b.SetBytes(benchProgram)
		for b.Loop() {
			for _, key := range keys {
				if _, err := s.Item(b.Context(), "program", key); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func benchID(n int) string { return fmt.Sprintf("session-%06d", n) }

// benchStore returns a store with sessions.
func benchStore(b *testing.B, h Harness) driver.Store {
	b.Helper()
	s := open(b, h)
	head, body := pattern(benchHead), pattern(benchBody)
	var creators sync.WaitGroup
	for c := range 64 {
		creators.Go(func() {
			for n := c; n < benchSessions; n += 64 {
				if _, err := s.Apply(b.Context(), benchID(n), &driver.Batch{If: driver.IfAbsent, Head: head, Body: body}); err != nil {
					b.Errorf("create: %v", err)
					return
				}
			}
		})
	}
	creators.Wait()
	return s
}

// benchPutProgram stores one program, a batch a chunk, and returns its keys.
func benchPutProgram(b *testing.B, s driver.Store, n int) []string {
	chunk := pattern(min(benchProgram, driver.Describe(s).Limits.Item))
	var keys []string
	for at := 0; at < benchProgram; at += len(chunk) {
		key := fmt.Sprintf("p/%d/%06d", n, len(keys))
		if _, err := s.Apply(b.Context(), "program", &driver.Batch{Put: []driver.Item{{Key: key, Data: chunk}}}); err != nil {
			b.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// parallel runs op b.N times in all from a number of callers.
func parallel(b *testing.B, callers int, op func(r *rand.Rand, caller int) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for c := range callers {
		share := b.N / callers
		if c < b.N%callers {
			share++
		}
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), 1))
			for range share {
				if err := op(r, c); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
