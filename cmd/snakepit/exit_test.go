package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/internal/wireerr"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

func TestExitCodes(t *testing.T) {
	live := t.Context()
	ended, cancel := context.WithCancel(live)
	cancel()
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want exitCode
	}{
		{live, nil, 0},
		{live, errors.New("something"), 1},
		{live, usagef("no"), 2},
		{live, configError{errors.New("no")}, 2},
		{live, &session.InvalidError{Field: "id", Reason: "is empty"}, 2},
		{live, session.ErrNotFound, 3},
		{live, worker.ErrProgramNotFound, 3},
		{live, worker.ErrToolNotFound, 3},
		{live, execution.ErrPoolNotFound, 3},
		{live, session.ErrConflict, 4},
		{live, session.ErrAlreadyCommitted, 4},
		{live, session.ErrQuotaExceeded, 4},
		{live, session.ErrTooLarge, 4},
		{live, session.ErrLocked, 4},
		{live, &worker.ToolError{Kind: worker.ToolRaised, Type: "ValueError"}, 5},
		{live, &worker.ToolError{Kind: worker.InvalidArguments}, 5},
		{live, worker.ErrSaturated, 6},
		{live, client.ErrOverloaded, 6},
		{live, worker.ErrQueueTimeout, 6},
		{live, worker.ErrDraining, 6},
		{live, session.ErrUnavailable, 6},
		{live, context.DeadlineExceeded, 6},
		{live, context.Canceled, 6}, // by the server
		{live, &worker.CrashError{MaybeExecuted: false}, 6},
		{live, &worker.CrashError{MaybeExecuted: true}, 7},
		{live, session.ErrUnknown, 7},
		// The tool ran: that the cause is one of the others does not matter.
		{live, &execution.StateNotCommittedError{Executed: true, Err: session.ErrUnavailable}, 7},
		{live, &execution.StateNotCommittedError{Executed: true, Err: session.ErrConflict}, 7},
		{ended, context.Canceled, 130},
		{ended, session.ErrNotFound, 3}, // the answer came before the signal
	} {
		for _, err := range []error{tt.err, wrapped(tt.err), overNetwork(tt.err)} {
			if got := codeOf(tt.ctx, err); got != tt.want {
				t.Errorf("%v: exit code %d, want %d", err, got, tt.want)
			}
		}
	}
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("around: %w", err)
}

// overNetwork is what arrives when the server answers with an error; errors that are made here never travel.
func overNetwork(err error) error {
	if _, here := errors.AsType[usageError](err); err == nil || here {
		return err
	}
	if _, here := errors.AsType[configError](err); here {
		return err
	}
	return wireerr.Decode(wireerr.Encode(err))
}

// TestEverySentinelHasAnExitCode fails when an error that crosses the network is added and the table is forgotten.
func TestEverySentinelHasAnExitCode(t *testing.T) {
	general := map[error]string{
		worker.ErrNoSession: "a mistake in the tool", worker.ErrReadOnly: "a mistake in the tool", worker.ErrHostToolNotFound: "a mistake in the tool",
		worker.ErrCallEnded: "a mistake in the tool", worker.ErrStateMissing: "never leaves the engine", session.ErrUpdateFailed: "the function is the caller's own",
		session.ErrCorrupt: "an operator has to look", worker.ErrStartFailed: "the author of the tools has to look", session.ErrUnsupported: "an operator has to look",
		worker.ErrWorkerCrashed: "always comes as a CrashError, which is in codeOf",
	}
	for _, row := range wireerr.Table {
		if code := codeOf(t.Context(), row.Err); (code == exitFailure) != (general[row.Err] != "") {
			t.Errorf("%v has the exit code %d: add it to exitCodes, or say here why it has none of its own", row.Err, code)
		}
	}
}

func TestExitCodesAreInOrderAndComplete(t *testing.T) {
	var list []exitCode
	for code, meaning := range meanings() {
		list = append(list, code)
		if meaning == "" {
			t.Errorf("code %d has no meaning", code)
		}
	}
	if got, want := fmt.Sprint(list), "[0 1 2 3 4 5 6 7 130]"; got != want {
		t.Errorf("codes %s, want %s: their numbers do not change", got, want)
	}
}

func TestReport(t *testing.T) {
	cmd := &cobra.Command{Use: "snakepit"}
	for _, tt := range []struct {
		err  error
		code exitCode
		want string
	}{
		{nil, exitOK, ""},
		{context.Canceled, exitInterrupted, ""},
		{errors.New("two\nlines"), exitFailure, "snakepit: two\nlines\n"},
		{usagef("what?"), exitUsage, "snakepit: what?\nRun \"snakepit --help\" for help.\n"},
		{&worker.ToolError{Type: "E", Message: "m", Traceback: "Traceback\n  line\n"}, exitTool, "snakepit: E: m\n\nTraceback\n  line\n"},
	} {
		var out bytes.Buffer
		report(&out, cmd, tt.err, tt.code)
		if out.String() != tt.want {
			t.Errorf("%v is told as\n%q, want\n%q", tt.err, &out, tt.want)
		}
	}
}

// runHere runs a command line in this process.
func runHere(t *testing.T, environ []string, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), env{environ: environ, stdin: strings.NewReader(in), stdout: &stdout, stderr: &stderr}, args)
	return code, stdout.String(), stderr.String()
}

// TestCommandsShareNoState runs command lines whose flags would disturb each other if they were kept anywhere.
func TestCommandsShareNoState(t *testing.T) {
	if code, out, _ := runHere(t, []string{"SNAKEPIT_OUTPUT=json"}, "", "version"); code != 0 || !strings.HasPrefix(out, "{") {
		t.Errorf("version as JSON: %d %s", code, out)
	}
	if code, out, _ := runHere(t, nil, "", "version"); code != 0 || !strings.HasPrefix(out, "snakepit ") {
		t.Errorf("version afterwards: %d %s", code, out)
	}
	if code, out, _ := runHere(t, nil, "", "config", "print", "--workers", "7", "--allow-remote"); code != 0 ||
		!strings.Contains(out, "workers: 7 # flag --workers") || !strings.Contains(out, "allow_remote: true # flag") {
		t.Errorf("config with flags: %d %s", code, out)
	}
	if code, out, _ := runHere(t, nil, "", "config", "print"); code != 0 || strings.Contains(out, "flag --") {
		t.Errorf("config afterwards: %d %s", code, out)
	}
}

// TestInterruptWhileReading ends a command that waits for somebody to type its arguments.
func TestInterruptWhileReading(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	keyboard, hand := io.Pipe()
	defer hand.Close()
	var out bytes.Buffer
	ended := make(chan int)
	go func() {
		ended <- run(ctx, env{stdin: typing{keyboard, cancel}, stdout: &out, stderr: &out}, []string{"call", "echo", "-"})
	}()
	if code := <-ended; code != int(exitInterrupted) || out.Len() > 0 {
		t.Errorf("exit code %d, output %q", code, &out)
	}
}

// typing cancels when it is read from for the first time, and then waits like a keyboard.
type typing struct {
	io.Reader
	cancel context.CancelFunc
}

func (r typing) Read(p []byte) (int, error) {
	r.cancel()
	return r.Reader.Read(p)
}
