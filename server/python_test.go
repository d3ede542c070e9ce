package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit"
	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/internal/wireerr"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/worker"
)

// TestRealPython has one worker, a Python process, behind the server: what the
// other tests see with workers in this process holds with it too, and whatever
// a test leaves behind is in the way of the next.
func TestRealPython(t *testing.T) {
	testenv.Python(t)
	tools := new(logBuffer)
	r := serve(t, func(cfg *snakepit.Config, _ *server.Options) {
		cfg.Pools[0] = snakepit.PoolConfig{Workers: 1, Tools: filepath.Join(testenv.Root(t), "testdata", "tools.py")}
		cfg.Logger = slog.New(slog.NewTextHandler(tools, nil))
	})
	t.Run("values", func(t *testing.T) { pythonValues(t, r) })
	t.Run("errors", func(t *testing.T) { pythonErrors(t, r) })
	t.Run("streams", func(t *testing.T) { pythonStreams(t, r) })
	t.Run("deadline", func(t *testing.T) { pythonDeadline(t, r) })
	t.Run("correlation", func(t *testing.T) { pythonCorrelation(t, r, tools) })
	t.Run("crash", func(t *testing.T) { pythonCrash(t, r) })
}

func inSession(session, tool, args string) *connect.Request[snakepitv1.ExecuteRequest] {
	req := call(tool, args)
	req.Msg.Invocation.Session = session
	return req
}

func pythonValues(t *testing.T, r *running) {
	raw := make([]byte, 256<<10)
	if _, err := rand.NewChaCha8([32]byte{}).Read(raw); err != nil {
		t.Fatal(err)
	}
	eachProtocol(t, r, func(t *testing.T, calls snakepitv1connect.ExecutionServiceClient, _ snakepitv1connect.SessionServiceClient) {
		for _, value := range []string{`9007199254740993`, `-123456789012345678901234567890`, `{"a":[1.5,"ä",null,true]}`} {
			res, err := calls.Execute(t.Context(), call("echo", `{"value":`+value+`}`))
			if err != nil || string(res.Msg.Result) != value {
				t.Errorf("echo of %s: %v (%v)", value, res, err)
			}
		}
		req := call("echo", `{"value":{"$bytes":0}}`)
		req.Msg.Invocation.Attachments = [][]byte{raw}
		res, err := calls.Execute(t.Context(), req)
		if err != nil || string(res.Msg.Result) != `{"$bytes":0}` || len(res.Msg.Attachments) != 1 || !bytes.Equal(res.Msg.Attachments[0], raw) {
			t.Errorf("the bytes did not come back (%v)", err)
		}
	})
	if res := r.post(t, execute, `{"invocation":{"tool":"echo","arguments":{"value":12345678901234567890}}}`); !strings.Contains(res.body, `"result":12345678901234567890`) {
		t.Errorf("as plain JSON: %d %s", res.status, res.body)
	}
}

func pythonErrors(t *testing.T, r *running) {
	eachProtocol(t, r, func(t *testing.T, calls snakepitv1connect.ExecutionServiceClient, sessions snakepitv1connect.SessionServiceClient) {
		if _, err := calls.Execute(t.Context(), inSession("raising", "remember", `{"text":"kept"}`)); err != nil {
			t.Fatal(err)
		}
		before := vars(t, sessions, "raising")
		_, err := calls.Execute(t.Context(), inSession("raising", "remember_then_raise", `{"text":"gone"}`))
		fault, ok := errors.AsType[*worker.ToolError](wireerr.Decode(err))
		if !ok || fault.Kind != worker.ToolRaised || fault.Type != "ValueError" || fault.Message != "changed my mind" || !strings.Contains(fault.Traceback, "in remember_then_raise") {
			t.Errorf("what the tool raised became %#v", err)
		}
		if after := vars(t, sessions, "raising"); after != before {
			t.Errorf("the tool that raised left %s, before it was %s", after, before)
		}
		_, err = calls.Execute(t.Context(), call("pause", `{"seconds":"long"}`))
		if fault, ok := errors.AsType[*worker.ToolError](wireerr.Decode(err)); !ok || fault.Kind != worker.InvalidArguments || fault.Parameter != "seconds" {
			t.Errorf("the wrong argument became %#v", err)
		}
	})
}

func vars(t *testing.T, sessions snakepitv1connect.SessionServiceClient, id string) string {
	t.Helper()
	res, err := sessions.Get(t.Context(), connect.NewRequest(&snakepitv1.GetSessionRequest{Id: id, Peek: true}))
	if err != nil {
		t.Fatal(err)
	}
	return string(res.Msg.Session.Vars)
}

