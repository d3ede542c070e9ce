package frames_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

func TestCallParams(t *testing.T) {
	conn := peers(t, "serves").start()
	long := strings.Repeat("long ", 10_000)
	for name, c := range map[string]struct {
		call worker.Call
		want string
	}{
		"without anything": {
			worker.Call{},
			`{"tool":"params","args":{}}`,
		},
		"with all": {
			worker.Call{
				CorrelationID: "c\"é", Args: json.RawMessage(`{"a":123456789012345678901234567890}`), Attachments: [][]byte{[]byte("ab"), nil, []byte(long)},
				Session: &worker.SessionState{
					ID: "s 1\n", Incarnation: "i", Version: 18446744073709551615, ReadOnly: true,
					Vars: json.RawMessage(`{"long":"` + long + `"}`), Programs: []worker.Program{{Name: "p", Size: 3, SHA256: "00"}}, Labels: map[string]string{"l": "1"},
				},
			},
			`{"tool":"params","args":{"a":123456789012345678901234567890},"parts":[2,0,50000],"correlation":"c\"é",` +
				`"session":{"id":"s 1\n","incarnation":"i","version":18446744073709551615,"readonly":true,"vars":{"long":"` + long + `"},` +
				`"programs":[{"name":"p","size":3,"sha256":"00"}],"labels":{"l":"1"},"metadata":{}}}`,
		},
		"in a session that is held": {
			worker.Call{Session: &worker.SessionState{ID: "s", Incarnation: "i", Version: 1}},
			`{"tool":"params","args":{},` +
				`"session":{"id":"s","incarnation":"i","version":1,"readonly":false}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.call.Tool = "params"
			res, err := conn.Call(t.Context(), &c.call)
			if err != nil {
				t.Fatal(err)
			}
			if string(res.Value) != c.want {
				t.Errorf("got  %.400s\nwant %.400s", res.Value, c.want)
			}
		})
	}
}

func TestCallParamsOfAStreamWithADeadline(t *testing.T) {
	h := peers(t, "serves")
	h.opts.Window = 5
	conn := h.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := conn.Call(ctx, &worker.Call{Tool: "params", OnChunk: func(worker.Chunk) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Timeout int  `json:"timeout_ms"`
		Stream  bool `json:"stream"`
		Window  int  `json:"window"`
	}
	if err := json.Unmarshal(res.Value, &got); err != nil {
		t.Fatal(err)
	}
	if got.Timeout < 50_000 || got.Timeout > 60_000 || !got.Stream || got.Window != 5 {
		t.Errorf("got %s", res.Value)
	}
}

func TestAnswers(t *testing.T) {
	conn := peers(t, "serves").start()
	res, err := call(t, conn, "reordered", "")
	if err != nil {
		t.Fatal(err)
	}
	if string(res.Value) != "7" || !res.Local || len(res.Attachments) != 3 || string(res.Attachments[0]) != "a" || string(res.Attachments[2]) != "bc" {
		t.Errorf("got %+v", res)
	}
	if c := res.Change; c == nil || len(c.Set) != 2 || string(c.Set["x\n"]) != "1" || !slices.Equal(c.Unset, []string{"a", `b"é`}) {
		t.Errorf("change %+v", res.Change)
	}
	if res, err := call(t, conn, `raw {"parts":[3],"change":null}`, ""); err != nil || string(res.Value) != "null" || res.Change != nil {
		t.Errorf("no value: %+v, %v", res, err)
	}
}

func TestErrors(t *testing.T) {
	conn := peers(t, "serves").start()
	for _, c := range []struct {
		tool string
		want worker.ToolError
	}{
		{`error -32001 {"type":"ValueError","traceback":"tb"}`, worker.ToolError{Kind: worker.ToolRaised, Type: "ValueError", Traceback: "tb"}},
		{`error -32602 {"type":"TypeError","parameter":"a"}`, worker.ToolError{Kind: worker.InvalidArguments, Type: "TypeError", Parameter: "a"}},
		{`error -32004 {"type":"TypeError","path":"value.x"}`, worker.ToolError{Kind: worker.Unencodable, Type: "TypeError"}},
		{`error -32603 {"traceback":"tb"}`, worker.ToolError{Kind: worker.WorkerFault, Traceback: "tb"}},
		{`error -32601 {}`, worker.ToolError{Kind: worker.WorkerFault}},
		{`error -1 null`, worker.ToolError{Kind: worker.WorkerFault}},
	} {
		_, err := call(t, conn, c.tool, "")
		c.want.Message = "it is wrong"
		if got, ok := errors.AsType[*worker.ToolError](err); !ok || *got != c.want {
			t.Errorf("%s: got %#v", c.tool, err)
		}
	}
	for tool, want := range map[string]error{
		"no such tool":      worker.ErrToolNotFound,
		"error -32002 {}":   worker.ErrCanceled,
		"error -32003 {}":   worker.ErrStateMissing,
		`error -32002 null`: worker.ErrCanceled,
	} {
		if _, err := call(t, conn, tool, ""); !errors.Is(err, want) {
			t.Errorf("%s: got %v", tool, err)
		}
	}
	if _, err := call(t, conn, "no such tool", ""); !strings.Contains(err.Error(), "no such tool") {
		t.Errorf("the tool is not named: %v", err)
	}
}

// What a worker sends wrongly inside of a frame concerns one call.
func TestMalformedAnswersFailTheirCall(t *testing.T) {
	conn := peers(t, "serves").start()
	for _, tool := range []string{
		`raw {"value":NaN}`, `raw {"value":1`, `raw {"value":"` + "\x01" + `"}`, `raw {"value":1,"parts":[2]}`, `raw {"value":1,"parts":[4,-1]}`, `raw {"value":1}`,
		`raw {"change":[]}`, `raw {"change":{"set":{"a":01}}}`, `raw {"value":"` + "\xff" + `"}`, `error "x" {}`, `error 1 {"type":1}`,
	} {
		_, err := call(t, conn, tool, "")
		if te, ok := errors.AsType[*worker.ToolError](err); !ok || te.Kind != worker.WorkerFault || te.Type != "ProtocolError" {
			t.Errorf("%q: got %v", tool, err)
		}
	}
	_, err := conn.Call(t.Context(), &worker.Call{Tool: "bad_chunk", OnChunk: func(worker.Chunk) error { return nil }})
	un, ok := errors.AsType[*worker.UnansweredError](err)
	if !ok || !strings.Contains(err.Error(), "malformed") {
		t.Fatalf("a malformed chunk: %v", err)
	}
	await(t, un.Answered, "the answer to the cancel")
	mustCall(t, conn, "params", "{}")
}

func TestArgumentsMustBeAnObject(t *testing.T) {
	conn := peers(t, "serves").start()
	for _, args := range []string{" ", "[1]", `{"a":NaN}`, `{"a":1`, "null"} {
		_, err := conn.Call(t.Context(), &worker.Call{Tool: "params", Args: json.RawMessage(args)})
		if te, ok := errors.AsType[*worker.ToolError](err); !ok || te.Kind != worker.InvalidArguments {
			t.Errorf("%q: got %v", args, err)
		}
	}
	if _, err := conn.Call(t.Context(), &worker.Call{Tool: "params", Session: &worker.SessionState{ID: "s", Vars: json.RawMessage("{")}}); err == nil || !strings.Contains(err.Error(), `"s"`) {
		t.Errorf("broken variables: %v", err)
	}
}

// What breaks the rules of frames ends the worker, and every call says so.
func TestViolationsEndTheConnection(t *testing.T) {
	for _, tool := range []string{"frame 3 0", "frame 100 97", "frame 4294967295 10", "header nonsense", "header [1]", `header {"id":"x"}`, "chunks 1", "exit_in_frame", "close"} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			conn := peers(t, "serves").start()
			waiting := make(chan error, 1)
			go func() {
				_, err := conn.Call(context.Background(), &worker.Call{Tool: "no_answer"})
				waiting <- err
			}()
			_, err := call(t, conn, tool, "{}")
			wantCrash(t, conn, err, true)
			wantCrash(t, conn, <-waiting, true)
			_, err = call(t, conn, "params", "{}")
			wantCrash(t, conn, err, false)
			if err := conn.Ping(t.Context()); !errors.Is(err, worker.ErrWorkerCrashed) {
				t.Errorf("ping: %v", err)
			}
		})
	}
}

