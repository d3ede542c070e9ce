package frames_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// host keeps programs in memory.
type host struct {
	mu       sync.Mutex
	programs map[string]string
	aborted  chan string
	tools    map[string]func(context.Context, json.RawMessage) (json.RawMessage, error)
}

func newHost() *host {
	return &host{programs: make(map[string]string), aborted: make(chan string, 10)}
}

func (h *host) ReadProgram(_ context.Context, name string, offset int64, limit int) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.programs[name]
	if !ok {
		return nil, fmt.Errorf("read %q: %w", name, worker.ErrProgramNotFound)
	}
	p = p[min(offset, int64(len(p))):]
	return []byte(p[:min(limit, len(p))]), nil
}

func (h *host) WriteProgram(ctx context.Context, name, contentType string) (io.WriteCloser, error) {
	if name == "" {
		return nil, worker.ErrReadOnly
	}
	return &programWriter{ctx: ctx, host: h, name: name}, nil
}

func (h *host) DeleteProgram(_ context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.programs[name]; !ok {
		return worker.ErrProgramNotFound
	}
	delete(h.programs, name)
	return nil
}

func (h *host) CallTool(ctx context.Context, name string, args json.RawMessage) (json.RawMessage, error) {
	if tool, ok := h.tools[name]; ok {
		return tool(ctx, args)
	}
	return nil, worker.ErrHostToolNotFound
}

type programWriter struct {
	bytes.Buffer
	ctx  context.Context
	host *host
	name string
}

func (w *programWriter) Close() error {
	if w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	if w.Len() > 100 {
		return errors.New("too large")
	}
	w.host.mu.Lock()
	defer w.host.mu.Unlock()
	w.host.programs[w.name] = w.String()
	return nil
}

func (w *programWriter) Abort() error {
	if w.ctx.Err() == nil {
		return errors.New("aborted before its context ended")
	}
	w.host.aborted <- w.name
	return nil
}

func TestToolsAskTheirHost(t *testing.T) {
	conn := peers(t, "serves").start()
	h := newHost()
	h.programs["p"] = "0123456789"
	h.tools = map[string]func(context.Context, json.RawMessage) (json.RawMessage, error){
		"double":  func(_ context.Context, args json.RawMessage) (json.RawMessage, error) { return args, nil },
		"invalid": func(context.Context, json.RawMessage) (json.RawMessage, error) { return json.RawMessage("{"), nil },
		"fails":   func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, errors.New("no luck") },
	}
	for _, c := range []struct{ ask, want string }{
		{`program.read {"call":CALL,"name":"p","offset":2,"limit":3}`, `{"parts":[3]}234`},
		{`program.read {"call":CALL,"name":"p","offset":10,"limit":3}`, `{"parts":[0]}`},
		{`program.read {"call":CALL,"name":"p","offset":0,"limit":2000000000}`, `{"parts":[10]}0123456789`},
		{`program.read {"call":CALL,"name":"p","offset":-1,"limit":3}`, `-32602`},
		{`program.read {"call":CALL,"name":"q","offset":0,"limit":3}`, `"no_program"`},
		{`program.open {"call":CALL,"name":"","content_type":""}`, `"read_only"`},
		{`program.write {"call":CALL,"upload":9,"parts":[]}`, `"no_upload"`},
		{`program.close {"call":CALL,"upload":9}`, `"no_upload"`},
		{`program.abort {"call":CALL,"upload":9}`, `"no_upload"`},
		{`program.delete {"call":CALL,"name":"p"}`, `{}`},
		{`program.delete {"call":CALL,"name":"p"}`, `"no_program"`},
		{`host.call {"call":CALL,"tool":"double","args":{"a":[1,2]}}`, `{"value":{"a":[1,2]}}`},
		{`host.call {"call":CALL,"tool":"double"}`, `{"value":{}}`},
		{`host.call {"call":CALL,"tool":"invalid"}`, `"failed"`},
		{`host.call {"call":CALL,"tool":"fails"}`, `"no luck"`},
		{`host.call {"call":CALL,"tool":"other"}`, `"no_tool"`},
		{`host.call {"call":999,"tool":"double"}`, `"no_call"`},
		{`host.call {"tool":"double"}`, `"no_call"`},
		{`host.call {"call":CALL,"tool":7}`, `-32602`},
		{`host.sing {"call":CALL}`, `-32601`},
	} {
		res, err := conn.Call(t.Context(), &worker.Call{Tool: "ask " + c.ask, Host: h})
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(res.Value, &got); err != nil {
			t.Fatal(err)
		}
		if got != c.want && (c.want[0] == '{' || !strings.Contains(got, c.want)) {
			t.Errorf("%s: got %s, want %s", c.ask, got, c.want)
		}
	}
	for ask, want := range map[string]string{
		`program.read {"call":CALL,"name":"p","offset":0,"limit":1}`: "no_session",
		`program.open {"call":CALL,"name":"p"}`:                      "no_session",
		`program.delete {"call":CALL,"name":"p"}`:                    "no_session",
		`host.call {"call":CALL,"tool":"double"}`:                    "no_tool",
	} {
		if got := mustCall(t, conn, "ask "+ask, "{}"); !strings.Contains(got, want) {
			t.Errorf("without a host: %s: got %s", ask, got)
		}
	}
}

