package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/snakepit-go/snakepit"
	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/internal/wireerr"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func call(tool, args string) *connect.Request[snakepitv1.ExecuteRequest] {
	return connect.NewRequest(&snakepitv1.ExecuteRequest{Invocation: &snakepitv1.Invocation{Tool: tool, Arguments: []byte(args)}})
}

func stream(tool, args, session string) *connect.Request[snakepitv1.StreamRequest] {
	return connect.NewRequest(&snakepitv1.StreamRequest{Invocation: &snakepitv1.Invocation{Tool: tool, Arguments: []byte(args), Session: session}})
}

func TestExecuteOverEveryProtocol(t *testing.T) {
	r := serve(t, nil)
	eachProtocol(t, r, func(t *testing.T, calls snakepitv1connect.ExecutionServiceClient, sessions snakepitv1connect.SessionServiceClient) {
		ctx := t.Context()
		const value = `{"big":123456789012345678901234567890,"text":"<ä>"}`
		req := call("echo", `{"value":`+value+`}`)
		req.Msg.Invocation.Attachments = [][]byte{{0, 0xff}, nil}
		res, err := calls.Execute(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if string(res.Msg.Result) != value || len(res.Msg.Attachments) != 2 || !bytes.Equal(res.Msg.Attachments[0], []byte{0, 0xff}) {
			t.Errorf("the answer is %v", res.Msg)
		}
		if res.Header().Get(server.CorrelationHeader) == "" {
			t.Error("the answer has no correlation id")
		}

		_, err = calls.Execute(ctx, call("fail", `{"message":"boom ä"}`))
		if fault, ok := errors.AsType[*worker.ToolError](wireerr.Decode(err)); !ok || fault.Message != "boom ä" {
			t.Errorf("the tool's error became %v", err)
		}
		if connect.CodeOf(err) != connect.CodeUnknown {
			t.Errorf("the code is %v", connect.CodeOf(err))
		}
		_, err = calls.Execute(ctx, call("echo", `{"value":`))
		if !errors.Is(wireerr.Decode(err), session.ErrInvalid) && !strings.Contains(err.Error(), "marshal") {
			t.Errorf("broken arguments: %v", err)
		}
		_, err = sessions.Get(ctx, connect.NewRequest(&snakepitv1.GetSessionRequest{Id: "nobody"}))
		if decoded := wireerr.Decode(err); !errors.Is(decoded, session.ErrNotFound) || connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("a session that is missing: %v", err)
		}
	})
}

func TestStreamOverEveryProtocol(t *testing.T) {
	r := serve(t, nil)
	eachProtocol(t, r, func(t *testing.T, calls snakepitv1connect.ExecutionServiceClient, _ snakepitv1connect.SessionServiceClient) {
		s, err := calls.Stream(t.Context(), stream("count", `{"n":50}`, ""))
		if err != nil {
			t.Fatal(err)
		}
		n, done := 0, false
		for s.Receive() {
			if chunk := s.Msg().GetChunk(); chunk != nil {
				if want := fmt.Sprintf(`{"i":%d}`, n); string(chunk.Value) != want || done {
					t.Errorf("chunk %d is %s", n, chunk.Value)
				}
				n++
			}
			done = s.Msg().GetDone() != nil
		}
		if s.Err() != nil || n != 50 || !done {
			t.Errorf("%d chunks, done %t (%v)", n, done, s.Err())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}

		s, err = calls.Stream(t.Context(), stream("nosuch", `{}`, ""))
		if err == nil {
			for s.Receive() {
				t.Errorf("a tool that is missing yielded %v", s.Msg())
			}
			err = s.Err()
			_ = s.Close()
		}
		if !errors.Is(wireerr.Decode(err), worker.ErrToolNotFound) {
			t.Errorf("a tool that is missing: %v", err)
		}
	})
}