func TestTheLastAnswerIsHeard(t *testing.T) {
	h := peers(t, "serves")
	for range 20 {
		conn := h.start()
		if got := mustCall(t, conn, "answer_and_exit", "{}"); got != `"last words"` {
			t.Errorf("got %s", got)
		}
		await(t, conn.Done(), "the end")
		if exit := conn.Exit(); exit.Code != 0 || exit.Expected {
			t.Errorf("exit %+v", exit)
		}
	}
}

func TestStreams(t *testing.T) {
	h := peers(t, "serves")
	h.opts.Window = 8
	conn := h.start()
	t.Run("chunks come in order in the caller's goroutine", func(t *testing.T) {
		var got []string
		_, err := conn.Call(t.Context(), &worker.Call{Tool: "chunks 8", OnChunk: func(c worker.Chunk) error {
			got = append(got, string(c.Value)) // the race detector watches
			return nil
		}})
		if want := "0 1 2 3 4 5 6 7"; err != nil || strings.Join(got, " ") != want {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("an error of the consumer ends the call", func(t *testing.T) {
		mine := errors.New("enough")
		calls := 0
		_, err := conn.Call(t.Context(), &worker.Call{Tool: "chunks 8", OnChunk: func(worker.Chunk) error {
			calls++
			return mine
		}})
		un, ok := errors.AsType[*worker.UnansweredError](err)
		if !ok || un.Err != mine || calls != 1 {
			t.Fatalf("got %v after %d chunks", err, calls)
		}
		await(t, un.Answered, "the answer")
		mustCall(t, conn, "params", "{}")
	})
	t.Run("a panic of the consumer ends the call, not the worker", func(t *testing.T) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = conn.Call(t.Context(), &worker.Call{Tool: "chunks 8", OnChunk: func(worker.Chunk) error { panic("consumer") }})
		}()
		mustCall(t, conn, "params", "{}")
	})
	t.Run("more chunks than the window ends the worker", func(t *testing.T) {
		conn := h.start()
		entered, leave := make(chan struct{}), make(chan struct{})
		var once sync.Once
		go func() {
			<-entered
			<-conn.Done()
			close(leave)
		}()
		_, err := conn.Call(t.Context(), &worker.Call{Tool: "chunks 20", OnChunk: func(worker.Chunk) error {
			once.Do(func() { close(entered) })
			<-leave
			return nil
		}})
		wantCrash(t, conn, err, true)
	})
}

func TestGivenUpCalls(t *testing.T) {
	conn := peers(t, "serves").start()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer wanted")
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	_, err := conn.Call(ctx, &worker.Call{Tool: "no_answer"})
	un, ok := errors.AsType[*worker.UnansweredError](err)
	if !ok || un.Err != why {
		t.Fatalf("got %v", err)
	}
	// The peer answers the cancel.
	await(t, un.Answered, "the answer")

	if _, err := conn.Call(ctx, &worker.Call{Tool: "params"}); err != why {
		t.Errorf("an ended context: %v", err)
	}
	mustCall(t, conn, "params", "{}")
}

// A worker that does not read must not hold up anybody whose context ends.
func TestAWorkerThatDoesNotRead(t *testing.T) {
	conn := peers(t, "deaf").start()
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	big := json.RawMessage(`{"x":"` + strings.Repeat("x", 8<<20) + `"}`)
	_, err := conn.Call(short(), &worker.Call{Tool: "t", Args: big})
	un, ok := errors.AsType[*worker.UnansweredError](err)
	if !ok || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a call that is being written: %v", err)
	}
	if _, err := conn.Call(short(), &worker.Call{Tool: "t"}); err != context.DeadlineExceeded {
		t.Errorf("a call behind it: %v", err)
	}
	if err := conn.Ping(short()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping: %v", err)
	}
	conn.Forget("a", "b") // must not block

	waiting := make(chan error, 1)
	go func() {
		_, err := conn.Call(context.Background(), &worker.Call{Tool: "t", Args: big})
		waiting <- err
	}()
	if err := conn.Stop(short()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	await(t, un.Answered, "the end of the given up call")
	wantCrash(t, conn, <-waiting, false)
	if exit := conn.Exit(); !exit.Expected || exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v", exit)
	}
}

func TestStop(t *testing.T) {
	conn := peers(t, "serves").start()
	var stopping sync.WaitGroup
	for range 3 {
		stopping.Go(func() {
			if err := conn.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	stopping.Wait()
	if exit := conn.Exit(); exit.Code != 0 || exit.Signal != "" || !exit.Expected {
		t.Errorf("exit %+v", exit)
	}
	if err := conn.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPingAndForget(t *testing.T) {
	h := peers(t, "serves")
	conn := h.start()
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn.Forget()
	conn.Forget("s1", "s2")
	if err := conn.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.records.find(`forget {"sessions":["s1","s2"]}`) == nil {
		t.Error("the worker was not told to forget")
	}
}