// pythonStreams takes one stream to its end, which commits, and leaves another
// one, which does not; the worker goes on.
func pythonStreams(t *testing.T, r *running) {
	worked := r.pid(t)
	eachProtocol(t, r, func(t *testing.T, calls snakepitv1connect.ExecutionServiceClient, sessions snakepitv1connect.SessionServiceClient) {
		s, err := calls.Stream(t.Context(), stream("count_to", `{"n":3}`, "counting"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for s.Receive() {
			if chunk := s.Msg().GetChunk(); chunk != nil {
				got = append(got, string(chunk.Value))
			}
		}
		if s.Err() != nil || strings.Join(got, "") != `{"at":1}{"at":2}{"at":3}` {
			t.Errorf("chunks %v (%v)", got, s.Err())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if v := vars(t, sessions, "counting"); v != `{"at":3}` {
			t.Errorf("the stream committed %s", v)
		}

		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		s, err = calls.Stream(ctx, stream("count_to", `{"n":1000000000}`, "counting"))
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if !s.Receive() {
				t.Fatalf("the stream ended early: %v", s.Err())
			}
		}
		leave()
		_ = s.Close() // reports the cancellation
		// The next call of the session has its turn when the stream has ended.
		if _, err := calls.Execute(t.Context(), inSession("counting", "look", `{}`)); err != nil {
			t.Error(err)
		}
		if v := vars(t, sessions, "counting"); v != `{"at":3}` {
			t.Errorf("the stream that was left committed %s", v)
		}
	})
	if works := r.pid(t); works != worked {
		t.Errorf("worker %s was replaced by %s", worked, works)
	}
}

// pid is the process of the only worker.
func (r *running) pid(t *testing.T) string {
	t.Helper()
	res := r.post(t, execute, `{"invocation":{"tool":"pid"}}`)
	var m struct{ Result json.Number }
	if err := json.Unmarshal([]byte(res.body), &m); err != nil || res.status != http.StatusOK {
		t.Fatalf("pid: %d %s (%v)", res.status, res.body, err)
	}
	return m.Result.String()
}

// pythonDeadline sends deadlines as curl does, with a client that would wait
// for ever.
func pythonDeadline(t *testing.T, r *running) {
	const pause = `{"invocation":{"tool":"pause","arguments":{"seconds":600}}}`
	began := time.Now()
	res := r.post(t, execute, pause, "Connect-Timeout-Ms", "100")
	if res.status != http.StatusGatewayTimeout || !strings.Contains(res.body, `"code":"deadline_exceeded"`) || !strings.Contains(compact(res.body), `"reasons":["deadline_exceeded"]`) {
		t.Errorf("the deadline in the header: %d %s", res.status, res.body)
	}
	res = r.post(t, execute, strings.Replace(pause, `}}}`, `},"timeout":"0.1s"}}`, 1))
	if res.status != http.StatusGatewayTimeout {
		t.Errorf("the timeout of the call: %d %s", res.status, res.body)
	}
	r.pid(t) // the tool has ended too: the only worker is free
	if took := time.Since(began); took > time.Minute {
		t.Errorf("that took %v", took)
	}
	if res := r.post(t, execute, pause, "Connect-Timeout-Ms", "soon"); res.status != http.StatusBadRequest || !strings.Contains(res.body, "timeout") {
		t.Errorf("a deadline that is none: %d %s", res.status, res.body)
	}
}

// pythonCorrelation follows an id from the header into what the tool logs.
func pythonCorrelation(t *testing.T, r *running, tools *logBuffer) {
	res := r.post(t, execute, `{"invocation":{"tool":"speak","arguments":{"text":"hello"},"session":"alice"}}`, server.CorrelationHeader, "c-42")
	if res.status != http.StatusOK || res.header.Get(server.CorrelationHeader) != "c-42" {
		t.Fatalf("answered %d %s with the id %q", res.status, res.body, res.header.Get(server.CorrelationHeader))
	}
	for _, msg := range []string{`msg="printed hello"`, `msg="logged hello"`} {
		found := false
		for line := range strings.Lines(tools.String()) {
			found = found || strings.Contains(line, msg) && strings.Contains(line, "correlation_id=c-42") && strings.Contains(line, "session=alice")
		}
		if !found {
			t.Errorf("no record %s with the id and the session in\n%s", msg, tools)
		}
	}
}

func pythonCrash(t *testing.T, r *running) {
	before := r.pid(t)
	path, err := json.Marshal(filepath.Join(t.TempDir(), "crashed"))
	if err != nil {
		t.Fatal(err)
	}
	body := `{"invocation":{"tool":"crash_once","arguments":{"path":` + string(path) + `},"session":"s","callId":"c-1"}}`
	res := r.post(t, execute, body)
	if text := compact(res.body); res.status != http.StatusConflict || !strings.Contains(text, `"reasons":["worker_crashed"]`) || !strings.Contains(text, `"maybeExecuted":true`) {
		t.Errorf("the crash: %d %s", res.status, res.body)
	}
	// It committed nothing, so that the same call runs again, and then not a third time.
	if res := r.post(t, execute, body); res.status != http.StatusOK || !strings.Contains(res.body, `"result":"survived"`) {
		t.Errorf("the same call again: %d %s", res.status, res.body)
	}
	if res := r.post(t, execute, body); res.status != http.StatusOK || !strings.Contains(compact(res.body), `"result":"survived"`) || !strings.Contains(compact(res.body), `"repeated":true`) {
		t.Errorf("a third time: %d %s", res.status, res.body)
	}
	if after := r.pid(t); after == before {
		t.Error("the worker that crashed runs")
	}
}
