package wireerr_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit/execution"
	"github.com/snakepit-go/snakepit/internal/wireerr"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// sentinels are all exported errors of the packages whose errors travel.
var sentinels = map[string]error{
	"session.ErrNotFound":            session.ErrNotFound,
	"session.ErrProgramNotFound":     session.ErrProgramNotFound,
	"session.ErrConflict":            session.ErrConflict,
	"session.ErrUnavailable":         session.ErrUnavailable,
	"session.ErrUnknown":             session.ErrUnknown,
	"session.ErrUnsupported":         session.ErrUnsupported,
	"session.ErrTooLarge":            session.ErrTooLarge,
	"session.ErrInvalid":             session.ErrInvalid,
	"session.ErrCorrupt":             session.ErrCorrupt,
	"session.ErrLocked":              session.ErrLocked,
	"session.ErrClosed":              session.ErrClosed,
	"session.ErrQuotaExceeded":       session.ErrQuotaExceeded,
	"session.ErrStoreFull":           session.ErrStoreFull,
	"session.ErrFenced":              session.ErrFenced,
	"session.ErrAlreadyCommitted":    session.ErrAlreadyCommitted,
	"session.ErrUpdateFailed":        session.ErrUpdateFailed,
	"worker.ErrToolNotFound":         worker.ErrToolNotFound,
	"worker.ErrStateMissing":         worker.ErrStateMissing,
	"worker.ErrStateUnreadable":      worker.ErrStateUnreadable,
	"worker.ErrCanceled":             worker.ErrCanceled,
	"worker.ErrWorkerCrashed":        worker.ErrWorkerCrashed,
	"worker.ErrNoSession":            worker.ErrNoSession,
	"worker.ErrReadOnly":             worker.ErrReadOnly,
	"worker.ErrCallEnded":            worker.ErrCallEnded,
	"worker.ErrProgramNotFound":      worker.ErrProgramNotFound,
	"worker.ErrHostToolNotFound":     worker.ErrHostToolNotFound,
	"worker.ErrSaturated":            worker.ErrSaturated,
	"worker.ErrQueueTimeout":         worker.ErrQueueTimeout,
	"worker.ErrNoWorkers":            worker.ErrNoWorkers,
	"worker.ErrWorkerBusy":           worker.ErrWorkerBusy,
	"worker.ErrWorkerGone":           worker.ErrWorkerGone,
	"worker.ErrDraining":             worker.ErrDraining,
	"worker.ErrWorkerNotFound":       worker.ErrWorkerNotFound,
	"worker.ErrStartFailed":          worker.ErrStartFailed,
	"worker.ErrClosed":               worker.ErrClosed,
	"session.ErrStateConflict":       session.ErrStateConflict,
	"execution.ErrCallIDReused":      execution.ErrCallIDReused,
	"execution.ErrCallClosed":        execution.ErrCallClosed,
	"execution.ErrAnswerNotKept":     execution.ErrAnswerNotKept,
	"worker.ErrStopped":              worker.ErrStopped,
	"execution.ErrStateNotCommitted": execution.ErrStateNotCommitted,
	"execution.ErrSessionWorkerGone": execution.ErrSessionWorkerGone,
	"execution.ErrPoolNotFound":      execution.ErrPoolNotFound,
	"wireerr.ErrOverloaded":          wireerr.ErrOverloaded,
	"context.DeadlineExceeded":       context.DeadlineExceeded,
	"context.Canceled":               context.Canceled,
}

func TestEverySentinelIsInTheTable(t *testing.T) {
	for _, pkg := range []string{"session", "worker", "execution", "internal/wireerr"} {
		for _, name := range exportedErrors(t, filepath.Join("..", "..", pkg)) {
			err, ok := sentinels[filepath.Base(pkg)+"."+name]
			if !ok {
				t.Errorf("%s.%s is new: add it to this test and to the table", pkg, name)
				continue
			}
			rows := 0
			for _, row := range wireerr.Table {
				if row.Err == err {
					rows++
				}
			}
			if rows != 1 {
				t.Errorf("%s.%s has %d rows in the table", pkg, name, rows)
			}
		}
	}
}

func exportedErrors(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s (%v)", dir, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			vars, ok := decl.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR || strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, spec := range vars.Specs {
				for _, ident := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(ident.Name, "Err") {
						names = append(names, ident.Name)
					}
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("no errors found in %s", dir)
	}
	return names
}

func TestReasonsAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, row := range wireerr.Table {
		if seen[row.Reason] || row.Reason == "" {
			t.Errorf("reason %q is empty or stands twice", row.Reason)
		}
		seen[row.Reason] = true
	}
}

// overTheWire encodes and decodes as server and client do.
func overTheWire(err error) error { return wireerr.Decode(wireerr.Encode(err)) }

func TestSentinelsSurvive(t *testing.T) {
	for name, err := range sentinels {
		got := overTheWire(fmt.Errorf("get session %q: %w", "s", err))
		for other, o := range sentinels {
			if errors.Is(got, o) != errors.Is(err, o) {
				t.Errorf("%s: errors.Is(%v, %s) is %t after the wire", name, got, other, errors.Is(got, o))
			}
		}
		if want := fmt.Sprintf("get session %q: %v", "s", err); got.Error() != want {
			t.Errorf("%s: message %q, want %q", name, got, want)
		}
	}
	both := overTheWire(fmt.Errorf("%w: %w", session.ErrUnknown, context.DeadlineExceeded))
	if !errors.Is(both, session.ErrUnknown) || !errors.Is(both, context.DeadlineExceeded) {
		t.Errorf("an error with two causes lost one: %v", both)
	}
}

// TestKindsHideWhatTheyAreKindsOf has an error that is a kind of another one:
// who reads the words is not told of a session that is missing.
func TestKindsHideWhatTheyAreKindsOf(t *testing.T) {
	wire := wireerr.Encode(&session.Error{Op: "program_open", ID: "s", Driver: "memory", Err: fmt.Errorf("%w: %q", session.ErrProgramNotFound, "p")})
	if reasons := wireerr.Info(wire).Reasons; !slices.Equal(reasons, []string{"program_not_found"}) || wire.Code() != connect.CodeNotFound {
		t.Errorf("the reasons are %v", reasons)
	}
	for i, row := range wireerr.Table {
		for _, later := range wireerr.Table[i+1:] {
			if errors.Is(later.Err, row.Err) {
				t.Errorf("%s stands behind %s, which it is a kind of", later.Reason, row.Reason)
			}
		}
	}
}

// Scripts and retry policies go by the code: what a tool raised is not a write
// that nobody can confirm.
func TestToolRaisedHasACodeOfItsOwn(t *testing.T) {
	raised := wireerr.Encode(&worker.ToolError{Kind: worker.ToolRaised}).Code()
	for _, row := range wireerr.Table {
		if row.Code == raised {
			t.Errorf("%s has the code %v, which is that of a tool that raised", row.Reason, raised)
		}
	}
}

func TestTypesSurvive(t *testing.T) {
	for _, kind := range []worker.ToolErrorKind{worker.ToolRaised, worker.InvalidArguments, worker.Unencodable, worker.WorkerFault} {
		fault := &worker.ToolError{Kind: kind, Type: "ValueError", Message: "no", Traceback: "line 1\nline 2", Parameter: "p"}
		err := wireerr.Encode(fmt.Errorf("execute t: %w", fault))
		if err.Code() == 0 {
			t.Errorf("%s has no code", kind)
		}
		if got, ok := errors.AsType[*worker.ToolError](wireerr.Decode(err)); !ok || *got != *fault {
			t.Errorf("tool error became %+v", got)
		}
	}

	crash := &worker.CrashError{Worker: "default-1", MaybeExecuted: true, Exit: worker.Exit{Code: 137, Signal: "SIGKILL", Reason: "killed"}, Cause: worker.CauseNoPong}
	if got, ok := errors.AsType[*worker.CrashError](overTheWire(crash)); !ok || *got != *crash {
		t.Errorf("crash became %+v", got)
	}

	uncommitted := &execution.StateNotCommittedError{Executed: true, Err: fmt.Errorf("commit: %w", session.ErrFenced)}
	got, ok := errors.AsType[*execution.StateNotCommittedError](overTheWire(uncommitted))
	if !ok || !got.Executed || !errors.Is(got.Err, session.ErrFenced) || got.Error() != uncommitted.Error() {
		t.Errorf("uncommitted state became %+v", got)
	}
}