// TestClientThatLeavesCancels has clients leave calls and streams that have
// begun. The tool ends, and its session is as before.
func TestClientThatLeavesCancels(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	wait := workertest.Tool{
		Tool: worker.Tool{Name: "wait", Session: true},
		Run: func(inv *workertest.Invocation) (any, error) {
			inv.Vars()["changed"] = []byte("true")
			began <- struct{}{}
			<-inv.Context().Done()
			ended <- struct{}{}
			return nil, context.Cause(inv.Context())
		},
	}
	r := serve(t, func(cfg *snakepit.Config, _ *server.Options) {
		cfg.Pools[0].Transport = &workertest.Fake{Tools: []workertest.Tool{wait}}
	})
	eachProtocol(t, r, func(t *testing.T, calls snakepitv1connect.ExecutionServiceClient, sessions snakepitv1connect.SessionServiceClient) {
		for name, run := range map[string]func(context.Context) error{
			"execute": func(ctx context.Context) error {
				req := call("wait", "{}")
				req.Msg.Invocation.Session = "s"
				_, err := calls.Execute(ctx, req)
				return err
			},
			"stream": func(ctx context.Context) error {
				s, err := calls.Stream(ctx, stream("wait", "{}", "s"))
				if err != nil {
					return err
				}
				for s.Receive() {
					t.Errorf("received %v", s.Msg())
				}
				_ = s.Close()
				return s.Err()
			},
		} {
			ctx, leave := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() { failed <- run(ctx) }()
			<-began
			leave()
			<-ended
			if err := <-failed; connect.CodeOf(err) != connect.CodeCanceled {
				t.Errorf("%s: %v", name, err)
			}
			// The turn of the session is free once the call has ended.
			res, err := sessions.Get(t.Context(), connect.NewRequest(&snakepitv1.GetSessionRequest{Id: "s"}))
			if err != nil || string(res.Msg.Session.Vars) != "{}" {
				t.Errorf("%s: the session is %v (%v)", name, res, err)
			}
		}
	})
}

func TestDeadlinesOverEveryProtocol(t *testing.T) {
	r := serve(t, nil)
	eachProtocol(t, r, func(t *testing.T, calls snakepitv1connect.ExecutionServiceClient, _ snakepitv1connect.SessionServiceClient) {
		// The request's own, which the client sends along.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := calls.Execute(ctx, call("sleep", `{"seconds":60}`)); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("the deadline of the request: %v", err)
		}
		// The call's.
		req := call("sleep", `{"seconds":60}`)
		req.Msg.Invocation.Timeout = durationpb.New(20 * time.Millisecond)
		_, err := calls.Execute(t.Context(), req)
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded || !errors.Is(wireerr.Decode(err), context.DeadlineExceeded) {
			t.Errorf("the timeout of the call: %v", err)
		}
	})
}

