package server_test

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"

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

// TestErrorsOfAPIPage compares docs/api.md's table of errors with the one in force.
func TestErrorsOfAPIPage(t *testing.T) {
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
