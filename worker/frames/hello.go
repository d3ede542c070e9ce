package frames

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/snakepit-go/snakepit/worker"
)

// hello is the worker's first message.
type hello struct {
	Protocol []int         `json:"protocol"`
	SDK      string        `json:"sdk"`
	Runtime  string        `json:"runtime"`
	PID      int           `json:"pid"`
	Capacity int           `json:"capacity"`
	Tools    []worker.Tool `json:"tools"`
}

// greet waits for hello and answers it. The worker is killed when ctx ends.
func (c *conn) greet(ctx context.Context) error {
	defer context.AfterFunc(ctx, c.proc.Kill)()
	for {
		header, body, err := c.frames.next()
		if err != nil {
			return err
		}
		m, err := parse(header, body)
		if err != nil {
			return violation("%v", err)
		}
		switch m.method {
		case "hello":
			return c.welcome(ctx, &m)
		case "start_failed":
			return c.notLoaded(&m)
		case "log":
			c.log(&m)
		}
	}
}

func (c *conn) welcome(ctx context.Context, m *message) error {
	var h hello
	err := m.payload.into(&h)
	if err == nil {
		err = h.check()
	}
	if err != nil {
		reason := "its hello is not valid: " + err.Error()
		_ = c.reply(ctx, m.id, nil, &rpcError{Code: codeInvalidParams, Message: reason})
		return &worker.StartError{Worker: c.spec.ID, Reason: reason}
	}
	version := min(h.Protocol[1], maxVersion)
	if version < max(h.Protocol[0], minVersion) {
		reason := fmt.Sprintf("no common protocol version: the worker (%s) speaks %d to %d, this host %d to %d",
			h.SDK, h.Protocol[0], h.Protocol[1], minVersion, maxVersion)
		_ = c.reply(ctx, m.id, nil, &rpcError{Code: codeNoVersion, Message: reason})
		return &worker.StartError{Worker: c.spec.ID, Reason: reason}
	}
	if h.PID != 0 && h.PID != c.proc.PID() {
		// It was started by a launcher of the user's, or in a container.
		c.spec.Logger.Debug("the worker says another pid than that of the process started for it", "pid", c.proc.PID(), "says", h.PID)
	}
	c.info = worker.Info{
		// Not what the worker says, which may live in a namespace of its own:
		// this one is signalled and looked at.
		PID:      c.proc.PID(),
		Runtime:  h.Runtime,
		SDK:      h.SDK,
		Protocol: version,
		Capacity: max(h.Capacity, 1),
		Tools:    h.Tools,
	}
	c.frames.max = c.opts.MaxFrame
	return c.reply(ctx, m.id, map[string]any{
		"protocol":   version,
		"worker":     c.spec.ID,
		"generation": c.spec.Generation,
		"max_frame":  c.opts.MaxFrame,
		"log_level":  c.logLevel(ctx),
	}, nil)
}

// notLoaded is the error of a worker whose tools do not load.
func (c *conn) notLoaded(m *message) error {
	var p struct{ Type, Message, Traceback string }
	if err := m.payload.into(&p); err != nil {
		return violation("start_failed: %v", err)
	}
	cause := worker.ToolError{Type: p.Type, Message: p.Message}
	return &worker.StartError{
		Worker:    c.spec.ID,
		Reason:    "its tools do not load: " + cause.Error(),
		Traceback: strings.TrimRight(p.Traceback, "\n"),
	}
}

// logLevel is the lowest level that somebody wants to see.
func (c *conn) logLevel(ctx context.Context) string {
	for _, l := range levels {
		if c.spec.Logger.Enabled(ctx, l.level) {
			return l.name
		}
	}
	return "error"
}

// levels are those of the protocol, in ascending order.
var levels = []struct {
	name  string
	level slog.Level
}{
	{"debug", slog.LevelDebug},
	{"info", slog.LevelInfo},
	{"warning", slog.LevelWarn},
	{"error", slog.LevelError},
}

// startError ends a worker that did not start, and explains why.
func (c *conn) startError(ctx context.Context, err error, stderr *printed) error {
	ended := c.awaitEnd(ctx, err)
	if said, ok := errors.AsType[*worker.StartError](err); ok {
		return said
	}
	e := &worker.StartError{Worker: c.spec.ID, Err: err}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case ctx.Err() != nil:
		e.Reason, e.Err = "it did not say hello in time", context.Cause(ctx)
	case ended:
		e.Reason = "its process " + c.proc.Exit().Reason + " before it said hello"
	case errors.Is(err, io.EOF):
		e.Reason = "it closed its socket before it said hello"
	default:
		e.Reason = err.Error()
	}
	if tail := stderr.tail(); tail != "" {
		e.Reason += "; its last words:\n" + tail
	}
	return e
}

// awaitEnd returns when the process has ended, and reports whether it did so by
// itself.
func (c *conn) awaitEnd(ctx context.Context, err error) (byItself bool) {
	if _, broken := errors.AsType[*protocolError](err); !broken {
		// Its socket has ended, or it has said why it does not start: it is
		// about to end.
		timer := time.NewTimer(endWait)
		defer timer.Stop()
		select {
		case <-c.proc.Done():
			byItself = ctx.Err() == nil
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	c.proc.Kill()
	<-c.proc.Done()
	c.socket.Close()
	return byItself
}
