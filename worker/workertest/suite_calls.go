package workertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

func (s suite) hello(t *testing.T) {
	info := s.start(t).Info()
	if info.PID <= 0 || info.Runtime == "" || info.SDK == "" || info.Protocol < 1 || info.Capacity < 1 {
		t.Errorf("info is incomplete: %+v", info)
	}
	tools := make(map[string]worker.Tool)
	for _, tool := range info.Tools {
		if len(tool.Parameters) > 0 && !json.Valid(tool.Parameters) {
			t.Errorf("parameters of %s: %s", tool.Name, tool.Parameters)
		}
		tool.Doc, tool.Parameters = "", nil
		tools[tool.Name] = tool
	}
	for _, std := range StandardTools() {
		tool, ok := tools[std.Name]
		if !ok {
			t.Errorf("tool %s is missing", std.Name)
			continue
		}
		if fmt.Sprint(tool) != fmt.Sprint(std.Tool) {
			t.Errorf("tool %s is declared as %+v, want %+v", std.Name, tool, std.Tool)
		}
	}
}

func (s suite) startWithEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("never mind")
	cancel(reason)
	conn, err := s.Transport(t).Start(ctx, worker.Spec{Pool: "suite", ID: "suite-1", Generation: 1})
	if err == nil {
		conn.Kill()
		await(t, "the end of the worker", conn.Done())
	}
	if !errors.Is(err, reason) && !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that of the context", err)
	}
}

func (s suite) brokenTools(t *testing.T) {
	if s.Broken == nil {
		t.Skip("the harness has no broken tools")
	}
	_, err := s.Broken(t).Start(bounded(t), worker.Spec{Pool: "suite", ID: "suite-1", Generation: 1})
	var start *worker.StartError
	if !errors.As(err, &start) || start.Worker != "suite-1" || start.Reason == "" {
		t.Errorf("error is %#v", err)
	}
}

func (s suite) echoValues(t *testing.T) {
	conn := s.start(t)
	for _, value := range []string{
		`null`, `true`, `false`, `0`, `-1`, `9007199254740993`, `-123456789012345678901234567890`,
		`1.5`, `-0.25`, `1e300`, `5e-324`, `0.1`, `100.0`,
		`""`, `"milk"`, `"ünïcødé 雪 😀"`, `"\u0000\u001f\"\\\/"`, `"  "`,
		`[]`, `{}`, `[1,[2,[3,[]]]]`, `{"a":{"b":{"c":null}},"":1," ":2}`,
		`{"$float":"NaN"}`, `{"$float":"Infinity"}`, `[{"$float":"-Infinity"}]`,
		`{"$datetime":"2026-01-31T12:30:00.000001+01:00"}`, `{"$datetime":"2026-01-31T12:30:00"}`,
		`{"$date":"2026-01-31"}`, `{"$time":"12:30:00"}`,
		`{"$object":{"$float":"x"}}`, `{"$object":{"$object":1}}`, `{"$object":{"$object":{"$object":{"$float":1}}}}`, `{"$other":1}`, `{"$float":1,"b":2}`,
		strings.Repeat("[", 60) + strings.Repeat("]", 60),
		`"` + strings.Repeat("long ", 100_000) + `"`,
	} {
		res := do(t, conn, &worker.Call{Tool: "echo", Args: json.RawMessage(`{"value":` + value + `}`)}, nil)
		if !sameJSON(t, json.RawMessage(value), nil, res.Value, res.Attachments) {
			t.Errorf("%.100s came back as %.100s", value, res.Value)
		}
	}
}

func (s suite) echoBytes(t *testing.T) {
	conn := s.start(t)
	parts := [][]byte{{}, {0}, []byte("milk"), bytes.Repeat([]byte{0xff, 0, 1}, 400_000)}
	value := `{"none":{"$bytes":0},"list":[{"$bytes":3},{"$bytes":1},[{"$bytes":2}]],"text":"milk"}`
	res := do(t, conn, &worker.Call{Tool: "echo", Args: json.RawMessage(`{"value":` + value + `}`), Attachments: parts}, nil)
	if !sameJSON(t, json.RawMessage(value), parts, res.Value, res.Attachments) {
		t.Errorf("bytes came back as %.300s with %d parts", res.Value, len(res.Attachments))
	}
}

