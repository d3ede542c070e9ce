package execution_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// A session does not expire during its own calls, however short its time to
// live: not one that writes, reads, raises nothing, streams, or waited for its
// turn behind others. And it expires when it should after them.
func TestNoSessionExpiresDuringItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 2, nil)
		defer h.close(t)
		if _, _, err := h.sessions.Create(t.Context(), "s", &session.CreateOptions{TTL: new(100 * time.Millisecond)}); err != nil {
			t.Fatal(err)
		}
		execute := func(tool, text string, timeout time.Duration, onChunk func(worker.Chunk) error) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			req := h.request("s", tool, text)
			req.MustExist = true
			req.Call.OnChunk = onChunk
			_, err := h.Execute(ctx, req)
			return err
		}
		done := make(chan error)
		for range 4 { // each waits for those before it, longer than the session would live
			go func() { done <- execute("slownote", "x", time.Minute, nil) }()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		for _, c := range []struct {
			tool, text string
			onChunk    func(worker.Chunk) error
		}{
			{"wait", "5s", nil},
			{"read", "5s", nil},
			{"wait", "5s", func(worker.Chunk) error { return nil }},
		} {
			if err := execute(c.tool, c.text, time.Minute, c.onChunk); err != nil {
				t.Errorf("%s: %v", c.tool, err)
			}
		}
		if err := execute("wait", "1h", time.Second, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that takes too long: %v", err)
		}
		sess, err := h.sessions.Peek(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(sess.Deadline()); left != 110*time.Millisecond {
			t.Errorf("%v left after the last call", left)
		}
		if len(h.notes(t, "s")) != 4 {
			t.Errorf("notes %q", h.notes(t, "s"))
		}
	})
}

// Overlapping readers and nested calls hold the session each for itself.
func TestHoldsOfReadersAndNestedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *house
		h = open(t, 3, func(o *execution.Options) {
			o.HostTools = map[string]execution.HostTool{"inner": func(ctx context.Context, _ json.RawMessage) (any, error) {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				_, err := h.Execute(ctx, h.request("s", "slownote", "inner"))
				return nil, err
			}}
		})
		defer h.close(t)
		if _, _, err := h.sessions.Create(t.Context(), "s", &session.CreateOptions{TTL: new(100 * time.Millisecond)}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		for _, d := range []string{"1s", "5s"} {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				req := h.request("s", "read", d)
				req.MustExist = true
				_, err := h.Execute(ctx, req)
				done <- err
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		h.do(t, "s", "nest", "3")
		if n := len(h.notes(t, "s")); n != 3 {
			t.Errorf("%d notes", n)
		}
	})
}

// The absolute deadline of a session ends its call: what that changed could not
// be kept.
func TestAbsoluteDeadlineEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, 1, nil)
		defer h.close(t)
		end := time.Now().Add(3 * time.Second)
		if _, _, err := h.sessions.Create(t.Context(), "s", &session.CreateOptions{AbsoluteDeadline: end}); err != nil {
			t.Fatal(err)
		}
		_, err := h.Execute(t.Context(), h.request("s", "wait", "1h"))
		if !errors.Is(err, session.ErrNotFound) || !time.Now().Equal(end) {
			t.Errorf("%v at %v: %v", time.Until(end), end, err)
		}
	})
}
