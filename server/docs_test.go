package server_test

import (
	"context"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit/app"
	"github.com/snakepit-go/snakepit/config"
	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/internal/wireerr"
	"github.com/snakepit-go/snakepit/worker"
)

func apiPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(t), "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks returns the code blocks of a language in a page.
func blocks(page, language string) (list []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		list = append(list, m[1])
	}
	return list
}

// example is what a reader types, and what the page says comes out. Three dots
// stand for anything.
type example struct{ command, output string }

func examples(block string) (list []example) {
	for line := range strings.Lines(block) {
		last := len(list) - 1
		switch {
		case strings.HasPrefix(line, "$ "):
			list = append(list, example{command: line[2:]})
		case list[last].output == "" && strings.HasPrefix(line, "    "):
			list[last].command += line
		default:
			list[last].output += line
		}
	}
	return list
}

// TestExamplesOfThePage runs every example of docs/api.md, as it stands there,
// against the real daemon with real Python.
func TestExamplesOfThePage(t *testing.T) {
	python := testenv.Python(t)
	testenv.Command(t, "curl", "curl")
	bash := testenv.Command(t, "bash", "bash")
	page := apiPage(t)
	tools := blocks(page, "python")
	if len(tools) != 1 {
		t.Fatalf("the page has %d blocks of Python, want the tools", len(tools))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tools.py"), []byte(tools[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Listen, cfg.RunDir = "127.0.0.1:0", dir
	pool := config.DefaultPool()
	pool.Name, pool.Workers, pool.Python, pool.Interpreter = "default", 2, filepath.Join(dir, "tools.py"), python
	cfg.Pools = []config.Pool{pool}
	daemon, err := app.New(cfg, app.Options{Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := daemon.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	_, port, _ := strings.Cut(daemon.Address(), ":")

	ran := 0
	for _, block := range blocks(page, "console") {
		variables := "" // assignments hold for the rest of the block
		for _, e := range examples(block) {
			if e.output == "" {
				variables += e.command
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			cmd := exec.CommandContext(ctx, bash, "-c", strings.ReplaceAll(variables+e.command, "localhost:7460", "127.0.0.1:"+port))
			out, err := cmd.Output()
			cancel()
			got := strings.TrimSpace(string(out))
			if err != nil || !regexp.MustCompile(pattern(e.output)).MatchString(got) {
				t.Errorf("%s\nprinted\n%s\n(%v); the page says\n%s", e.command, got, err, e.output)
			}
			ran++
		}
	}
	if ran < 15 {
		t.Errorf("the page has only %d examples", ran)
	}
}

func pattern(output string) string {
	return "^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(output)), regexp.QuoteMeta("..."), ".*") + "$"
}

// TestErrorsOfThePage compares the page's table of errors with the one in force.
func TestErrorsOfThePage(t *testing.T) {
	documented := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| (\\d+) \\| (yes|no) \\| .+ \\|$").FindAllStringSubmatch(apiPage(t), -1) {
		documented[m[1]] = strings.Join(m[2:], " ")
	}
	actual := make(map[string]string)
	add := func(err error) {
		wire := wireerr.Encode(err)
		info := wireerr.Info(wire)
		retryable := "no"
		if info.Retryable {
			retryable = "yes"
		}
		actual[info.Reasons[0]] = strings.Join([]string{wire.Code().String(), strconv.Itoa(statusOf[wire.Code()]), retryable}, " ")
	}
	for _, row := range wireerr.Table {
		add(row.Err)
	}
	for _, kind := range []worker.ToolErrorKind{worker.ToolRaised, worker.InvalidArguments, worker.Unencodable, worker.WorkerFault} {
		add(&worker.ToolError{Kind: kind})
	}
	add(io.ErrClosedPipe)
	for _, reason := range slices.Sorted(maps.Keys(actual)) {
		if documented[reason] != actual[reason] {
			t.Errorf("%s is %q and documented as %q", reason, actual[reason], documented[reason])
		}
		delete(documented, reason)
	}
	if len(documented) > 0 {
		t.Errorf("documented and not there: %v", documented)
	}
}

// statusOf is the Connect protocol's HTTP status of a code.
var statusOf = map[connect.Code]int{
	connect.CodeCanceled: 499, connect.CodeUnknown: 500, connect.CodeInvalidArgument: 400, connect.CodeDeadlineExceeded: 504,
	connect.CodeNotFound: 404, connect.CodeAlreadyExists: 409, connect.CodeResourceExhausted: 429, connect.CodeFailedPrecondition: 400,
	connect.CodeAborted: 409, connect.CodeUnimplemented: 501, connect.CodeInternal: 500, connect.CodeUnavailable: 503, connect.CodeDataLoss: 500,
}
