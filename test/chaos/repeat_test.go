package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/internal/testenv"
)

// TestARepetitionAfterAKill: the answer is lost, the server is killed, and the
// call is sent again to the one that follows.
func TestARepetitionAfterAKill(t *testing.T) {
	c := open(t)
	call := client.Call{Tool: "append", Args: map[string]string{"value": "once"}, Session: "s", ID: "call-1"}
	first, err := c.client.Execute(t.Context(), call) // committed; say that this was lost
	if err != nil {
		t.Fatal(err)
	}
	c.stop(syscall.SIGKILL)
	c.start()
	again, err := c.client.Execute(t.Context(), call)
	if err != nil || !again.Repeated || string(again.Value) != string(first.Value) {
		t.Errorf("after the restart: %+v, %v; the first answer was %s", again, err, first.Value)
	}
	if log := c.log("s"); len(log) != 1 {
		t.Errorf("the session holds %q", log)
	}
}

// TestRepetitionsUnderFire: 24 callers lose half of their answers, others write
// to the same sessions, workers and servers are killed; each call is sent again
// until it is answered, and takes effect once.
func TestRepetitionsUnderFire(t *testing.T) {
	length, random := testenv.Chaos(t, 6*time.Second)
	c := open(t)
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	const callers = 24
	var answered [callers]int
	var sent, repeated atomic.Int64
	var all sync.WaitGroup
	for n := range callers {
		random := rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if c.repeat(n, i, random, &sent, &repeated) {
					answered[n]++
				}
			}
		})
	}
	for n := range sessions {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				// Turns the ring of the session's last writes; whether it succeeds does not
				// matter.
				_, _ = c.client.Patch(ctx, sessionID(n), client.Patch{Set: map[string]json.RawMessage{"other": json.RawMessage(fmt.Sprint(i))}})
			}
		})
	}
	kills := 0
	for kill := true; kill; {
		select {
		case <-time.After(time.Duration(300+random.IntN(700)) * time.Millisecond): // the pace of the faults
		case <-ctx.Done():
			kill = false
			continue
		}
		kills++
		if random.IntN(2) == 0 {
			c.killWorker(ctx, random)
			continue
		}
		c.stop(syscall.SIGKILL)
		c.start()
	}
	all.Wait()

	times := make(map[string]int)
	for n := range sessions {
		for _, value := range c.log(sessionID(n)) {
			times[value]++
		}
	}
	total := 0
	for n := range callers {
		for i := range answered[n] {
			total++
			if value := fmt.Sprintf("c%d-%d", n, i); times[value] != 1 {
				t.Errorf("%s was answered and took effect %d times", value, times[value])
			}
		}
	}
	t.Logf("%d calls, sent %d times, %d repetitions answered from the store, %d kills", total, sent.Load(), repeated.Load(), kills)
	if total == 0 || repeated.Load() == 0 || kills == 0 {
		t.Error("nothing was answered, repeated or killed: this run shows nothing")
	}
}

// repeat makes one call: it loses its answer, or its patience, half of the
// time, and sends it again until it has an answer.
func (c *chaos) repeat(n, i int, random *rand.Rand, sent, repeated *atomic.Int64) bool {
	call := client.Call{
		Tool: "append", Args: map[string]string{"value": fmt.Sprintf("c%d-%d", n, i)},
		Session: sessionID(random.IntN(sessions)), ID: fmt.Sprintf("call-%d-%d", n, i), Timeout: recovery,
	}
	deadline := time.Now().Add(recovery)
	for lose := true; ; lose = false {
		sent.Add(1)
		lose = lose && random.IntN(2) == 0
		ctx, cancel := context.WithCancel(c.t.Context())
		if lose && random.IntN(2) == 0 {
			time.AfterFunc(rand.N(20*time.Millisecond), cancel) // at any moment of the call
		}
		res, err := c.client.Execute(ctx, call)
		cancel()
		switch {
		case err == nil && !lose:
			if res.Repeated {
				repeated.Add(1)
			}
			return true
		case err != nil && time.Now().After(deadline):
			c.t.Errorf("call %s has no answer: %v", call.ID, err)
			return false
		case err != nil && !lose:
			select {
			case <-time.After(10 * time.Millisecond): // the server may be on its way
			case <-c.t.Context().Done():
			}
		}
	}
}
