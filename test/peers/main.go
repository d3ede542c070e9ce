// Command peers calls the same Python function through this project and through
// what one would otherwise take, in one run, and prints a table: latency,
// throughput, processor time, memory, and what callers see when a worker is
// killed. A peer whose Python packages are missing is left out, and said to be.
//
// It is a module of its own, so that nothing it needs is needed by the project.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// workers is the same for all peers; callers is four times as many.
const (
	workers = 2
	callers = 8
)

// A peer is one way to call Python.
type peer struct {
	name string
	// module is what its worker imports beside the standard library, and
	// debian the package that has it.
	module, debian string
	start          func(context.Context, place) (system, error)
}

// A system is a running peer.
type system interface {
	// run calls the function from that many callers for that long. If kill is
	// not zero, one worker is killed after that time.
	run(ctx context.Context, callers int, length, kill time.Duration) (run, error)
	// processes returns the ids of all processes beside this one, and how many
	// of them are workers: those come first.
	processes() (ids []int, workers int)
	close() error
}

// run is what became of the calls of one run.
type run struct {
	times  []time.Duration // of those that were answered
	failed int
}

// place says where the Python files are and what runs them.
type place struct {
	python, dir string
	request     string // the arguments of one call: a JSON object
}

var peers = []peer{
	{name: "snakepit, embedded", start: startEngine},
	{name: "gRPC, one stream a worker", module: "grpc", debian: "python3-grpcio", start: startStream},
	{name: "gRPC, unary", module: "grpc", debian: "python3-grpcio", start: startUnary},
	{name: "HTTP, uvicorn", module: "uvicorn", debian: "uvicorn", start: startHTTP},
	{name: "multiprocessing.Pool", start: startPool},
}

func main() {
	python := flag.String("python", "/usr/bin/python3", "the interpreter of all workers")
	dir := flag.String("dir", ".", "the folder of the Python files")
	length := flag.Duration("for", 4*time.Second, "how long each run takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := compare(ctx, *python, *dir, *length); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, python, dir string, length time.Duration) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	at := place{python: python, dir: dir, request: `{"value": "` + strings.Repeat("x", 1000) + `"}`}
	fmt.Printf("%d workers, calls of 1 KB, JSON on both sides, %v a run, %d processors\n\n", workers, length, runtime.NumCPU())
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "peer\tp50, 1 caller\tp99, 1 caller\tcalls/s, %d callers\tCPU a call\tmemory a worker\tworker killed: failed calls\tworkers after\n", callers)
	var missing []string
	for _, p := range peers {
		if p.module != "" && exec.CommandContext(ctx, python, "-c", "import "+p.module).Run() != nil {
			missing = append(missing, fmt.Sprintf("%s: %s cannot import %s: apt-get install %s", p.name, python, p.module, p.debian))
			continue
		}
		row, err := measure(ctx, p, at, length)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(out, "%s\t%s\n", p.name, row)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, m := range missing {
		fmt.Println("left out:", m)
	}
	return nil
}

// measure returns the cells of one row.
func measure(ctx context.Context, p peer, at place, length time.Duration) (row string, err error) {
	sys, err := p.start(ctx, at)
	if err != nil {
		return "", err
	}
	defer func() {
		if closing := sys.close(); err == nil {
			err = closing
		}
	}()
	if _, err := sys.run(ctx, callers, length/4, 0); err != nil { // warms up
		return "", err
	}
	one, err := sys.run(ctx, 1, length, 0)
	if err != nil {
		return "", err
	}
	before := processorTime(sys)
	many, err := sys.run(ctx, callers, length, 0)
	if err != nil {
		return "", err
	}
	spent := processorTime(sys) - before
	memory := workerMemory(sys)
	killed, err := sys.run(ctx, callers, length, length/4)
	if err != nil {
		return "", err
	}
	if len(one.times) == 0 || len(many.times) == 0 || one.failed+many.failed > 0 {
		return "", fmt.Errorf("%d calls failed without a fault", one.failed+many.failed)
	}
	slices.Sort(one.times)
	n := len(one.times)
	return fmt.Sprintf("%v\t%v\t%.0f\t%v\t%.0f MB\t%d of %d\t%d of %d",
		one.times[n/2].Round(time.Microsecond), one.times[n*99/100].Round(time.Microsecond),
		float64(len(many.times))/length.Seconds(),
		(spent / time.Duration(len(many.times))).Round(time.Microsecond), memory/1e6,
		killed.failed, killed.failed+len(killed.times), livingWorkers(sys), workers), nil
}
