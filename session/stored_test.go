package session

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

// A variable that no limit would let in today may be in a session from before:
// it can be read, kept by writes that do not touch it, replaced and removed.
func TestStoredVariableBeyondTheLimits(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	drv := memstore.New()
	now := time.Now().UnixMilli()
	d := &Draft{id: "s", head: head{incarnation: newIncarnation(), created: now, ttl: time.Hour.Milliseconds(), state: 1}}
	d.patchVars(map[string]json.RawMessage{"one": json.RawMessage(deep), "two": json.RawMessage(deep)}, nil)
	batch := &driver.Batch{Op: NewOperation()}
	batch.Head, batch.Body = d.encode(now, batch.Op)
	if _, err := drv.Apply(t.Context(), "s", batch); err != nil {
		t.Fatal(err)
	}
	st, err := New(drv, &Options{SweepInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, step := range []struct {
		patch Patch
		want  string
	}{
		{Patch{SetLabels: map[string]string{"a": "b"}}, `{"one":` + deep + `,"two":` + deep + `}`},
		{Patch{Set: map[string]json.RawMessage{"one": json.RawMessage("1")}}, `{"one":1,"two":` + deep + `}`},
		{Patch{Unset: []string{"two"}}, `{"one":1}`},
	} {
		s, err := st.Patch(t.Context(), "s", step.patch)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(s.Vars()); got != step.want {
			t.Errorf("variables are %.60s, want %.60s", got, step.want)
		}
	}
}
