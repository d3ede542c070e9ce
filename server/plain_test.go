package server_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

const streamPath = "/snakepit.v1.ExecutionService/Stream"

// TestRefusalsHaveJSON asks wrongly in every way that the protocols' handlers
// answer without a body.
func TestRefusalsHaveJSON(t *testing.T) {
	r := serve(t, nil)
	for name, c := range map[string]struct {
		method, path, contentType string
		status                    int
		says                      string
	}{
		"a type that is not taken":         {http.MethodPost, execute, "text/plain", 415, `send the header Content-Type: application/json`},
		"the type of curl -d":              {http.MethodPost, execute, "application/x-www-form-urlencoded", 415, `application/x-www-form-urlencoded`},
		"no type":                          {http.MethodPost, execute, "", 415, `Content-Type: application/json`},
		"plain JSON for an upload":         {http.MethodPost, "/snakepit.v1.SessionService/PutProgram", "application/json", 415, "application/connect+json"},
		"a codec that is not there":        {http.MethodPost, execute, "application/grpc+thrift", 415, "application/grpc+thrift"},
		"GET":                              {http.MethodGet, execute, "", 405, "POST"},
		"no such method":                   {http.MethodPost, "/snakepit.v1.SessionService/Nothing", "application/json", 404, "SessionService/Nothing is no procedure"},
		"no such service":                  {http.MethodPost, "/snakepit.v1.Nothing/Get", "application/json", 404, "no procedure"},
		"no such page":                     {http.MethodGet, "/nothing", "", 404, "there is nothing at /nothing"},
		"a program that cannot be deleted": {http.MethodDelete, "/v1/sessions/s/programs/p", "", 405, "GET, HEAD and PUT"},
	} {
		res := r.send(t, c.method, c.path, "{}", "Content-Type", c.contentType)
		var body struct{ Code, Message string }
		if err := json.Unmarshal([]byte(res.body), &body); err != nil || body.Code == "" || !strings.Contains(body.Message, c.says) ||
			res.status != c.status || res.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: answered %d %v %s", name, res.status, res.header, res.body)
		}
	}
}

// TestPlainStreams reads a stream as lines and as server-sent events, with a
// request of more than the 255 bytes that one byte of length can say.
func TestPlainStreams(t *testing.T) {
	r := serve(t, nil)
	body := `{"invocation":{"tool":"count","arguments":{"n":2},"session":"` + strings.Repeat("s", 400) + `"}}`
	res := r.post(t, streamPath, body)
	lines := strings.Split(res.body, "\n")
	if res.status != http.StatusOK || res.header.Get("Content-Type") != "application/x-ndjson" || len(lines) != 4 ||
		lines[0] != `{"chunk":{"value":{"i":0}}}` || lines[1] != `{"chunk":{"value":{"i":1}}}` || !strings.HasPrefix(lines[2], `{"done":{`) || lines[3] != "" {
		t.Errorf("as lines: %d %v\n%s", res.status, res.header, res.body)
	}
	res = r.post(t, streamPath, body, "Accept", "text/event-stream")
	if events := strings.Split(res.body, "\n\n"); res.header.Get("Content-Type") != "text/event-stream" || len(events) != 4 ||
		events[0] != "event: chunk\ndata: "+`{"chunk":{"value":{"i":0}}}` || !strings.HasPrefix(events[2], "event: done\ndata: {\"done\":{") {
		t.Errorf("as events: %v\n%s", res.header, res.body)
	}
	for name, c := range map[string]struct {
		body   string
		header []string
		status int
		says   string
	}{
		"a tool that is missing":  {`{"invocation":{"tool":"nosuch"}}`, nil, 404, `"tool_not_found"`},
		"no JSON":                 {`{"invocation":`, nil, 400, "not valid JSON"},
		"an unknown field":        {`{"invocation":{"toll":"x"}}`, nil, 400, "there is no such field"},
		"no tool":                 {`{}`, nil, 400, "invocation.tool"},
		"out of time":             {`{"invocation":{"tool":"sleep","arguments":{"seconds":60}}}`, []string{"Connect-Timeout-Ms", "20"}, 504, "deadline_exceeded"},
		"a deadline that is none": {body, []string{"Connect-Timeout-Ms", "soon"}, 400, "Connect-Timeout-Ms"},
	} {
		if res := r.post(t, streamPath, c.body, c.header...); res.status != c.status || !strings.Contains(compact(res.body), c.says) {
			t.Errorf("%s: %d %s", name, res.status, res.body)
		}
	}
	if log := r.log.requests(); !strings.Contains(strings.Join(log, ""), "procedure="+streamPath) {
		t.Error("plain streams have no records")
	}
}