func (s suite) big(t *testing.T) {
	const size = 8 << 20
	conn := s.start(t)
	var out struct {
		Size int
		Data struct {
			Part int `json:"$bytes"`
		}
	}
	res := do(t, conn, &worker.Call{Tool: "big", Args: object(t, "size", size)}, &out)
	if out.Size != size || len(res.Attachments) != 1 || !bytes.Equal(res.Attachments[out.Data.Part], bytes.Repeat([]byte{0x5a}, size)) {
		t.Errorf("result is %+v with %d parts", out, len(res.Attachments))
	}
}

func (s suite) toolErrors(t *testing.T) {
	conn := s.start(t)
	for name, tc := range map[string]struct {
		call worker.Call
		want worker.ToolError // empty fields are not compared
	}{
		"raises": {
			worker.Call{Tool: "fail", Args: object(t, "message", "no milk, ünïcødé")},
			worker.ToolError{Kind: worker.ToolRaised, Type: "ValueError", Message: "no milk, ünïcødé"},
		},
		"wrong type": {
			worker.Call{Tool: "add", Args: object(t, "a", "forty", "b", 2)},
			worker.ToolError{Kind: worker.InvalidArguments, Parameter: "a"},
		},
		"missing argument": {
			worker.Call{Tool: "add", Args: object(t, "a", 1)},
			worker.ToolError{Kind: worker.InvalidArguments, Parameter: "b"},
		},
		"no arguments": {
			worker.Call{Tool: "add"},
			worker.ToolError{Kind: worker.InvalidArguments},
		},
		"cannot be encoded": {
			worker.Call{Tool: "unencodable"},
			worker.ToolError{Kind: worker.Unencodable},
		},
		"streams, but is called without": {
			worker.Call{Tool: "count", Args: object(t, "n", 1)},
			worker.ToolError{Kind: worker.InvalidArguments},
		},
	} {
		_, err := conn.Call(bounded(t), &tc.call)
		var got *worker.ToolError
		if !errors.As(err, &got) {
			t.Errorf("%s: error is %v, want a *ToolError", name, err)
			continue
		}
		if got.Kind != tc.want.Kind || got.Message == "" ||
			tc.want.Type != "" && got.Type != tc.want.Type ||
			tc.want.Message != "" && got.Message != tc.want.Message ||
			tc.want.Parameter != "" && got.Parameter != tc.want.Parameter {
			t.Errorf("%s: error is %+v, want %+v", name, got, tc.want)
		}
		if got.Kind == worker.ToolRaised && !strings.Contains(got.Traceback, "ValueError") {
			t.Errorf("%s: traceback is %q", name, got.Traceback)
		}
		works(t, conn)
	}
}

func (s suite) unknownTool(t *testing.T) {
	conn := s.start(t)
	if _, err := conn.Call(bounded(t), &worker.Call{Tool: "nonsense"}); !errors.Is(err, worker.ErrToolNotFound) {
		t.Errorf("error is %v", err)
	}
	works(t, conn)
}

func (s suite) stream(t *testing.T) {
	conn := s.start(t)
	for _, n := range []int{0, 1, 2000} {
		next := 0 // no lock: chunks come in this goroutine
		res := do(t, conn, &worker.Call{Tool: "count", Args: object(t, "n", n), OnChunk: func(c worker.Chunk) error {
			var got struct{ I int }
			if err := json.Unmarshal(c.Value, &got); err != nil || got.I != next {
				return fmt.Errorf("chunk %d is %s", next, c.Value)
			}
			next++
			return nil
		}}, nil)
		if next != n {
			t.Errorf("%d chunks of %d", next, n)
		}
		if string(res.Value) != "null" {
			t.Errorf("a stream's result is %s", res.Value)
		}
	}
	works(t, conn)
}

