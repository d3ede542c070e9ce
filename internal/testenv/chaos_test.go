package testenv_test

import (
	"strings"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/internal/testenv"
)

func TestSeedRepeatsTheFaults(t *testing.T) {
	t.Setenv("SNAKEPIT_CHAOS", "")
	t.Setenv("SNAKEPIT_SEED", "42")
	length, a := testenv.Chaos(t, time.Second)
	_, b := testenv.Chaos(t, time.Second)
	if length != time.Second {
		t.Errorf("length = %v, want the short one", length)
	}
	for range 10 {
		if x, y := a.Uint64(), b.Uint64(); x != y {
			t.Fatalf("the same seed gives %d and %d", x, y)
		}
	}
	t.Setenv("SNAKEPIT_SEED", "")
	t.Setenv("SNAKEPIT_CHAOS", "1h")
	length, c := testenv.Chaos(t, time.Second)
	_, d := testenv.Chaos(t, time.Second)
	if length != time.Hour {
		t.Errorf("length = %v, want that of SNAKEPIT_CHAOS", length)
	}
	if c.Uint64() == d.Uint64() {
		t.Error("two runs without a seed have the same faults")
	}
}

func TestWrongChaosSettingsFail(t *testing.T) {
	for name, value := range map[string]string{"SNAKEPIT_CHAOS": "20", "SNAKEPIT_SEED": "x"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if message := failing(t, func(tb testing.TB) { testenv.Chaos(tb, time.Second) }); !strings.Contains(message, name+"="+value) {
				t.Errorf("message %q", message)
			}
		})
	}
}
