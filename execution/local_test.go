package execution_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// localTools are tools that keep objects in the worker, or not, and say so, or
// not.
func (h *house) localTools() []workertest.Tool {
	uses, never := true, false
	keep := func(inv *workertest.Invocation) (any, error) {
		n, _ := inv.Local()["kept"].(int)
		inv.Local()["kept"] = n + 1
		return n, nil
	}
	sometimes := func(inv *workertest.Invocation) (any, error) {
		var args struct{ Text string }
		if err := inv.Args(&args); err != nil {
			return nil, err
		}
		if args.Text == "keep" {
			return keep(inv)
		}
		return nil, nil
	}
	return []workertest.Tool{
		{Tool: worker.Tool{Name: "keeps", Session: true}, Run: keep},
		{Tool: worker.Tool{Name: "sometimes", Session: true}, Run: sometimes},
		{Tool: worker.Tool{Name: "always", Session: true, Local: &uses}, Run: sometimes},
		{Tool: worker.Tool{Name: "never", Session: true, Local: &never}, Run: h.note},
		{Tool: worker.Tool{Name: "without"}, Run: h.note},
	}
}

// TestLocalObjectsHoldUpOnlyWhoUsesThem: two sessions keep objects in the same
// worker. While one of them runs there, tools that do not use such objects run
// for the other one on the idle worker, and the objects stay.
func TestLocalObjectsHoldUpOnlyWhoUsesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 2, nil)
		defer h.close(t)
		home := h.do(t, "s", "keeps", "").Worker
		other := ""
		for _, id := range []string{"a", "b", "c", "d"} {
			if h.do(t, id, "keeps", "").Worker == home {
				other = id
				break
			}
		}
		if other == "" {
			t.Fatal("no second session landed on the worker")
		}
		// during runs a call of s while the other session has the worker, and
		// says where it ran and how long it took.
		during := func(tool, text string) (string, time.Duration) {
			t.Helper()
			var busy sync.WaitGroup
			busy.Go(func() { h.do(t, other, "wait", "1s") })
			synctest.Wait()
			began := time.Now()
			ran := h.do(t, "s", tool, text).Worker
			took := time.Since(began)
			busy.Wait()
			return ran, took
		}
		waits := func(tool, text string) {
			t.Helper()
			if ran, took := during(tool, text); ran != home || took == 0 {
				t.Errorf("%s %q ran on %s after %v, want %s, once it is free", tool, text, ran, took, home)
			}
		}
		goes := func(tool, text string) {
			t.Helper()
			if ran, took := during(tool, text); ran == home || took != 0 {
				t.Errorf("%s %q ran on %s after %v, want the idle worker at once", tool, text, ran, took)
			}
		}

		waits("keeps", "")
		goes("never", "x")
		goes("without", "y")
		waits("always", "")
		waits("always", "") // also after calls that used nothing
		waits("sometimes", "")
		goes("sometimes", "")
		goes("sometimes", "keep") // it had never been seen to
		waits("sometimes", "")

		if got := h.do(t, "s", "keeps", ""); got.Worker != home || string(got.Value) != "2" {
			t.Errorf("the objects: %s on %s, want 2 on %s", got.Value, got.Worker, home)
		}
		if got := h.notes(t, "s"); !slices.Equal(got, []string{"x", "y"}) {
			t.Errorf("written elsewhere and read at home: %q", got)
		}
		h.do(t, "s", "note", "z")
		if got := h.notes(t, "s"); !slices.Equal(got, []string{"x", "y", "z"}) {
			t.Errorf("the worker's own copy was out of date: %q", got)
		}
	})
}