// slowConsumer asks for signs of life between chunks, which gives the worker
// time to run ahead if nothing holds it back.
func (s suite) slowConsumer(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	var produced atomic.Int64
	h.tools["progress"] = func(context.Context, json.RawMessage) (json.RawMessage, error) {
		produced.Add(1)
		return json.RawMessage("null"), nil
	}
	n := 5 * s.Window
	consumed := 0
	do(t, conn, &worker.Call{
		Tool: "count", Host: h, Args: object(t, "n", n, "notify", "progress"),
		OnChunk: func(worker.Chunk) error {
			consumed++
			for range 3 {
				if err := conn.Ping(bounded(t)); err != nil {
					return err
				}
			}
			// The producer may have begun one more than it could send.
			if ahead := int(produced.Load()) - consumed; ahead > s.Window+1 {
				return fmt.Errorf("the tool is %d chunks ahead of its consumer, %d are allowed", ahead, s.Window)
			}
			return nil
		},
	}, nil)
	if consumed != n {
		t.Errorf("%d chunks of %d", consumed, n)
	}
}

func (s suite) streamOfAPlainTool(t *testing.T) {
	conn := s.start(t)
	var sum int
	do(t, conn, &worker.Call{
		Tool: "add", Args: object(t, "a", 40, "b", 2),
		OnChunk: func(c worker.Chunk) error { return fmt.Errorf("chunk %s of a tool that has none", c.Value) },
	}, &sum)
	if sum != 42 {
		t.Errorf("40 + 2 = %d", sum)
	}
}

func (s suite) streamAbandoned(t *testing.T) {
	conn := s.start(t)
	enough := errors.New("enough")
	n := 0
	_, err := conn.Call(bounded(t), &worker.Call{
		Tool: "count", Args: object(t, "n", 1_000_000_000),
		OnChunk: func(worker.Chunk) error {
			if n++; n == 10 {
				return enough
			}
			return nil
		},
	})
	await(t, "the answer to the cancel", canceled(t, err, enough).Answered)
	if n != 10 {
		t.Errorf("%d chunks, although the tenth was refused", n)
	}
	works(t, conn)
}

func (s suite) streamCanceled(t *testing.T) {
	conn := s.start(t)
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	n := 0
	_, err := conn.Call(ctx, &worker.Call{
		Tool: "count", Args: object(t, "n", 1_000_000_000),
		OnChunk: func(worker.Chunk) error {
			if n++; n == 10 {
				cancel()
			}
			return nil
		},
	})
	n = -1 // a write that the race detector sees if a chunk comes later
	await(t, "the answer to the cancel", canceled(t, err, context.Canceled).Answered)
	works(t, conn)
}

// cancel: the caller is free at once, and the slot soon.
func (s suite) cancel(t *testing.T) {
	conn := s.start(t)
	for range 3 {
		h := newHost()
		started := h.signal("started", nil)
		ctx, cancel := context.WithCancelCause(bounded(t))
		call := begin(ctx, conn, &worker.Call{Tool: "sleep", Host: h, Args: object(t, "seconds", 3600, "notify", "started")})
		await(t, "the tool", started)
		reason := errors.New("changed my mind")
		cancel(reason)
		_, err := call.wait(t)
		await(t, "the answer to the cancel", canceled(t, err, reason).Answered)
		works(t, conn)
	}
}

func (s suite) deadline(t *testing.T) {
	conn := s.start(t)
	ctx, cancel := context.WithTimeout(bounded(t), 20*time.Millisecond)
	defer cancel()
	_, err := conn.Call(ctx, &worker.Call{Tool: "sleep", Args: object(t, "seconds", 3600)})
	await(t, "the answer to the cancel", canceled(t, err, context.DeadlineExceeded).Answered)
	works(t, conn)
}