func TestContextOfStoreErrorsSurvives(t *testing.T) {
	invalid := &session.Error{Op: "patch", ID: "s", Driver: "memory", Err: &session.InvalidError{Field: "variable \"a\"", Reason: "is no JSON"}}
	got := overTheWire(fmt.Errorf("call: %w", invalid))
	if e, ok := errors.AsType[*session.Error](got); !ok || e.Op != "patch" || e.ID != "s" || e.Driver != "memory" || e.Error() != invalid.Error() || !errors.Is(e, session.ErrInvalid) {
		t.Errorf("the store's error became %#v", e)
	}
	if e, ok := errors.AsType[*session.InvalidError](got); !ok || e.Error() != invalid.Err.Error() {
		t.Errorf("the invalid argument became %#v", e)
	}
	corrupt := &session.CorruptError{ID: "s", Part: "body", Reason: "checksum"}
	if e, ok := errors.AsType[*session.CorruptError](overTheWire(corrupt)); !ok || *e != *corrupt {
		t.Errorf("the damage became %#v", e)
	}
	both := overTheWire(&execution.StateNotCommittedError{Executed: true, Err: &session.Error{Op: "commit", ID: "s", Err: session.ErrFenced}})
	if u, ok := errors.AsType[*execution.StateNotCommittedError](both); !ok {
		t.Errorf("%v is no StateNotCommittedError", both)
	} else if e, ok := errors.AsType[*session.Error](u.Err); !ok || e.Op != "commit" || !errors.Is(e, session.ErrFenced) {
		t.Errorf("the cause became %#v", u.Err)
	}
}

func TestLongTextsAreCut(t *testing.T) {
	long := strings.Repeat("ä", 1<<20)
	err := wireerr.Encode(&worker.ToolError{Kind: worker.ToolRaised, Type: "E", Message: long, Traceback: "first" + long + "last"})
	info := wireerr.Info(err)
	for name, text := range map[string]string{"message": err.Message(), "tool.message": info.Tool.Message, "traceback": info.Tool.Traceback} {
		if len(text) > 16<<10 || len(text) < 15<<10 || !utf8.ValidString(text) {
			t.Errorf("%s has %d bytes, valid UTF-8 %t", name, len(text), utf8.ValidString(text))
		}
	}
	if !strings.HasSuffix(info.Tool.Traceback, "last") || !strings.HasPrefix(info.Tool.Traceback, "...") {
		t.Error("the end of the traceback, which says most, is gone")
	}
}

func TestRetryable(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{worker.ErrSaturated, true},
		{session.ErrNotFound, false},
		{fmt.Errorf("%w: %w", session.ErrUnavailable, context.DeadlineExceeded), false},
		{&worker.CrashError{MaybeExecuted: true}, false},
		{&worker.CrashError{}, true},
		{&execution.StateNotCommittedError{Executed: true, Err: session.ErrUnavailable}, false},
		{errors.New("boom"), false},
	} {
		if got := wireerr.Info(wireerr.Encode(c.err)).Retryable; got != c.want {
			t.Errorf("%v: retryable %t", c.err, got)
		}
	}
}

func TestRefusalsOfTheProtocol(t *testing.T) {
	for code, want := range map[connect.Code]error{
		connect.CodeInvalidArgument:   session.ErrInvalid,
		connect.CodeResourceExhausted: session.ErrTooLarge,
		connect.CodeUnimplemented:     session.ErrUnsupported,
		connect.CodeUnavailable:       session.ErrUnavailable,
		connect.CodeDeadlineExceeded:  context.DeadlineExceeded,
		connect.CodeCanceled:          context.Canceled,
	} {
		refusal := connect.NewWireError(code, errors.New("no"))
		if got := wireerr.Decode(refusal); !errors.Is(got, want) || !errors.Is(got, refusal) || got.Error() != "no" {
			t.Errorf("%v became %v", code, got)
		}
		if local := connect.NewError(code, errors.New("no")); wireerr.Decode(local) != error(local) {
			t.Errorf("%v, which no server sent, changed", code)
		}
	}
}

func TestOtherErrors(t *testing.T) {
	if err := wireerr.Encode(&worker.ToolError{Kind: "of a newer worker"}); err.Code() != connect.CodeInternal {
		t.Errorf("an unknown kind of tool error has code %v", err.Code())
	}

	if err := wireerr.Encode(errors.New("boom")); err.Code() != connect.CodeInternal {
		t.Errorf("an error nobody knows has code %v", err.Code())
	}
	refused := connect.NewError(connect.CodeUnimplemented, errors.New("no such method"))
	if got := wireerr.Encode(fmt.Errorf("wrapped: %w", refused)); got != refused {
		t.Errorf("an error of the protocol became %v", got)
	}
	if got := wireerr.Decode(refused); !errors.Is(got, refused) {
		t.Errorf("an error without detail became %v", got)
	}
}