func TestPrograms(t *testing.T) {
	r := serve(t, func(_ *snakepit.Config, opts *server.Options) { opts.MaxRequest, opts.MaxBytesInWork = 1<<20, 2<<20 })
	content := strings.Repeat("0123456789abcdef", 3<<16) // 3 MiB, more than a message and than all requests may have
	sum := sha256.Sum256([]byte(content))
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	for _, names := range [][2]string{{"s", "p.py"}, {"a/b", "c/d"}, {"..", "."}, {"ä ö", "100%?#"}} {
		id, name := names[0], names[1]
		path := "/v1/sessions/" + url.PathEscape(id) + "/programs/" + url.PathEscape(name)
		if id == ".." {
			path = "/v1/sessions/%2E%2E/programs/%2E"
		}
		if res := r.send(t, http.MethodPut, path, content); res.status != http.StatusNotFound || !strings.Contains(res.body, "session_not_found") {
			t.Errorf("%q: without a session: %d %s", id, res.status, res.body)
		}
		r.post(t, create, `{"id":"`+id+`"}`)
		res := r.send(t, http.MethodPut, path, content, "Content-Type", "text/x-python")
		if res.status != http.StatusOK || res.header.Get("ETag") != tag || !strings.Contains(compact(res.body), `"contentType":"text/x-python"`) {
			t.Errorf("%q: put: %d %v %s", id, res.status, res.header, res.body)
		}
		res = r.send(t, http.MethodGet, path, "")
		if res.status != http.StatusOK || res.body != content || res.header.Get("Content-Type") != "text/x-python" || res.header.Get("ETag") != tag ||
			res.header.Get("Content-Security-Policy") != "sandbox" {
			t.Errorf("%q: got %d %v, %d bytes", id, res.status, res.header, len(res.body))
		}
		if res := r.send(t, http.MethodGet, path, "", "If-None-Match", `"x", W/`+tag); res.status != http.StatusNotModified || res.body != "" {
			t.Errorf("%q: unchanged, it is %d %.100s", id, res.status, res.body)
		}
		if res := r.send(t, http.MethodHead, path, ""); res.status != http.StatusOK || res.header.Get("Content-Length") != "3145728" || res.body != "" {
			t.Errorf("%q: HEAD is %d %v", id, res.status, res.header)
		}
	}
	if res := r.send(t, http.MethodGet, "/v1/sessions/s/programs/nosuch", ""); res.status != http.StatusNotFound || !strings.Contains(res.body, "program_not_found") {
		t.Errorf("a program that is missing: %d %s", res.status, res.body)
	}
	if res := r.send(t, http.MethodPut, "/v1/sessions/s/programs/p.py", "x", "If-Match", tag); res.status != http.StatusNotImplemented || !strings.Contains(res.body, "If-Match") {
		t.Errorf("a condition that would be ignored: %d %s", res.status, res.body)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "PUT /v1/sessions/s/programs/large HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", session.MaxProgramSize+1); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "67108865 bytes, more than 67108864") {
		t.Errorf("a program that is too large: %s %s (%v)", res.Status, text, err)
	}
}

