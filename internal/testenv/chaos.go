package testenv

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Chaos gives a kill test its length and its random numbers. A test that uses it is called TestChaos…, which is how make
// chaos finds it. Without SNAKEPIT_CHAOS (a duration) it runs for the short time given, as part of the normal tests.
// The seed is logged, and SNAKEPIT_SEED repeats it: the same faults in the same order, as far as the scheduler allows.
func Chaos(t testing.TB, short time.Duration) (length time.Duration, random *rand.Rand) {
	t.Helper()
	length = short
	if text := os.Getenv("SNAKEPIT_CHAOS"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil || length <= 0 {
			t.Fatalf("SNAKEPIT_CHAOS=%s is not a duration such as 20m", text)
		}
	}
	seed := rand.Uint64()
	if text := os.Getenv("SNAKEPIT_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SNAKEPIT_SEED=%s is not a number", text)
		}
	}
	t.Logf("%v of faults; repeat with SNAKEPIT_SEED=%d", length, seed)
	return length, rand.New(rand.NewPCG(seed, 0))
}
