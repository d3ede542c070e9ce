package snakepit

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/internal/correlation"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// failureLog writes one record for each failed call.
type failureLog struct {
	logger     *slog.Logger
	tracebacks bool
}

type failedCall struct {
	tool, pool, session, correlationID string
	took                               time.Duration
	err                                error
}

// Bounds of the texts in a record, which tools choose.
const (
	maxLoggedMessage   = 2 << 10
	maxLoggedTraceback = 16 << 10
)

func (l *failureLog) log(ctx context.Context, c failedCall) {
	kind, level := classify(c.err)
	if !l.logger.Enabled(ctx, level) {
		return
	}
	message := c.err.Error()
	fault, raised := errors.AsType[*worker.ToolError](c.err)
	if raised {
		message = fault.Error()
	}
	attrs := []slog.Attr{slog.String("tool", c.tool), slog.String("pool", c.pool)}
	if c.session != "" {
		attrs = append(attrs, slog.String("session", c.session))
	}
	if call, ok := errors.AsType[*worker.CallError](c.err); ok {
		attrs = append(attrs, slog.String("worker", call.Worker))
	}
	attrs = append(attrs, slog.String("kind", kind), slog.String("error", head(message, maxLoggedMessage)))
	if raised {
		if place := sourceOf(fault.Traceback); place != "" {
			attrs = append(attrs, slog.String("source", place))
		}
	}
	attrs = append(attrs,
		slog.Float64("duration_ms", float64(c.took.Microseconds())/1000),
		slog.String(correlation.LogKey, c.correlationID))
	if raised && l.tracebacks && fault.Traceback != "" {
		attrs = append(attrs, slog.String("traceback", tail(fault.Traceback, maxLoggedTraceback)))
	}
	l.logger.LogAttrs(ctx, level, "call failed", attrs...)
}

// failureKinds says what stands in the log for the errors of calls, and how loud
// it is: loudest what neither the caller nor the author of a tool can mend. The
// first row that matches counts.
var failureKinds = []struct {
	err   error
	kind  string
	level slog.Level
}{
	{execution.ErrStateNotCommitted, "state_not_committed", slog.LevelError},
	{worker.ErrWorkerCrashed, "worker_crashed", slog.LevelError},
	{worker.ErrDraining, "stopping", slog.LevelInfo},
	{worker.ErrStopped, "stopping", slog.LevelInfo},
	{worker.ErrClosed, "stopping", slog.LevelInfo},
	{session.ErrClosed, "stopping", slog.LevelInfo},
	{session.ErrUnknown, "store_failed", slog.LevelError},
	{session.ErrCorrupt, "store_failed", slog.LevelError},
	{session.ErrUnavailable, "store_failed", slog.LevelError},
	{session.ErrStoreFull, "store_failed", slog.LevelError},
	{worker.ErrSaturated, "no_worker_free", slog.LevelWarn},
	{worker.ErrQueueTimeout, "no_worker_free", slog.LevelWarn},
	{worker.ErrNoWorkers, "no_worker_free", slog.LevelWarn},
	{worker.ErrWorkerBusy, "no_worker_free", slog.LevelWarn},
	{worker.ErrWorkerGone, "no_worker_free", slog.LevelWarn},
	{execution.ErrSessionWorkerGone, "no_worker_free", slog.LevelWarn},
	{context.DeadlineExceeded, "deadline_exceeded", slog.LevelWarn},
	{context.Canceled, "canceled", slog.LevelDebug}, // by the caller, who knows
	{worker.ErrCanceled, "canceled", slog.LevelInfo},
}

// faultLevels has the levels of tool errors; their kind is "tool_" and their own.
var faultLevels = map[worker.ToolErrorKind]slog.Level{
	worker.ToolRaised:       slog.LevelWarn, // the author of the tool is to look
	worker.Unencodable:      slog.LevelWarn,
	worker.InvalidArguments: slog.LevelInfo, // the caller is
	worker.WorkerFault:      slog.LevelError,
}

func classify(err error) (kind string, level slog.Level) {
	if fault, ok := errors.AsType[*worker.ToolError](err); ok {
		level, known := faultLevels[fault.Kind]
		if !known {
			level = slog.LevelWarn
		}
		return "tool_" + string(fault.Kind), level
	}
	for _, row := range failureKinds {
		if errors.Is(err, row.err) {
			return row.kind, row.level
		}
	}
	return "refused", slog.LevelInfo
}

var pythonFrame = regexp.MustCompile(`(?m)^ +File "([^"\n]+)", line (\d+)`)

// sourceOf returns where an exception was raised, as "file:line", from the last
// frame of a Python traceback; "" if it has none.
func sourceOf(traceback string) string {
	frames := pythonFrame.FindAllStringSubmatch(traceback, -1)
	if len(frames) == 0 {
		return ""
	}
	last := frames[len(frames)-1]
	return last[1] + ":" + last[2]
}

// head and tail cut a text to at most n bytes and the mark of the cut, without
// splitting a character.
func head(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "..."
}

func tail(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return "..." + strings.ToValidUTF8(text[len(text)-n:], "")
}
