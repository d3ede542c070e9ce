package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

func TestExecute(t *testing.T) {
	c, _ := serve(t, nil)
	ctx := t.Context()

	res, err := c.Execute(ctx, client.Call{Tool: "echo", Args: json.RawMessage(`{"value":123456789012345678901234567890}`)})
	if err != nil || string(res.Value) != "123456789012345678901234567890" {
		t.Fatalf("echo: %v (%v)", res, err)
	}
	if res.Worker == "" || res.CorrelationID == "" || res.StateVersion != 0 {
		t.Errorf("the result is %+v", res)
	}

	raw := bytes.Repeat([]byte{0, 0xff}, 1000)
	res, err = c.Execute(ctx, client.Call{Tool: "echo", Args: map[string]any{"value": map[string]int{"$bytes": 0}}, Attachments: [][]byte{raw}})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := res.Bytes(); !ok || !bytes.Equal(got, raw) {
		t.Errorf("bytes came back as %s with %d attachments", res.Value, len(res.Attachments))
	}

	var version uint64
	for want := 1; want <= 2; want++ {
		res, err := c.Execute(ctx, client.Call{Tool: "remember", Args: map[string]string{"text": "milk"}, Session: "alice", CorrelationID: "c-1"})
		if err != nil {
			t.Fatal(err)
		}
		var v struct{ Count int }
		if err := res.Decode(&v); err != nil || v.Count != want || res.StateVersion <= version || res.CorrelationID != "c-1" {
			t.Errorf("call %d returned %+v, %d (%v)", want, res, v.Count, err)
		}
		version = res.StateVersion
		s, err := c.Peek(ctx, "alice", &client.ReadOptions{Position: res.Position})
		if err != nil || s.StateVersion != res.StateVersion {
			t.Errorf("the session is %+v (%v)", s, err)
		}
	}
}

func TestStream(t *testing.T) {
	c, _ := serve(t, nil)
	var got []string
	for chunk, err := range c.Stream(t.Context(), client.Call{Tool: "count", Args: map[string]int{"n": 3}}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(chunk.Value))
	}
	if strings.Join(got, "") != `{"i":0}{"i":1}{"i":2}` {
		t.Errorf("chunks %v", got)
	}

	n := 0
	res, err := c.StreamFunc(t.Context(), client.Call{Tool: "count", Args: map[string]int{"n": 3}}, func(chunk *client.Chunk) error {
		var v struct{ I int }
		if err := chunk.Decode(&v); err != nil || v.I != n {
			t.Errorf("chunk %d is %s (%v)", n, chunk.Value, err)
		}
		n++
		return nil
	})
	if err != nil || n != 3 || string(res.Value) != "null" || res.Worker == "" {
		t.Errorf("%d chunks, result %+v (%v)", n, res, err)
	}
	for _, err := range c.Stream(t.Context(), client.Call{Tool: "nosuch"}) {
		if !errors.Is(err, worker.ErrToolNotFound) {
			t.Errorf("a tool that is missing: %v", err)
		}
	}
}

