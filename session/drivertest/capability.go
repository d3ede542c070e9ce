package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/snakepit-go/snakepit/session/driver"
)

// testCapabilities checks what the driver declares, and that what it does not
// declare fails cleanly.
func testCapabilities(t *testing.T, h Harness) {
	t.Run("read levels", func(t *testing.T) {
		s := open(t, h)
		revision := create(t, s, "s", "head", "body")
		for _, level := range []driver.ReadLevel{driver.ReadYourWrites, driver.Strong, driver.StaleOK} {
			for _, after := range []driver.Revision{0, revision} {
				r, err := s.Get(t.Context(), "s", driver.Read{Level: level, After: after})
				switch {
				case errors.Is(err, driver.ErrUnsupported):
					if level == driver.ReadYourWrites {
						t.Errorf("every driver gives the default level: %v", err)
					}
				case level == driver.StaleOK && after == 0 && errors.Is(err, driver.ErrNotFound):
				case err != nil:
					t.Errorf("Get at level %d after %d: %v", level, after, err)
				case r.Revision != revision || string(r.Head) != "head" || string(r.Body) != "body":
					t.Errorf("Get at level %d after %d: %s", level, after, show(r))
				}
			}
		}
	})
	t.Run("count", func(t *testing.T) {
		s := open(t, h)
		counter, ok := driver.As[driver.Counter](s)
		if !ok {
			t.Skip("the driver does not count")
		}
		check := func(want int) {
			t.Helper()
			if n, err := counter.Count(t.Context()); err != nil || n != want {
				t.Errorf("Count = %d, %v; want %d", n, err, want)
			}
		}
		check(0)
		for i := range 10 {
			create(t, s, fmt.Sprintf("s%d", i), "h", "b")
		}
		check(10)
		apply(t, s, "s0", driver.Batch{Head: []byte("h"), Body: []byte("again")})
		apply(t, s, "s1", driver.Batch{Delete: true})
		apply(t, s, "s1", driver.Batch{Delete: true})
		apply(t, s, "no record", driver.Batch{Put: put("k", "item")})
		refused(t, s, "s2", driver.Batch{If: driver.IfAbsent, Head: []byte("h"), Body: []byte("b")}, driver.ErrExists)
		check(9)
	})
	t.Run("through a wrapper", func(t *testing.T) {
		s := open(t, h)
		if got, want := driver.Describe(wrapper{s}), driver.Describe(s); got != want {
			t.Errorf("Describe through a wrapper: %+v, want %+v", got, want)
		}
	})
}

// wrapper hides everything of a store but the contract.
type wrapper struct{ driver.Store }

func (w wrapper) Unwrap() driver.Store { return w.Store }

// testLimits checks that the declared limits make sense, that what is at a
// limit is stored, and that what is above it is refused whole.
func testLimits(t *testing.T, h Harness) {
	s := open(t, h)
	info := driver.Describe(s)
	l := info.Limits
	t.Run("make sense", func(t *testing.T) {
		for name, bad := range map[string]bool{
			"a driver has a name":                              info.Name == "",
			"a head has at least 4 KiB":                        l.Head < 4<<10,
			"a record has room for head and body":              l.Record < l.Head+4<<10,
			"an item has at least 4 KiB":                       l.Item < 4<<10,
			"a batch holds a record":                           l.Batch < l.Record,
			"a batch holds an item":                            l.Batch < l.Item,
			"a batch has room for several items":               l.BatchItems < 8,
			"limits are below what an int of 32 bits can hold": max(l.Record, l.Item, l.Batch) > 1<<31-1,
		} {
			if bad {
				t.Errorf("%s: %+v", name, info)
			}
		}
	})
	t.Run("record", func(t *testing.T) {
		head, body := pattern(l.Head), pattern(min(l.Record, l.Batch)-l.Head)
		revision := apply(t, s, "big", driver.Batch{If: driver.IfAbsent, Head: head, Body: body, Op: opID()})
		r, err := s.Get(t.Context(), "big", driver.Read{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Revision != revision || !bytes.Equal(r.Head, head) || !bytes.Equal(r.Body, body) {
			t.Errorf("a record of %d bytes changed on its way", len(head)+len(body))
		}
		tooLarge(t, s, driver.Batch{Head: append(head, 0), Body: []byte("b")})
		tooLarge(t, s, driver.Batch{Head: head, Body: append(body, 0)})
	})
	t.Run("item", func(t *testing.T) {
		data := pattern(min(l.Item, l.Batch))
		apply(t, s, "items", driver.Batch{Put: []driver.Item{{Key: "k", Data: data}}})
		got, err := s.Item(t.Context(), "items", "k")
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("an item of %d bytes came back with %d bytes, %v", len(data), len(got), err)
		}
		tooLarge(t, s, driver.Batch{Put: []driver.Item{{Key: "k2", Data: append(data, 0)}}})
	})
	t.Run("batch", func(t *testing.T) {
		many := make([]driver.Item, l.BatchItems)
		for i := range many {
			many[i] = driver.Item{Key: fmt.Sprintf("%08d", i), Data: []byte{byte(i)}}
		}
		apply(t, s, "many", driver.Batch{Put: many})
		for _, i := range []int{0, len(many) / 2, len(many) - 1} {
			expectItem(t, s, "many", many[i].Key, string(many[i].Data))
		}
		tooLarge(t, s, driver.Batch{Put: many, Drop: []string{"other"}})

		var heavy []driver.Item
		chunk := pattern(l.Item)
		for size := 0; size <= l.Batch; size += l.Item {
			heavy = append(heavy, driver.Item{Key: fmt.Sprintf("heavy%d", size), Data: chunk})
		}
		tooLarge(t, s, driver.Batch{Put: heavy})
	})
}

// tooLarge checks that a batch is refused whole.
func tooLarge(t *testing.T, s driver.Store, b driver.Batch) {
	t.Helper()
	if _, err := s.Apply(t.Context(), "too large", &b); !errors.Is(err, driver.ErrTooLarge) {
		t.Errorf("a batch above a limit: error %v, want %v", err, driver.ErrTooLarge)
	}
	expectAbsent(t, s, "too large")
	for _, item := range b.Put[:min(len(b.Put), 1)] {
		expectNoItem(t, s, "too large", item.Key)
	}
}

// pattern returns n bytes that compression does not make small.
func pattern(n int) []byte {
	b := make([]byte, n, n+1)
	x := uint32(n) | 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}
