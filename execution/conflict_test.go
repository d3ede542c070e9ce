package execution_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// While a call runs, another write sets the variable that the call read before.
// Slownote takes a second from reading notes to writing them.
func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		policy worker.OnConflict
		writes int // of others, one in each attempt
		notes  []string
		failed bool
	}{
		{worker.Ignore, 1, []string{"call"}, false},
		{"", 1, []string{"call"}, false},
		{worker.Fail, 1, []string{"other"}, true},
		{worker.Fail, 0, []string{"call"}, false},
		{worker.Retry, 1, []string{"other", "call"}, false},
		{worker.Retry, 5, []string{"other", "call"}, false},
		{worker.Retry, 6, []string{"other"}, true},
	} {
		t.Run(string(c.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				h := open(t, 2, func(o *execution.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
				defer h.close(t)
				if _, _, err := h.sessions.Create(t.Context(), "s", nil); err != nil {
					t.Fatal(err)
				}
				go func() {
					for n := range c.writes {
						time.Sleep(500 * time.Millisecond)
						other := fmt.Appendf(nil, `["other %d"]`, n)
						if n == c.writes-1 {
							other = []byte(`["other"]`)
						}
						if _, err := h.sessions.Patch(t.Context(), "s", session.Patch{Set: map[string]json.RawMessage{"notes": other}}); err != nil {
							t.Error(err)
						}
						time.Sleep(500 * time.Millisecond)
					}
				}()
				req := h.request("s", "slownote", "call")
				req.OnConflict = c.policy
				res, err := h.Execute(t.Context(), req)
				var conflict *session.StateConflictError
				var uncommitted *execution.StateNotCommittedError
				switch {
				case c.failed:
					if !errors.As(err, &conflict) || !slices.Equal(conflict.Keys, []string{"notes"}) || !errors.As(err, &uncommitted) || !uncommitted.Executed {
						t.Errorf("error %v", err)
					}
				case err != nil:
					t.Error(err)
				case c.writes > 0 && c.policy != worker.Retry:
					if !slices.Equal(res.Overwritten, []string{"notes"}) || !strings.Contains(log.String(), "variables=[notes]") {
						t.Errorf("overwritten %q, log %s", res.Overwritten, &log)
					}
				case len(res.Overwritten) > 0 || log.Len() > 0:
					t.Errorf("overwritten %q, log %s", res.Overwritten, &log)
				}
				if got := h.notes(t, "s"); !slices.Equal(got, c.notes) {
					t.Errorf("notes %q, want %q", got, c.notes)
				}
				// Whatever happened, the worker's copy is not relied on wrongly.
				h.do(t, "s", "note", "after")
				if got := h.notes(t, "s"); !slices.Equal(got, append(c.notes, "after")) {
					t.Errorf("then notes %q", got)
				}
			})
		})
	}
}

// A stream that has delivered a chunk is not run again: its caller would get
// the chunk twice.
func TestConflictAfterAChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 1, nil)
		defer h.close(t)
		if _, _, err := h.sessions.Create(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
		req := h.request("s", "streamnote", "call")
		req.OnConflict = worker.Retry
		chunks := 0
		req.Call.OnChunk = func(worker.Chunk) error {
			chunks++
			_, err := h.sessions.Patch(t.Context(), "s", session.Patch{Set: map[string]json.RawMessage{"notes": json.RawMessage(`["other"]`)}})
			return err
		}
		if _, err := h.Execute(t.Context(), req); !errors.Is(err, session.ErrStateConflict) || chunks != 1 {
			t.Errorf("after %d chunks: %v", chunks, err)
		}
	})
}

// Whose answer was lost learns of what the call overwrote from the repetition.
func TestARepetitionTellsWhatWasOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 1, nil)
		defer h.close(t)
		if _, _, err := h.sessions.Create(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(500 * time.Millisecond)
			if _, err := h.sessions.Patch(t.Context(), "s", session.Patch{Set: map[string]json.RawMessage{"notes": json.RawMessage(`["other"]`)}}); err != nil {
				t.Error(err)
			}
		}()
		for _, repeated := range []bool{false, true} {
			res, err := h.Execute(t.Context(), h.named("a", "s", "slownote", "call"))
			if err != nil || res.Repeated != repeated || !slices.Equal(res.Overwritten, []string{"notes"}) {
				t.Fatalf("%+v, %v", res, err)
			}
		}
		status, err := h.CallStatus(t.Context(), "s", "a")
		if err != nil || status.Answer == nil || !slices.Equal(status.Answer.Overwritten, []string{"notes"}) {
			t.Errorf("%+v, %v", status, err)
		}
	})
}
