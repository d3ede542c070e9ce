package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// exitCode is how a command ends. Scripts rely on the numbers: they do not change.
type exitCode int

const (
	exitOK          exitCode = 0
	exitFailure     exitCode = 1
	exitUsage       exitCode = 2
	exitNotFound    exitCode = 3
	exitRefused     exitCode = 4
	exitTool        exitCode = 5
	exitUnavailable exitCode = 6
	exitUnknown     exitCode = 7
	exitInterrupted exitCode = 130
)

// exitCodes is the table of exit codes, for users and for codeOf: the first row with a matching error decides.
var exitCodes = []struct {
	code    exitCode
	meaning string
	errs    []error
}{
	{exitOK, "success", nil},
	{exitFailure, "any failure that has no code of its own", nil},
	{exitUsage, "wrong flags, arguments or configuration; or the server found an argument invalid", []error{session.ErrInvalid}},
	{exitUnknown, "the outcome is unknown: a worker or the connection was lost during a call, or a write could not be confirmed; look before you repeat",
		[]error{execution.ErrStateNotCommitted, session.ErrUnknown}},
	{exitTool, "the tool raised, or refused its arguments; the traceback is on standard error", nil},
	{exitNotFound, "no such session, program, tool, pool or worker",
		[]error{session.ErrNotFound, worker.ErrProgramNotFound, worker.ErrToolNotFound, worker.ErrWorkerNotFound, execution.ErrPoolNotFound}},
	{exitRefused, "refused as things are: revision conflict, a call id that was used otherwise, quota, size limit, disk full, directory in use",
		[]error{session.ErrConflict, session.ErrAlreadyCommitted, execution.ErrCallIDReused, execution.ErrCallClosed, execution.ErrAnswerNotKept,
			session.ErrFenced, session.ErrQuotaExceeded, session.ErrStoreFull, session.ErrTooLarge, session.ErrLocked,
			worker.ErrStateUnreadable}},
	{exitUnavailable, "not available or not in time: no server, no worker, a full queue, a timeout (the call may still have run)",
		[]error{
			session.ErrUnavailable, session.ErrClosed, client.ErrOverloaded,
			worker.ErrNoWorkers, worker.ErrSaturated, worker.ErrQueueTimeout, worker.ErrWorkerBusy, worker.ErrWorkerGone,
			worker.ErrDraining, worker.ErrClosed, worker.ErrStopped, worker.ErrCanceled, execution.ErrSessionWorkerGone,
			context.DeadlineExceeded, context.Canceled,
		}},
	{exitInterrupted, "interrupted by a signal", nil},
}

// codeOf is the exit code of a command that returned err.
func codeOf(ctx context.Context, err error) exitCode {
	var usage usageError
	var configuration configError
	var crash *worker.CrashError
	var tool *worker.ToolError
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &configuration):
		return exitUsage
	case errors.As(err, &crash) && crash.MaybeExecuted:
		return exitUnknown
	case errors.As(err, &crash):
		return exitUnavailable
	case errors.As(err, &tool):
		return exitTool
	case errors.Is(err, session.ErrStateConflict): // it was not committed, and that is certain
		return exitRefused
	}
	for _, row := range exitCodes {
		for _, target := range row.errs {
			if errors.Is(err, target) {
				return row.code
			}
		}
	}
	return exitFailure
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// report tells the user why a command failed.
func report(w io.Writer, cmd *cobra.Command, err error, code exitCode) {
	if err == nil || code == exitInterrupted {
		return
	}
	fmt.Fprintf(w, "snakepit: %s\n", strings.TrimRight(err.Error(), "\n"))
	if tool, ok := errors.AsType[*worker.ToolError](err); ok && tool.Traceback != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimRight(tool.Traceback, "\n"))
	}
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(w, "Run %q for help.\n", cmd.CommandPath()+" --help")
	}
}

func newExitCodes() *cobra.Command {
	var text strings.Builder
	text.WriteString("Commands end with one of these exit codes. Their numbers do not change.\n")
	for code, meaning := range meanings() {
		fmt.Fprintf(&text, "\n%5d  %s", code, strings.Join(wrap(meaning, 72), "\n       "))
	}
	return &cobra.Command{Use: "exit-codes", Short: "The exit codes and their meaning", Long: text.String()}
}

// meanings yields the exit codes in the order of their numbers.
func meanings() iter.Seq2[exitCode, string] {
	return func(yield func(exitCode, string) bool) {
		for code := exitOK; code <= exitInterrupted; code++ {
			for _, row := range exitCodes {
				if row.code == code && !yield(code, row.meaning) {
					return
				}
			}
		}
	}
}

// wrap breaks a text at spaces into lines of at most width.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func quote(s string) string { return strconv.Quote(s) }