func TestUploads(t *testing.T) {
	conn := peers(t, "serves").start()
	h := newHost()
	// The worker does not wait for the answers: the order must hold.
	for range 50 {
		res, err := conn.Call(t.Context(), &worker.Call{Tool: "pipelined_upload", Host: h})
		if err != nil {
			t.Fatal(err)
		}
		var text string
		if err := json.Unmarshal(res.Value, &text); err != nil {
			t.Fatal(err)
		}
		const want = `{"program":{"name":"p","size":6,"sha256":"bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721","content_type":"text/plain"}}`
		if text != want || h.programs["p"] != "abcdef" {
			t.Fatalf("got %s and %q", text, h.programs["p"])
		}
	}
	if _, err := conn.Call(t.Context(), &worker.Call{Tool: "open_and_leave", Host: h}); err != nil {
		t.Fatal(err)
	}
	if name := <-h.aborted; name != "p" {
		t.Errorf("aborted %q", name)
	}
}

// What a tool asks for ends with its call, and there is a limit to it.
func TestAskingEndsWithTheCall(t *testing.T) {
	conn := peers(t, "serves").start()
	h := newHost()
	ended := make(chan error, 100)
	entered := make(chan struct{}, 100)
	h.tools = map[string]func(context.Context, json.RawMessage) (json.RawMessage, error){
		"wait": func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
			entered <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		},
	}
	res, err := conn.Call(t.Context(), &worker.Call{Tool: "many_asks", Host: h})
	if err != nil || string(res.Value) != "136" {
		t.Fatalf("got %v, %v", res, err)
	}
	for range 64 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a host tool's context: %v", err)
		}
	}
	for range 64 {
		<-entered
	}
}

// gatedHost holds the completion of a program.
type gatedHost struct {
	*host
	closing chan struct{} // closed when it begins
	gate    chan struct{}
	closed  atomic.Bool
}

func newGatedHost() *gatedHost {
	h := &gatedHost{host: newHost(), closing: make(chan struct{}), gate: make(chan struct{})}
	h.tools = map[string]func(context.Context, json.RawMessage) (json.RawMessage, error){
		"closing": func(context.Context, json.RawMessage) (json.RawMessage, error) {
			<-h.closing
			return json.RawMessage("null"), nil
		},
	}
	return h
}

func (h *gatedHost) WriteProgram(context.Context, string, string) (io.WriteCloser, error) {
	return gatedWriter{h}, nil
}

type gatedWriter struct{ h *gatedHost }

func (w gatedWriter) Write(b []byte) (int, error) { return len(b), nil }

func (w gatedWriter) Close() error {
	close(w.h.closing)
	<-w.h.gate
	w.h.closed.Store(true)
	return nil
}

// A call returns when the program request is through that was being served at
// its answer; what had not begun, and what comes later, is refused.
func TestAnAnswerSealsItsCall(t *testing.T) {
	peer := peers(t, "serves")
	conn := peer.start()
	h := newGatedHost()
	returned := make(chan error, 1)
	go func() { returned <- answerWhileAsking(t.Context(), conn, h) }()
	peer.records.await(t, "has answered")
	select {
	case err := <-returned:
		t.Fatalf("the call returned while a program was being completed (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(h.gate)
	if err := <-returned; err != nil || !h.closed.Load() {
		t.Fatalf("the call returned (%v) when the program was complete: %t", err, h.closed.Load())
	}
	peer.records.await(t, "late: done refused refused")
}

// A host that does not come to an end has its bound.
func TestAnAnswerWaitsForNoStuckHost(t *testing.T) {
	t.Run("the caller leaves", func(t *testing.T) {
		peer := peers(t, "serves")
		conn := peer.start()
		h := newGatedHost()
		defer close(h.gate)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		returned := make(chan error, 1)
		go func() { returned <- answerWhileAsking(ctx, conn, h) }()
		peer.records.await(t, "has answered")
		cancel()
		if err := <-returned; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody leaves", func(t *testing.T) {
		conn := peers(t, "serves").start()
		h := newGatedHost()
		defer close(h.gate)
		err := answerWhileAsking(t.Context(), conn, h)
		if fault, ok := errors.AsType[*worker.ToolError](err); !ok || fault.Kind != worker.WorkerFault || !strings.Contains(err.Error(), "5s") {
			t.Errorf("got %v", err)
		}
	})
}

func answerWhileAsking(ctx context.Context, conn worker.Conn, h worker.Host) error {
	_, err := conn.Call(ctx, &worker.Call{Tool: "answer_while_asking", Host: h})
	return err
}
