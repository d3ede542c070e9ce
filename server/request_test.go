package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit"
	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/session/driver"
	"github.com/snakepit-go/snakepit/session/memstore"
)

const (
	execute = "/snakepit.v1.ExecutionService/Execute"
	create  = "/snakepit.v1.SessionService/Create"
	get     = "/snakepit.v1.SessionService/Get"
)

func TestCorrelationIDs(t *testing.T) {
	r := serve(t, func(_ *snakepit.Config, opts *server.Options) {
		opts.Health = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	})
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for name, c := range map[string]struct {
		header []string
		want   string // empty: a new one
	}{
		"given":           {[]string{server.CorrelationHeader, "mine-1"}, "mine-1"},
		"traced":          {[]string{"Traceparent", "00-" + trace + "-00f067aa0ba902b7-01"}, trace},
		"both":            {[]string{"Traceparent", "00-" + trace + "-00f067aa0ba902b7-01", server.CorrelationHeader, "mine-2"}, "mine-2"},
		"none":            {nil, ""},
		"too long":        {[]string{server.CorrelationHeader, strings.Repeat("x", 129)}, ""},
		"with a space":    {[]string{server.CorrelationHeader, "a b"}, ""},
		"a broken traced": {[]string{"Traceparent", "00-zz-00f067aa0ba902b7-01"}, ""},
	} {
		res := r.post(t, execute, `{"invocation":{"tool":"echo"}}`, c.header...)
		id := res.header.Get(server.CorrelationHeader)
		if res.status != http.StatusOK || c.want != "" && id != c.want || c.want == "" && (len(id) < 16 || len(id) > 128) {
			t.Errorf("%s: status %d %s, id %q, want %q", name, res.status, res.body, id, c.want)
		}
		if log := r.log.requests(); !strings.Contains(log[len(log)-1], "correlation_id="+id+"\n") {
			t.Errorf("%s: the record is %q", name, log[len(log)-1])
		}
	}
	if r.send(t, http.MethodGet, "/livez", "").header.Get(server.CorrelationHeader) == "" {
		t.Error("other answers have no correlation id")
	}
}

func TestAccessLog(t *testing.T) {
	r := serve(t, func(cfg *snakepit.Config, _ *server.Options) { cfg.Store = faulty{memstore.New()} })
	const secret = "hunter2"
	for _, c := range []struct {
		procedure, body string
		level           string
		holds           []string
	}{
		{execute, `{"invocation":{"tool":"echo","arguments":{"value":"` + secret + `"}}}`, "DEBUG", []string{"result=ok", "duration_ms="}},
		{execute, `{"invocation":{"tool":"fail","arguments":{"message":"` + secret + `"}}}`, "DEBUG", []string{"result=unknown", "tool_raised"}},
		{execute, `{"invocation":{"tool":"add","arguments":{"a":"` + secret + `"}}}`, "DEBUG", []string{"tool_invalid_arguments"}},
		{execute, `{"invocation":{"arguments":{"a":"` + secret + `"}}}`, "INFO", []string{"invocation.tool: is empty"}},
		{create, `{"id":"s","vars":{"password":"` + secret + `"}}`, "DEBUG", nil},
		{create, `{"id":"s2","vars":{"":"` + secret + `"}}`, "INFO", []string{"result=invalid_argument"}},
		{get, `{"id":"nobody"}`, "INFO", []string{"result=not_found", "session_not_found", "nobody"}},
		{get, `{"id":"damaged"}`, "WARN", []string{"result=data_loss", "corrupt"}},
		{get, `{"id":"gone"}`, "WARN", []string{"result=unavailable", "store_unavailable"}},
	} {
		before := len(r.log.requests())
		body := r.post(t, c.procedure, c.body).body
		log := r.log.requests()
		if len(log) != before+1 {
			t.Errorf("%s: %d records", c.body, len(log)-before)
			continue
		}
		line := log[before]
		for _, part := range append(c.holds, "level="+c.level+" ", "procedure="+c.procedure, "correlation_id=") {
			if !strings.Contains(line, part) {
				t.Errorf("%s was answered %s; its record lacks %q: %s", c.body, body, part, line)
			}
		}
	}
	if text := r.log.String(); strings.Contains(text, secret) {
		t.Errorf("the log holds an argument:\n%s", text)
	}
}

// faulty is a store with faults in the sessions of these ids.
type faulty struct{ driver.Store }

// Get implements driver.Store.
func (f faulty) Get(ctx context.Context, id string, read driver.Read) (*driver.Record, error) {
	switch id {
	case "damaged":
		return nil, driver.ErrCorrupt
	case "gone":
		return nil, driver.ErrUnavailable
	case "panic":
		panic("a fault of the driver")
	}
	return f.Store.Get(ctx, id, read)
}

func TestPanicIsAnInternalError(t *testing.T) {
	r := serve(t, func(cfg *snakepit.Config, _ *server.Options) { cfg.Store = faulty{memstore.New()} })
	res := r.post(t, get, `{"id":"panic"}`)
	if res.status != http.StatusInternalServerError || !strings.Contains(res.body, `"internal"`) || strings.Contains(res.body, "a fault of the driver") {
		t.Errorf("answered %d %s", res.status, res.body)
	}
	if text := r.log.String(); !strings.Contains(text, "a fault of the driver") || !strings.Contains(text, "faulty.Get") {
		t.Errorf("the log does not say what happened:\n%s", text)
	}
	if res := r.post(t, create, `{"id":"s"}`); res.status != http.StatusOK {
		t.Errorf("afterwards: %d", res.status)
	}
}

