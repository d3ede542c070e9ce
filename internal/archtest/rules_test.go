package archtest_test

import (
	"testing"

	. "github.com/snakepit-go/snakepit/internal/archtest"
)

// What a package may import, of ours and of others; the standard library always. Arrows point inward to contracts.
var only = []Only{
	{"./session/driver", nil, "the contract of storage drivers stands on nothing, so that anyone can implement it"},
	{"./session", []Pattern{"./session/driver", "./internal/jsontext", "google.golang.org/protobuf/encoding/protowire", "golang.org/x/sync/semaphore"},
		"the facade knows the contract; it is given a driver and never chooses one"},
	{"./session/memstore", []Pattern{"./session/driver", "github.com/tidwall/btree"}, "drivers know their contract only"},
	{"./session/diskstore", []Pattern{"./session/driver", "github.com/cockroachdb/pebble/v2/..."}, "drivers know their contract only"},
	{"./session/drivertest", []Pattern{"./session", "./session/driver", "pgregory.net/rapid", "go.uber.org/goleak"}, "the suite is for every driver and knows none"},
	{"./worker", nil, "a worker pool reaches a session as an id and opaque state; transports are given to it"},
	{"./worker/process", []Pattern{"./worker", "./internal/owndir", "golang.org/x/sys/unix"}, "starting processes is one job"},
	{"./worker/frames", []Pattern{"./worker", "./worker/process", "./internal/jsontext"}, "a transport knows the pool's contract and processes"},
	{"./worker/workertest", []Pattern{"./worker", "go.uber.org/goleak"}, "the suite is for every transport and knows none"},
	{"./execution", []Pattern{"./session", "./session/driver", "./worker", "golang.org/x/sync/semaphore"},
		"execution joins session and worker, over their contracts"},
	{"./api/...", []Pattern{"./api/...", "connectrpc.com/connect", "google.golang.org/protobuf/..."}, "generated code, no logic"},
	{"./config", []Pattern{"github.com/knadh/koanf/v2", "github.com/knadh/koanf/providers/confmap", "go.yaml.in/yaml/v3"},
		"settings are plain values; app turns them into options"},
	{"./python", []Pattern{"./internal/owndir"}, "the embedded SDK is files"},
	{"./internal/correlation", nil, "internal parts stand on the standard library"},
	{"./internal/jsontext", nil, "internal parts stand on the standard library"},
	{"./internal/value", []Pattern{"./internal/jsontext"}, "internal parts stand on the standard library"},
	{"./internal/wireerr", []Pattern{"./session", "./execution", "./worker", "./api/...", "connectrpc.com/connect", "google.golang.org/protobuf/..."},
		"one table of errors for both ends of the wire"},
	{"./internal/logqueue", nil, "internal parts stand on the standard library"},
	{"./internal/owndir", nil, "internal parts stand on the standard library"},
	{"./internal/lifecycle", nil, "internal parts stand on the standard library"},
	{"./internal/testenv", nil, "internal parts stand on the standard library"},
	{"./internal/archtest", nil, "internal parts stand on the standard library"},
}

// heavy is what costs a user of the library binary size and modules to review.
var heavy = []Pattern{
	"github.com/cockroachdb/pebble/...", Future("github.com/nats-io/..."), Future("github.com/redis/..."),
	"connectrpc.com/connect/...", "github.com/spf13/...", "github.com/knadh/...", "go.yaml.in/...",
	"github.com/prometheus/...", "net/http",
}

var drivers = []Pattern{"./session/memstore", "./session/diskstore", Future("./session/natsstore"), Future("./session/redisstore")}

// What a package must not link, by whatever way.
var never = []Never{
	{".", heavy, "who uses the library with sessions in memory pays for nothing else"},
	{"./session", append(drivers, "./worker/...", "./execution", "./config", "./telemetry", Future("./cluster")),
		"sessions know no driver, no worker and no daemon"},
	{"./worker/...", []Pattern{"./session/...", "./execution", "./server", "./config", Future("./cluster")},
		"affinity is just a key: workers know no sessions"},
	{"./execution", append(drivers, "./worker/process", "./worker/frames", "./config", "./server"),
		"execution is given its store and its pools"},
	{"./client", append(drivers, ".", "./server", "./app", "./config", "./worker/process", "./worker/frames", "github.com/spf13/...", "github.com/prometheus/..."),
		"a program that only talks to a server stays small"},
	{"./server", append([]Pattern{"./app", "./client", "./config"}, drivers[1:]...), "handlers are given an engine"},
	{"./app", []Pattern{"./cmd/...", "./client"}, "the daemon does not talk to itself"},
}

// What only some packages may import directly.
var reserved = []Reserved{
	{[]Pattern{"os/exec"}, []Pattern{"./worker/process", "./internal/testenv", "./cmd/snakepit"},
		"one place starts worker processes, and cleans up after them; the demo runs the server to be able to kill it; testenv asks programs for their version"},
	{[]Pattern{"github.com/cockroachdb/pebble/..."}, []Pattern{"./session/diskstore"}, "one package for each outside dependency"},
	{[]Pattern{"github.com/knadh/koanf/...", "go.yaml.in/yaml/..."}, []Pattern{"./config"}, "one package for each outside dependency"},
	{[]Pattern{"github.com/spf13/..."}, []Pattern{"./cmd/..."}, "one package for each outside dependency"},
	{[]Pattern{"github.com/prometheus/..."}, []Pattern{"./telemetry", "./app", "./examples/..."}, "parts report to observers; telemetry exports, and app gives it a registry"},
	{[]Pattern{"connectrpc.com/connect/..."}, []Pattern{"./server", "./client", "./api/...", "./internal/wireerr"}, "the wire is the business of its two ends"},
	{[]Pattern{"./config"}, []Pattern{"./app", "./cmd/..."}, "parts take options, not the daemon's settings"},
	{[]Pattern{"./telemetry"}, []Pattern{"./app", "./cmd/...", "./examples/..."}, "parts report to observers"},
	{[]Pattern{"./cmd/..."}, nil, "commands are the outermost layer"},
	{[]Pattern{"./session/drivertest", "./worker/workertest", "./internal/testenv", "./internal/archtest"}, nil, "these are for tests"},
	{[]Pattern{"testing/...", "pgregory.net/rapid", "go.uber.org/goleak"}, []Pattern{"./session/drivertest", "./worker/workertest", "./internal/testenv"},
		"what users run does not contain test tools"},
	{[]Pattern{"log", "math/rand"}, nil, "the log is slog, from options; random numbers are math/rand/v2 or crypto/rand"},
}

func TestArchitecture(t *testing.T) {
	for _, violation := range Check(load(t), only, never, reserved) {
		t.Error(violation)
	}
}
