package server_test

import (
	"net/http"
	"strings"
	"testing"
)

const (
	getCall   = "/snakepit.v1.ExecutionService/GetCall"
	closeCall = "/snakepit.v1.ExecutionService/CloseCall"
)

func TestIdempotencyKey(t *testing.T) {
	r := serve(t, nil)
	noted := func(field string, header ...string) answer {
		return r.post(t, execute, `{"invocation":{"tool":"remember","arguments":{"text":"x"},"session":"s"`+field+`}}`, header...)
	}
	if res := noted("", "Idempotency-Key", "a"); res.status != http.StatusOK || strings.Contains(res.body, "repeated") {
		t.Fatalf("%d %s", res.status, res.body)
	}
	// The header with and without quotes, and the field, are one id.
	for name, again := range map[string]func() answer{
		"header": func() answer { return noted("", "Idempotency-Key", "a") },
		"quoted": func() answer { return noted("", "Idempotency-Key", `"a"`) },
		"field":  func() answer { return noted(`,"callId":"a"`) },
		"both":   func() answer { return noted(`,"callId":"a"`, "Idempotency-Key", "a") },
	} {
		if res := again(); res.status != http.StatusOK || !strings.Contains(compact(res.body), `"repeated":true`) {
			t.Errorf("%s: %d %s", name, res.status, res.body)
		}
	}
	for name, res := range map[string]answer{
		"both and different": noted(`,"callId":"b"`, "Idempotency-Key", "a"),
		"empty":              noted("", "Idempotency-Key", ""),
		"too long":           noted("", "Idempotency-Key", strings.Repeat("x", 257)),
	} {
		if res.status != http.StatusBadRequest || !strings.Contains(compact(res.body), `"reasons":["invalid"]`) {
			t.Errorf("%s: %d %s", name, res.status, res.body)
		}
	}
	other := r.post(t, execute, `{"invocation":{"tool":"remember","arguments":{"text":"y"},"session":"s"}}`, "Idempotency-Key", "a")
	if other.status != http.StatusConflict || !strings.Contains(compact(other.body), `"reasons":["call_id_reused"]`) {
		t.Errorf("other arguments: %d %s", other.status, other.body)
	}
}

func TestCallStatusOverHTTP(t *testing.T) {
	r := serve(t, nil)
	r.post(t, execute, `{"invocation":{"tool":"remember","arguments":{"text":"x"},"session":"s","callId":"a"}}`)
	for _, c := range []struct{ procedure, body, want string }{
		{getCall, `{"session":"s","callId":"a"}`, `"state":"STATE_COMMITTED"`},
		{getCall, `{"session":"s","callId":"a"}`, `"answer":{"result":`},
		{getCall, `{"session":"s","callId":"b"}`, `"state":"STATE_NOT_COMMITTED"`},
		{closeCall, `{"session":"s","callId":"b"}`, `"state":"STATE_CLOSED"`},
		{execute, `{"invocation":{"tool":"remember","arguments":{"text":"x"},"session":"s","callId":"b"}}`, `"reasons":["call_closed"]`},
		{getCall, `{"session":"nowhere","callId":"a"}`, `"reasons":["session_not_found"]`},
		{getCall, `{"session":"s"}`, `"reasons":["invalid"]`},
		{getCall, `{"callId":"a"}`, `"state":"STATE_NOT_COMMITTED"`},
	} {
		if res := r.post(t, c.procedure, c.body); !strings.Contains(compact(res.body), c.want) {
			t.Errorf("%s %s: %d %s, want %s", c.procedure, c.body, res.status, res.body, c.want)
		}
	}
}