// TestLeavingAStreamCancels leaves in three ways a stream that would go on for
// ever, and sees its only worker free again.
func TestLeavingAStreamCancels(t *testing.T) {
	c, _ := serve(t, func(cfg *snakepit.Config) { cfg.Pools[0].Workers = 1 })
	endless := client.Call{Tool: "count", Args: map[string]int{"n": 1 << 30}, Session: "s"}

	for range c.Stream(t.Context(), endless) {
		break
	}

	enough := errors.New("enough")
	if _, err := c.StreamFunc(t.Context(), endless, func(*client.Chunk) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the error of the consumer became %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.StreamFunc(ctx, endless, func(*client.Chunk) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled stream ended with %v", err)
	}

	if _, err := c.Execute(t.Context(), client.Call{Tool: "echo"}); err != nil {
		t.Errorf("the worker is not free: %v", err)
	}
}

func TestCallErrors(t *testing.T) {
	c, _ := serve(t, func(cfg *snakepit.Config) { cfg.Pools[0].Workers = 1 })
	ctx := t.Context()
	execute := func(call client.Call) error { _, err := c.Execute(ctx, call); return err }

	for name, test := range map[string]struct {
		call client.Call
		want error
	}{
		"no tool":            {client.Call{}, session.ErrInvalid},
		"unknown tool":       {client.Call{Tool: "nosuch"}, worker.ErrToolNotFound},
		"unknown pool":       {client.Call{Tool: "echo", Pool: "nosuch"}, snakepit.ErrPoolNotFound},
		"missing session":    {client.Call{Tool: "echo", Session: "s", MustExist: true}, session.ErrNotFound},
		"broken JSON":        {client.Call{Tool: "echo", Args: json.RawMessage(`{"value":`)}, session.ErrInvalid},
		"no object":          {client.Call{Tool: "echo", Args: json.RawMessage(`[1]`)}, session.ErrInvalid},
		"not encodable":      {client.Call{Tool: "echo", Args: make(chan int)}, session.ErrInvalid},
		"negative timeout":   {client.Call{Tool: "echo", Timeout: -1}, session.ErrInvalid},
		"bad correlation id": {client.Call{Tool: "echo", CorrelationID: "a\nb"}, session.ErrInvalid},
		"out of time":        {client.Call{Tool: "sleep", Args: map[string]int{"seconds": 60}, Timeout: time.Millisecond}, context.DeadlineExceeded},
	} {
		if err := execute(test.call); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if err := execute(client.Call{Tool: "echo", Args: json.RawMessage(`{"value":`)}); !strings.Contains(err.Error(), "arguments: not valid JSON") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}

	err := execute(client.Call{Tool: "fail", Args: map[string]string{"message": "boom"}})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.ToolRaised || fault.Type != "ValueError" || fault.Message != "boom" || fault.Traceback == "" {
		t.Errorf("what the tool raised became %#v", err)
	}
	err = execute(client.Call{Tool: "add", Args: map[string]string{"a": "one"}})
	if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.InvalidArguments || fault.Parameter != "a" {
		t.Errorf("the wrong argument became %#v", err)
	}
	err = execute(client.Call{Tool: "crash", Args: map[string]int{"code": 3}})
	if crash, ok := errors.AsType[*worker.CrashError](err); !ok || !crash.MaybeExecuted || crash.Worker == "" || crash.Exit.Code != 3 || !errors.Is(err, worker.ErrWorkerCrashed) {
		t.Errorf("the crash became %#v", err)
	}

	named := client.Call{Tool: "remember", Args: map[string]string{"text": "a"}, Session: "once", ID: "call-1"}
	if err := execute(named); err != nil {
		t.Fatal(err)
	}
	if res, err := c.Execute(t.Context(), named); err != nil || !res.Repeated || string(res.Value) == "" || res.StateVersion == 0 {
		t.Errorf("the repeated call: %+v, %v", res, err)
	}
	other := named
	other.Args = map[string]string{"text": "b"}
	if err := execute(other); !errors.Is(err, execution.ErrCallIDReused) {
		t.Errorf("another call under the id: %v", err)
	}
	status, err := c.CallStatus(t.Context(), "once", "call-1")
	if err != nil || status.State != execution.CallCommitted || status.Answer == nil || status.At.IsZero() || status.AnswerSize == 0 {
		t.Errorf("its status: %+v, %v", status, err)
	}
	if status, err := c.CallStatus(t.Context(), "once", "call-2"); err != nil || status.State != execution.CallNotCommitted {
		t.Errorf("the status of another: %+v, %v", status, err)
	}
	if status, err := c.CloseCall(t.Context(), "once", "call-2"); err != nil || status.State != execution.CallClosed {
		t.Errorf("closed: %+v, %v", status, err)
	}
	named.ID = "call-2"
	if err := execute(named); !errors.Is(err, execution.ErrCallClosed) {
		t.Errorf("a call whose id was closed: %v", err)
	}
	large := client.Call{Tool: "echo", Args: map[string]string{"value": strings.Repeat("x", 70_000)}, ID: "large"}
	if err := execute(large); err != nil {
		t.Fatal(err)
	}
	if err := execute(large); !errors.Is(err, execution.ErrAnswerNotKept) {
		t.Errorf("a call whose answer is too large to be kept: %v", err)
	}
}

func TestDeadlineOfTheContextReachesTheTool(t *testing.T) {
	c, engine := serve(t, func(cfg *snakepit.Config) { cfg.Pools[0].Workers = 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Execute(ctx, client.Call{Tool: "sleep", Args: map[string]int{"seconds": 60}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	// The tool was told: the only worker takes the next call.
	if _, err := engine.Execute(t.Context(), "echo", nil); err != nil {
		t.Error(err)
	}
}

func TestNewChecksTheURL(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:7460", "localhost:7460", "ftp://host", "http://", "http://a b"} {
		if _, err := client.New(url, nil); err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:7460") {
			t.Errorf("New(%q): %v", url, err)
		}
	}
	c, err := client.New("http://host:1/prefix/", nil)
	if err != nil || c.URL() != "http://host:1/prefix" {
		t.Errorf("the URL is %q (%v)", c.URL(), err)
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"execute": func() error { _, err := c.Execute(t.Context(), client.Call{Tool: "echo"}); return err },
		"stream": func() error {
			_, err := c.StreamFunc(t.Context(), client.Call{Tool: "echo"}, func(*client.Chunk) error { return nil })
			return err
		},
		"get":    func() error { _, err := c.Get(t.Context(), "s", nil); return err },
		"upload": func() error { _, err := c.PutProgram(t.Context(), "s", "p", "", strings.NewReader("x")); return err },
		"health": func() error { _, _, err := c.Health(t.Context(), "/health"); return err },
	} {
		err := ask()
		if !errors.Is(err, session.ErrUnavailable) || errors.Is(err, session.ErrUnknown) ||
			!strings.Contains(err.Error(), url) || !strings.Contains(err.Error(), "snakepit serve") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err = client.New("http://no-such-host.invalid:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pools(t.Context()); !errors.Is(err, session.ErrUnavailable) || !strings.Contains(err.Error(), "no-such-host.invalid") {
		t.Errorf("a host that does not exist: %v", err)
	}
}

// TestLostConnection cuts the connection under a read and under writes: only
// the writes may have been made.
func TestLostConnection(t *testing.T) {
	const preface = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	for name, cut := range map[string]func(*net.TCPConn){
		"by a reset": func(c *net.TCPConn) { _, _ = io.ReadFull(c, make([]byte, preface+100)); _ = c.SetLinger(0) },
		"after the request": func(c *net.TCPConn) {
			_, _ = io.ReadFull(c, make([]byte, preface+100))
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		},
		"after the server's header": func(c *net.TCPConn) {
			_, _ = c.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0})
			_, _ = io.ReadFull(c, make([]byte, preface+100))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					cut(conn.(*net.TCPConn))
					_ = conn.Close()
				}
			}()
			defer func() { _ = l.Close(); <-ended }()
			c, err := client.New("http://"+l.Addr().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Peek(t.Context(), "s", nil); !errors.Is(err, session.ErrUnavailable) || errors.Is(err, session.ErrUnknown) {
				t.Errorf("a read: %v", err)
			}
			for name, write := range map[string]func() error{
				"execute": func() error { _, err := c.Execute(t.Context(), client.Call{Tool: "echo"}); return err },
				"stream": func() error {
					_, err := c.StreamFunc(t.Context(), client.Call{Tool: "echo"}, func(*client.Chunk) error { return nil })
					return err
				},
				"patch":  func() error { _, err := c.Patch(t.Context(), "s", client.Patch{}); return err },
				"upload": func() error { _, err := c.PutProgram(t.Context(), "s", "p", "", strings.NewReader("x")); return err },
			} {
				if err := write(); !errors.Is(err, session.ErrUnknown) || errors.Is(err, session.ErrUnavailable) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestDrainingEngine(t *testing.T) {
	c, engine := serve(t, nil)
	if err := engine.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Execute(t.Context(), client.Call{Tool: "echo"}); !errors.Is(err, worker.ErrDraining) {
		t.Errorf("got %v", err)
	}
	if _, _, err := c.Create(t.Context(), "s", nil); err != nil {
		t.Errorf("sessions can be written while calls drain: %v", err)
	}
}