func TestProgramsOverEveryProtocol(t *testing.T) {
	r := serve(t, nil)
	content := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	eachProtocol(t, r, func(t *testing.T, _ snakepitv1connect.ExecutionServiceClient, sessions snakepitv1connect.SessionServiceClient) {
		ctx := t.Context()
		if _, err := sessions.Create(ctx, connect.NewRequest(&snakepitv1.CreateSessionRequest{Id: "s"})); err != nil {
			t.Fatal(err)
		}
		up := sessions.PutProgram(ctx)
		for _, part := range []*snakepitv1.PutProgramRequest{
			{Part: &snakepitv1.PutProgramRequest_Start_{Start: &snakepitv1.PutProgramRequest_Start{Session: "s", Name: "p"}}},
			{Part: &snakepitv1.PutProgramRequest_Data{Data: content[:100]}},
			{Part: &snakepitv1.PutProgramRequest_Data{}},
			{Part: &snakepitv1.PutProgramRequest_Data{Data: content[100:]}},
		} {
			if err := up.Send(part); err != nil {
				t.Fatal(err)
			}
		}
		put, err := up.CloseAndReceive()
		if err != nil || put.Msg.Program.Size != int64(len(content)) {
			t.Fatalf("stored %v (%v)", put, err)
		}
		down, err := sessions.GetProgram(ctx, connect.NewRequest(&snakepitv1.GetProgramRequest{Session: "s", Name: "p"}))
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for first := true; down.Receive(); first = false {
			if first != (down.Msg().GetProgram() != nil) {
				t.Error("the first message, and only it, describes the program")
			}
			got = append(got, down.Msg().GetData()...)
		}
		if down.Err() != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back (%v)", len(got), down.Err())
		}
		if err := down.Close(); err != nil {
			t.Error(err)
		}

		for name, parts := range map[string][]*snakepitv1.PutProgramRequest{
			"nothing":       {},
			"no start":      {{Part: &snakepitv1.PutProgramRequest_Data{Data: content}}},
			"a later start": {{Part: &snakepitv1.PutProgramRequest_Start_{Start: &snakepitv1.PutProgramRequest_Start{Session: "s", Name: "q"}}}, {Part: &snakepitv1.PutProgramRequest_Start_{}}},
		} {
			up := sessions.PutProgram(ctx)
			for _, part := range parts {
				_ = up.Send(part) // the answer says what is wrong
			}
			if _, err := up.CloseAndReceive(); !errors.Is(wireerr.Decode(err), session.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestShutdownLetsCallsEnd(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", http2), func(t *testing.T) {
			began, release := make(chan struct{}), make(chan struct{})
			hold := workertest.Tool{Tool: worker.Tool{Name: "hold"}, Run: func(*workertest.Invocation) (any, error) {
				close(began)
				<-release
				return "done", nil
			}}
			r := serve(t, func(cfg *snakepit.Config, _ *server.Options) {
				cfg.Pools[0].Transport = &workertest.Fake{Tools: []workertest.Tool{hold}}
			})
			calls := snakepitv1connect.NewExecutionServiceClient(httpClient(t, http2), r.url)
			type answer struct {
				res *connect.Response[snakepitv1.ExecuteResponse]
				err error
			}
			answered := make(chan answer, 1)
			go func() {
				res, err := calls.Execute(context.WithoutCancel(t.Context()), call("hold", "{}"))
				answered <- answer{res, err}
			}()
			<-began
			stopped := make(chan error, 1)
			go func() { stopped <- r.Shutdown(t.Context()) }()
			// Serve returns once Shutdown has closed the listener.
			if err := <-r.ended; err != nil {
				t.Error(err)
			}
			r.ended <- nil
			select {
			case err := <-stopped:
				t.Errorf("Shutdown did not wait for the call (%v)", err)
			default:
			}
			close(release)
			if a := <-answered; a.err != nil || string(a.res.Msg.Result) != `"done"` {
				t.Errorf("the call ended with %v (%v)", a.res, a.err)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestShutdownCutsOffAtItsDeadline(t *testing.T) {
	began := make(chan struct{})
	hold := workertest.Tool{Tool: worker.Tool{Name: "hold"}, Run: func(inv *workertest.Invocation) (any, error) {
		close(began)
		<-inv.Context().Done()
		return nil, context.Cause(inv.Context())
	}}
	r := serve(t, func(cfg *snakepit.Config, _ *server.Options) {
		cfg.Pools[0].Transport = &workertest.Fake{Tools: []workertest.Tool{hold}}
	})
	calls := snakepitv1connect.NewExecutionServiceClient(httpClient(t, true), r.url)
	failed := make(chan error, 1)
	go func() {
		_, err := calls.Execute(context.WithoutCancel(t.Context()), call("hold", "{}"))
		failed <- err
	}()
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown returned %v", err)
	}
	if err := <-failed; !errors.Is(wireerr.Decode(err), worker.ErrCanceled) {
		t.Errorf("the call ended with %v", err)
	}
}
