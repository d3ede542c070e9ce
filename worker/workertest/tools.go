package workertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// StandardTools is the tool set of the suite, for a Fake.
func StandardTools() []Tool {
	return []Tool{
		{Tool: worker.Tool{Name: "echo"}, Run: echo},
		{Tool: worker.Tool{Name: "add", Idempotent: true}, Run: add},
		{Tool: worker.Tool{Name: "fail"}, Run: fail},
		{Tool: worker.Tool{Name: "sleep"}, Run: func(inv *Invocation) (any, error) { return sleep(inv, inv.Context().Done()) }},
		{Tool: worker.Tool{Name: "slow_cancel"}, Run: func(inv *Invocation) (any, error) { return sleep(inv, inv.Gone()) }},
		{Tool: worker.Tool{Name: "count", Streams: true}, Run: count},
		{Tool: worker.Tool{Name: "remember", Session: true}, Run: remember},
		{Tool: worker.Tool{Name: "recall", Session: true, ReadOnly: true}, Run: recall},
		{Tool: worker.Tool{Name: "hold", Session: true}, Run: hold},
		{Tool: worker.Tool{Name: "remember_and_fail", Session: true}, Run: rememberAndFail},
		{Tool: worker.Tool{Name: "crash"}, Run: crash},
		{Tool: worker.Tool{Name: "big"}, Run: big},
		{Tool: worker.Tool{Name: "unencodable"}, Run: func(*Invocation) (any, error) { return make(chan int), nil }},
		{Tool: worker.Tool{Name: "program_put", Session: true}, Run: programPut},
		{Tool: worker.Tool{Name: "program_get", Session: true}, Run: programGet},
		{Tool: worker.Tool{Name: "linger", Session: true}, Run: linger},
		{Tool: worker.Tool{Name: "host_call"}, Run: hostCall},
		{Tool: worker.Tool{Name: "log"}, Run: log},
	}
}

func valueError(msg string) error {
	return &worker.ToolError{Kind: worker.ToolRaised, Type: "ValueError", Message: msg, Traceback: "ValueError: " + msg}
}

func echo(inv *Invocation) (any, error) {
	var args struct {
		Value json.RawMessage `json:"value"`
	}
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	inv.parts = inv.call.Attachments
	return args.Value, nil
}

func add(inv *Invocation) (any, error) {
	var args struct {
		A *int `json:"a"`
		B *int `json:"b"`
	}
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	for name, v := range map[string]*int{"a": args.A, "b": args.B} {
		if v == nil {
			return nil, &worker.ToolError{
				Kind: worker.InvalidArguments, Type: "TypeError", Parameter: name, Message: "argument " + name + " is missing",
			}
		}
	}
	return *args.A + *args.B, nil
}

func fail(inv *Invocation) (any, error) {
	var args struct{ Message string }
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	return nil, valueError(args.Message)
}

func sleep(inv *Invocation, woken <-chan struct{}) (any, error) {
	var args struct {
		Seconds float64
		Notify  string
	}
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	if err := inv.Notify(args.Notify, struct{}{}); err != nil {
		return nil, err
	}
	t := time.NewTimer(time.Duration(args.Seconds * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return "slept", nil
	case <-woken:
		return nil, context.Cause(inv.Context())
	}
}

func count(inv *Invocation) (any, error) {
	var args struct {
		N      int
		Notify string
	}
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	for i := range args.N {
		step := map[string]int{"i": i}
		if err := inv.Notify(args.Notify, step); err != nil {
			return nil, err
		}
		if err := inv.Yield(step); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// note appends to the session's notes.
func note(inv *Invocation) (int, error) {
	var args struct{ Text string }
	if err := inv.Args(&args); err != nil {
		return 0, err
	}
	var notes []string
	if raw, ok := inv.Vars()["notes"]; ok {
		if err := json.Unmarshal(raw, &notes); err != nil {
			return 0, err
		}
	}
	notes = append(notes, args.Text)
	raw, err := json.Marshal(notes)
	if err != nil {
		return 0, err
	}
	inv.Vars()["notes"] = raw
	return len(notes), nil
}

func remember(inv *Invocation) (any, error) {
	n, err := note(inv)
	return map[string]int{"count": n}, err
}

func rememberAndFail(inv *Invocation) (any, error) {
	if _, err := note(inv); err != nil {
		return nil, err
	}
	return nil, valueError("failed after a change")
}

func recall(inv *Invocation) (any, error) {
	if raw, ok := inv.Vars()["notes"]; ok {
		return raw, nil
	}
	return []string{}, nil
}

func hold(inv *Invocation) (any, error) {
	n, _ := inv.Local()["held"].(int)
	inv.Local()["held"] = n + 1
	return map[string]int{"count": n + 1}, nil
}

func crash(inv *Invocation) (any, error) {
	var args struct{ Code int }
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	inv.Worker().finish(args.Code, "", fmt.Sprintf("exit status %d", args.Code))
	return nil, nil
}

func big(inv *Invocation) (any, error) {
	var args struct{ Size int }
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	return map[string]any{"size": args.Size, "data": inv.Attach(bytes.Repeat([]byte{0x5a}, args.Size))}, nil
}

func programPut(inv *Invocation) (any, error) {
	var args struct {
		Name string
		Data struct {
			Part int `json:"$bytes"`
		}
	}
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	host, err := inv.Host()
	if err != nil {
		return nil, err
	}
	w, err := host.WriteProgram(inv.Context(), args.Name, "")
	if err != nil {
		return nil, err
	}
	data := inv.Bytes(args.Data.Part)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	return map[string]int{"size": len(data)}, w.Close()
}

func programGet(inv *Invocation) (any, error) {
	var args struct{ Name string }
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	host, err := inv.Host()
	if err != nil {
		return nil, err
	}
	var data []byte
	for {
		part, err := host.ReadProgram(inv.Context(), args.Name, int64(len(data)), 64<<10)
		if err != nil {
			return nil, err
		}
		if len(part) == 0 {
			return inv.Attach(data), nil
		}
		data = append(data, part...)
	}
}

func linger(inv *Invocation) (any, error) {
	host, err := inv.Host()
	if err != nil {
		return nil, err
	}
	begun := make(chan struct{})
	go func() {
		close(begun)
		for {
			w, err := host.WriteProgram(context.WithoutCancel(inv.Context()), "lingering", "")
			if err == nil {
				err = errors.Join(fill(w, []byte("x")), w.Close())
			}
			if err != nil {
				inv.Log(slog.LevelInfo, "refused")
				return
			}
		}
	}()
	<-begun
	return nil, nil
}

func fill(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

func hostCall(inv *Invocation) (any, error) {
	var args struct {
		Tool string
		Args json.RawMessage
	}
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	host, err := inv.Host()
	if err != nil {
		return nil, err
	}
	if args.Args == nil {
		args.Args = json.RawMessage("{}")
	}
	return host.CallTool(inv.Context(), args.Tool, args.Args)
}

func log(inv *Invocation) (any, error) {
	var args struct{ Message, Level string }
	if err := inv.Args(&args); err != nil {
		return nil, err
	}
	level, ok := map[string]slog.Level{
		"debug": slog.LevelDebug, "": slog.LevelInfo, "info": slog.LevelInfo,
		"warning": slog.LevelWarn, "error": slog.LevelError,
	}[args.Level]
	if !ok {
		return nil, valueError("no level " + args.Level)
	}
	inv.Log(level, args.Message)
	return nil, nil
}