// damagedItems is a store whose items cannot be read.
type damagedItems struct{ driver.Store }

func (damagedItems) Item(context.Context, string, string) ([]byte, error) {
	return nil, fmt.Errorf("block 7: %w", driver.ErrCorrupt)
}

func TestAProgramThatCannotBeReadIsAnError(t *testing.T) {
	r := serve(t, func(cfg *snakepit.Config, _ *server.Options) { cfg.Store = damagedItems{memstore.New()} })
	r.post(t, create, `{"id":"s"}`)
	if res := r.send(t, http.MethodPut, "/v1/sessions/s/programs/p", "content"); res.status != http.StatusOK {
		t.Fatalf("put: %d %s", res.status, res.body)
	}
	res := r.send(t, http.MethodGet, "/v1/sessions/s/programs/p", "")
	if res.status != http.StatusInternalServerError || !strings.Contains(res.body, `"corrupt"`) || res.header.Get("ETag") != "" {
		t.Errorf("got %d %v %s", res.status, res.header, res.body)
	}
}

// TestHalfASurrogatePairIsRefused: Python could not encode it again, and two
// names or arguments that differ in it would be taken for one.
func TestHalfASurrogatePairIsRefused(t *testing.T) {
	r := serve(t, nil)
	const patch = "/snakepit.v1.SessionService/Patch"
	r.post(t, create, `{"id":"s"}`)
	for path, bodies := range map[string][]string{
		create:  {`{"id":"n","vars":{"a":"\ud800"}}`, `{"id":"n","vars":{"\udc00":1}}`},
		patch:   {`{"id":"s","set":{"a":["\udc00"]}}`, `{"id":"s","set":{"a":1,"\ud800":1}}`, `{"id":"s","set":{"a":{"\ude00\ud83d":1}}}`},
		execute: {`{"invocation":{"tool":"echo","callId":"c","arguments":{"text":"\ud800"}}}`, `{"invocation":{"tool":"echo","arguments":{"\ud800":1}}}`},
	} {
		for _, body := range bodies {
			if res := r.post(t, path, body); res.status != http.StatusBadRequest || !strings.Contains(res.body, "half of a surrogate pair") {
				t.Errorf("%s: answered %d %s", body, res.status, res.body)
			}
		}
	}
	if res := r.post(t, patch, `{"id":"s","set":{"\ud83d\ude00":"\ud83d\ude00"}}`); res.status != http.StatusOK {
		t.Errorf("a whole pair: %d %s", res.status, res.body)
	}
}

// TestPlainStreamThatFails has a tool fail after its first chunk, when the
// status has been sent: the last object says so.
func TestPlainStreamThatFails(t *testing.T) {
	halfway := workertest.Tool{
		Tool: worker.Tool{Name: "halfway", Streams: true},
		Run: func(inv *workertest.Invocation) (any, error) {
			if err := inv.Yield(1); err != nil {
				return nil, err
			}
			return nil, errors.New("no further")
		},
	}
	r := serve(t, func(cfg *snakepit.Config, _ *server.Options) {
		cfg.Pools[0].Transport = &workertest.Fake{Tools: []workertest.Tool{halfway}}
	})
	res := r.post(t, streamPath, `{"invocation":{"tool":"halfway"}}`)
	var last struct {
		Error struct {
			Code    string
			Details []struct{ Type string }
		}
	}
	lines := strings.Split(strings.TrimSpace(res.body), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != 2 || last.Error.Code == "" ||
		len(last.Error.Details) != 1 || last.Error.Details[0].Type != "snakepit.v1.ErrorInfo" {
		t.Errorf("as lines: %d\n%s", res.status, res.body)
	}
	res = r.post(t, streamPath, `{"invocation":{"tool":"halfway"}}`, "Accept", "text/event-stream")
	if !strings.Contains(res.body, "\n\nevent: error\ndata: {\"error\":{\"code\":") {
		t.Errorf("as events:\n%s", res.body)
	}
}