// cancelDeaf: the caller does not wait for a tool that does not listen.
func (s suite) cancelDeaf(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	started := h.signal("started", nil)
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	call := begin(ctx, conn, &worker.Call{Tool: "slow_cancel", Host: h, Args: object(t, "seconds", 3600, "notify", "started")})
	await(t, "the tool", started)
	cancel()
	_, err := call.wait(t)
	given := canceled(t, err, context.Canceled)
	if err := conn.Ping(bounded(t)); err != nil {
		t.Errorf("ping: %v", err)
	}
	if closed(given.Answered) {
		t.Fatal("the slot is free although the tool runs")
	}
	conn.Kill()
	await(t, "the slot of a killed worker", given.Answered)
	if !closed(conn.Done()) {
		t.Error("the slot is free before the worker is known to be gone")
	}
}

func (s suite) endedContext(t *testing.T) {
	conn := s.start(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("too late")
	cancel(reason)
	h := newHost()
	started := h.signal("started", nil)
	_, err := conn.Call(ctx, &worker.Call{Tool: "sleep", Host: h, Args: object(t, "seconds", 0, "notify", "started")})
	if _, given := errors.AsType[*worker.UnansweredError](err); given || !errors.Is(err, reason) {
		t.Errorf("error is %#v, want the plain cause", err)
	}
	works(t, conn)
	if len(started) != 0 {
		t.Error("the call was executed")
	}
}

func (s suite) hostCall(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	type callersValue struct{}
	h.tools["double"] = func(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
		if ctx.Value(callersValue{}) != "the caller's" {
			t.Error("the context of the host's tool does not descend from the caller's")
		}
		var in struct{ N int }
		if err := json.Unmarshal(args, &in); err != nil {
			return nil, err
		}
		return json.Marshal(2 * in.N)
	}
	h.tools["refuse"] = func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, errors.New("out of milk")
	}
	ctx := context.WithValue(bounded(t), callersValue{}, "the caller's")
	res, err := conn.Call(ctx, &worker.Call{Tool: "host_call", Host: h, Args: object(t, "tool", "double", "args", map[string]int{"n": 21})})
	if err != nil || string(res.Value) != "42" {
		t.Errorf("2 * 21 = %+v, %v", res, err)
	}
	for _, tool := range []string{"refuse", "nonsense"} {
		_, err := conn.Call(bounded(t), &worker.Call{Tool: "host_call", Host: h, Args: object(t, "tool", tool)})
		var te *worker.ToolError
		if !errors.As(err, &te) || te.Kind != worker.ToolRaised {
			t.Errorf("host tool %s: error is %v", tool, err)
		}
	}
	works(t, conn)
}

// hostCallEnds: what the host does for a call ends with it.
func (s suite) hostCallEnds(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	started, ended := make(chan struct{}), make(chan struct{})
	h.tools["wait"] = func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	call := begin(ctx, conn, &worker.Call{Tool: "host_call", Host: h, Args: object(t, "tool", "wait")})
	await(t, "the host's tool", started)
	cancel()
	_, err := call.wait(t)
	given := canceled(t, err, context.Canceled)
	await(t, "the end of the host's tool", ended)
	await(t, "the answer to the cancel", given.Answered)
	works(t, conn)
}

func (s suite) noHost(t *testing.T) {
	conn := s.start(t)
	_, err := conn.Call(bounded(t), &worker.Call{Tool: "host_call", Args: object(t, "tool", "anything")})
	var te *worker.ToolError
	if !errors.As(err, &te) || te.Kind != worker.ToolRaised {
		t.Errorf("error is %v", err)
	}
	works(t, conn)
}

func (s suite) pings(t *testing.T) {
	conn := s.start(t)
	h := newHost()
	gate := make(chan struct{})
	started := h.signal("started", gate)
	call := begin(bounded(t), conn, &worker.Call{Tool: "sleep", Host: h, Args: object(t, "seconds", 0, "notify", "started")})
	await(t, "the tool", started)
	ctx := bounded(t)
	errs := make(chan error, 50)
	for range cap(errs) {
		go func() { errs <- conn.Ping(ctx) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Errorf("ping: %v", err)
		}
	}
	close(gate)
	if _, err := call.wait(t); err != nil {
		t.Error(err)
	}
}
