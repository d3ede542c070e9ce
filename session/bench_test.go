package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/memstore"
)

const (
	benchSessions = 100_000
	benchCallers  = 64
)

// BenchmarkMemoryGet reads random sessions of about 200 bytes.
func BenchmarkMemoryGet(b *testing.B) {
	st, ids := benchStore(b)
	limit := newLimit(ids)
	ratio(b,
		func(r *rand.Rand) error {
			_, err := st.Get(context.Background(), ids[r.IntN(len(ids))])
			return err
		},
		func(r *rand.Rand) error {
			if limit.get(ids[r.IntN(len(ids))]) == nil {
				return session.ErrNotFound
			}
			return nil
		})
}

// BenchmarkMemoryUpdate changes one of five variables of random sessions.
func BenchmarkMemoryUpdate(b *testing.B) {
	st, ids := benchStore(b)
	limit := newLimit(ids)
	ratio(b,
		func(r *rand.Rand) error {
			value := json.RawMessage(fmt.Sprintf(`"value %d"`, r.Uint32()))
			_, err := st.Update(context.Background(), ids[r.IntN(len(ids))], func(d *session.Draft) error {
				return d.SetVarJSON("key2", value)
			})
			return err
		},
		func(r *rand.Rand) error {
			limit.update(ids[r.IntN(len(ids))], "key2", fmt.Sprintf(`"value %d"`, r.Uint32()))
			return nil
		})
}

// ratio runs ours b.N times from 64 callers, and a limit as often in the same
// process, and reports our time over its time. The two take turns, so that what
// else the machine does meets both alike.
func ratio(b *testing.B, ours, limit func(*rand.Rand) error) {
	const turns = 8
	run := func(n int, f func(*rand.Rand) error) time.Duration {
		start := time.Now()
		var callers sync.WaitGroup
		for c := range benchCallers {
			share := n / benchCallers
			if c < n%benchCallers {
				share++
			}
			callers.Go(func() {
				r := rand.New(rand.NewPCG(rand.Uint64(), 7))
				for range share {
					if err := f(r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		callers.Wait()
		return time.Since(start)
	}
	b.ReportAllocs()
	runtime.GC()
	b.ResetTimer()
	var took, best time.Duration
	for turn := range turns {
		n := b.N*(turn+1)/turns - b.N*turn/turns
		b.StopTimer()
		best += run(n, limit)
		b.StartTimer()
		took += run(n, ours)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/took.Seconds(), "ops/s")
	b.ReportMetric(float64(b.N)/best.Seconds(), "limit-ops/s")
	b.ReportMetric(float64(took)/float64(best), "x-limit")
}

func benchVars() map[string]json.RawMessage {
	vars := make(map[string]json.RawMessage)
	for k := range 5 {
		vars[fmt.Sprintf("key%d", k)] = json.RawMessage(fmt.Sprintf(`"a value of some bytes %d"`, k))
	}
	return vars
}

func benchStore(b *testing.B) (*session.Store, []string) {
	st, err := session.New(memstore.New(), &session.Options{MaxSessions: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	ids := make([]string, benchSessions)
	for i := range ids {
		ids[i] = fmt.Sprintf("session-%08d", i)
		if _, _, err := st.Create(b.Context(), ids[i], &session.CreateOptions{Vars: benchVars()}); err != nil {
			b.Fatal(err)
		}
	}
	return st, ids
}

// limitStore is a bare concurrent map that does the same as far as a map can:
// it has a time to live, immutable values, and copies what it changes.
type limitStore struct {
	seed   maphash.Seed
	shards [256]struct {
		mu      sync.RWMutex
		entries map[string]*limitEntry
		_       [64]byte
	}
}

type limitEntry struct {
	vars     map[string]string
	deadline int64
	version  uint64
}

func newLimit(ids []string) *limitStore {
	l := &limitStore{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].entries = make(map[string]*limitEntry)
	}
	for _, id := range ids {
		e := &limitEntry{vars: make(map[string]string), deadline: time.Now().Add(time.Hour).UnixMilli()}
		for key, value := range benchVars() {
			e.vars[key] = string(value)
		}
		l.shards[l.shard(id)].entries[id] = e
	}
	return l
}

func (l *limitStore) shard(id string) uint64 {
	return maphash.String(l.seed, id) % uint64(len(l.shards))
}

func (l *limitStore) get(id string) *limitEntry {
	s := &l.shards[l.shard(id)]
	s.mu.RLock()
	e := s.entries[id]
	s.mu.RUnlock()
	if e == nil || e.deadline < time.Now().UnixMilli() {
		return nil
	}
	return e
}

func (l *limitStore) update(id, key, value string) {
	s := &l.shards[l.shard(id)]
	for {
		old := l.get(id)
		e := &limitEntry{vars: maps.Clone(old.vars), deadline: time.Now().Add(time.Hour).UnixMilli(), version: old.version + 1}
		e.vars[key] = value
		s.mu.Lock()
		won := s.entries[id] == old
		if won {
			s.entries[id] = e
		}
		s.mu.Unlock()
		if won {
			return
		}
	}
}