func TestErrorsOverHTTP(t *testing.T) {
	r := serve(t, func(_ *snakepit.Config, opts *server.Options) { opts.MaxRequest = 10_000 })
	for _, c := range []struct {
		procedure, body string
		status          int
		holds           string
	}{
		{execute, `{"invocation":{"tool":"nosuch"}}`, 404, `"reasons":["tool_not_found"]`},
		{execute, `{"invocation":{"tool":"add","arguments":{"a":1}}}`, 400, `"parameter":"b"`},
		{execute, `{"invocation":{"tool":"crash"}}`, 409, `"maybeExecuted":true`},
		{execute, `{"invocation":{}}`, 400, `"field":"invocation.tool"`},
		{execute, `{"invocation":{"tool":"echo","arguments":[1]}}`, 400, `"field":"invocation.arguments"`},
		{execute, `{"invocation":{"tool":"echo","timeout":"-1s"}}`, 400, `"field":"invocation.timeout"`},
		{execute, `{"invocation":{"toll":"echo"}}`, 400, `field \"invocation.toll\": there is no such field; Invocation has tool, `},
		{execute, `{"invocation":`, 400, `not valid JSON`},
		{execute, ``, 400, `the request is empty`},
		{execute, `{"invocation":{"tool":"` + strings.Repeat("x", 10_000) + `"}}`, 429, "larger than configured max 10000"},
		{create, `{"id":"s","vars":[1]}`, 400, `"field":"vars"`},
		{"/snakepit.v1.SessionService/Patch", `{"id":"s","set":"x"}`, 400, `"field":"set"`},
		{get, `{"id":"nobody"}`, 404, `"name":"get","session":"nobody","driver":"memory"`},
		{"/snakepit.v1.SessionService/Nothing", `{}`, 404, ""},
	} {
		res := r.post(t, c.procedure, c.body)
		if res.status != c.status || !strings.Contains(compact(res.body), c.holds) {
			t.Errorf("%s %.60s answered %d %s; want %d and %q", c.procedure, c.body, res.status, res.body, c.status, c.holds)
		}
	}
	if res := r.send(t, http.MethodGet, execute, ""); res.status != http.StatusMethodNotAllowed {
		t.Errorf("GET answered %d", res.status)
	}
	if res := r.send(t, http.MethodPost, execute, "{}", "Content-Type", "text/plain"); res.status != http.StatusUnsupportedMediaType {
		t.Errorf("plain text answered %d", res.status)
	}
	if res := r.post(t, execute, `{"invocation":{"tool":"echo"}}`, "Content-Type", "application/json; charset=utf-8"); res.status != http.StatusOK {
		t.Errorf("a charset answered %d %s", res.status, res.body)
	}
}

// compact drops the space that Protobuf's JSON scatters at random.
func compact(text string) string {
	var v json.RawMessage
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	var b strings.Builder
	inString := false
	for i, c := range text {
		if c == '"' && (i == 0 || text[i-1] != '\\') {
			inString = !inString
		}
		if c != ' ' || inString {
			b.WriteRune(c)
		}
	}
	return b.String()
}

func TestOtherPaths(t *testing.T) {
	echo := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name, " ", r.URL.Path) })
	}
	r := serve(t, func(_ *snakepit.Config, opts *server.Options) {
		opts.Health, opts.Metrics = echo("health"), echo("metrics")
	})
	for path, want := range map[string]string{
		"/livez": "health /livez", "/readyz": "health /readyz", "/health": "health /health", "/health/sessions": "health /health/sessions",
		"/metrics": "metrics /metrics",
	} {
		if body := r.send(t, http.MethodGet, path, "").body; body != want {
			t.Errorf("%s answered %q, want %q", path, body, want)
		}
	}
	r = serve(t, nil)
	if res := r.send(t, http.MethodGet, "/livez", ""); res.status != http.StatusNotFound {
		t.Errorf("a server without checks answered %d", res.status)
	}
}

func TestServeSaysWhyItEnded(t *testing.T) {
	r := serve(t, nil)
	if err := r.Serve(brokenListener{}); err == nil || !strings.Contains(err.Error(), "out of files") {
		t.Errorf("Serve returned %v", err)
	}
}

var errOutOfFiles = errors.New("out of files")

// Every answer of a list, and every session in it, holds what the store has.
func TestListShowsHeads(t *testing.T) {
	r := serve(t, nil)
	for _, id := range []string{"a", "b", "c"} {
		r.post(t, create, `{"id":"`+id+`","labels":{"l":"x"},"vars":{"v":1}}`)
	}
	body := r.post(t, "/snakepit.v1.SessionService/List", `{"pageSize":2}`).body
	page := new(snakepitv1.ListSessionsResponse)
	if err := codec.Unmarshal([]byte(body), page); err != nil {
		t.Fatal(err)
	}
	if len(page.Sessions) != 2 || page.NextPageToken == "" || page.Sessions[0].Labels["l"] != "x" || page.Sessions[0].Vars != nil || page.Sessions[0].VarsBytes == 0 {
		t.Errorf("the page is %s", body)
	}
	body = r.post(t, "/snakepit.v1.SessionService/List", `{"pageSize":2,"pageToken":"`+page.NextPageToken+`"}`).body
	if strings.Contains(body, "nextPageToken") || !strings.Contains(body, `"id":"c"`) {
		t.Errorf("the last page is %s", body)
	}
}
