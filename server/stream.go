package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
)

// streamHandler serves a stream to whoever speaks plain HTTP: the request is
// one JSON object, and what comes back one JSON object a line (NDJSON), or
// server-sent events for a client that accepts those.
type streamHandler struct {
	calls      *executionService
	log        *interceptor
	errors     *connect.ErrorWriter
	maxRequest int
	next       http.Handler // takes the other content types
}

// ServeHTTP implements http.Handler.
func (h *streamHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(contentType) != "application/json" {
		h.next.ServeHTTP(w, r)
		return
	}
	began := time.Now()
	out := &eventWriter{w: w, conn: http.NewResponseController(w), sse: strings.Contains(r.Header.Get("Accept"), "text/event-stream")}
	err := h.serve(r, out)
	spec := connect.Spec{Procedure: plainStream, StreamType: connect.StreamTypeServer}
	if err = h.log.done(r.Context(), spec, began, err); err == nil {
		return
	}
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok {
		wire = connect.NewError(connect.CodeInternal, err)
	}
	if !out.begun {
		_ = h.errors.Write(w, r, wire) // an error means that the client has left
		return
	}
	_ = out.write("error", fmt.Appendf(nil, `{"error":%s}`, failureOf(wire).text())) // as above
}

func (h *streamHandler) serve(r *http.Request, out *eventWriter) error {
	ctx := r.Context()
	if ms := r.Header.Get("Connect-Timeout-Ms"); ms != "" {
		n, err := strconv.ParseUint(ms, 10, 40)
		if err != nil {
			return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("Connect-Timeout-Ms: %q is not a number of milliseconds", ms))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(n)*time.Millisecond)
		defer cancel()
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the content encoding %q is not taken here: send plain JSON", encoding))
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, int64(h.maxRequest)+1))
	if err != nil {
		return err
	}
	if len(text) > h.maxRequest {
		return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the request is larger than %d bytes (limits.request_bytes)", h.maxRequest))
	}
	req := new(snakepitv1.StreamRequest)
	if err := (jsonCodec{}).Unmarshal(text, req); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	settle(ctx, func() int { return proto.Size(req) })
	return h.calls.stream(ctx, req.GetInvocation(), r.Header, out.send)
}

// eventWriter writes the messages of a stream as NDJSON or server-sent events,
// each at once.
type eventWriter struct {
	w     http.ResponseWriter
	conn  *http.ResponseController
	sse   bool
	begun bool
}

func (e *eventWriter) send(msg *snakepitv1.StreamResponse) error {
	text, err := (jsonCodec{}).Marshal(msg)
	if err != nil {
		return err
	}
	if msg.GetDone() != nil {
		return e.write("done", text)
	}
	return e.write("chunk", text)
}

func (e *eventWriter) write(event string, text []byte) error {
	form, contentType := "%[2]s\n", "application/x-ndjson"
	if e.sse {
		form, contentType = "event: %s\ndata: %s\n\n", "text/event-stream"
	}
	if !e.begun {
		e.begun = true
		e.w.Header().Set("Content-Type", contentType)
		e.w.Header().Set("Cache-Control", "no-store")
	}
	if _, err := fmt.Fprintf(e.w, form, event, text); err != nil {
		return connect.NewError(connect.CodeCanceled, err)
	}
	return e.conn.Flush()
}
