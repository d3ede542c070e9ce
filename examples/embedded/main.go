// Command embedded is a Go program with Snakepit in it: tools in Python, a host
// tool in Go that they call, metrics, sessions on disk, and a shutdown that lets
// running calls end. The program uses the engine itself, and serves the same
// engine beside its own pages.
//
//	go run ./examples/embedded -tools examples/embedded/tools.py -data ./orders
//	curl 'localhost:8080/order?customer=alice&item=tea&count=2'
//	curl localhost:8080/metrics
//	snakepit --server http://localhost:8080 session get alice
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// drainTimeout is how long running calls have to end at a signal.
const drainTimeout = 30 * time.Second

// run serves until ctx ends.
func run(ctx context.Context, args []string, out, log io.Writer) (err error) {
	flags := flag.NewFlagSet("embedded", flag.ContinueOnError)
	tools := flags.String("tools", "tools.py", "the tools")
	data := flags.String("data", "orders", "directory of the sessions")
	listen := flags.String("listen", "127.0.0.1:8080", "address")
	if err := flags.Parse(args); err != nil {
		return err
	}

	// The engine: tools from a file, sessions on disk, a host tool, metrics.
	logger := slog.New(slog.NewTextHandler(log, nil))
	store, err := diskstore.Open(ctx, *data, nil)
	if err != nil {
		return err
	}
	cfg := snakepit.Config{
		Pools:     []snakepit.PoolConfig{{Tools: *tools, Workers: 2}},
		Store:     store, // closed with the engine, also if that does not open
		HostTools: map[string]snakepit.HostTool{"price": snakepit.HostFunc(price)},
		Logger:    logger,
	}
	registry := prometheus.NewRegistry()
	if err := telemetry.Attach(&cfg, registry); err != nil {
		return errors.Join(err, store.Close())
	}
	engine, err := snakepit.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()

	// A page of this program, and the control API for all others.
	mux := http.NewServeMux()
	mux.Handle("GET /order", &orders{engine})
	mux.Handle("/", server.New(server.Options{
		Engine: engine, Logger: logger, Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC without TLS
	srv := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	fmt.Fprintln(out, "ready at http://"+listener.Addr().String())

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// New calls are refused, running ones end, their answers are sent; then the
	// engine is closed.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	return errors.Join(engine.Drain(stopping), srv.Shutdown(stopping))
}

type article struct {
	Item string `json:"item"`
}

type cost struct {
	Cents int `json:"cents"`
}

// price is the host tool of that name.
func price(_ context.Context, a article) (cost, error) {
	cents, ok := map[string]int{"tea": 250, "cake": 420}[a.Item]
	if !ok {
		return cost{}, fmt.Errorf("there is no %q", a.Item)
	}
	return cost{cents}, nil
}

// orders answers /order?customer=...&item=...&count=...
type orders struct{ engine *snakepit.Engine }

// ServeHTTP implements http.Handler.
func (o *orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	count, err := strconv.Atoi(r.FormValue("count"))
	if err != nil {
		http.Error(w, "count is no number", http.StatusBadRequest)
		return
	}
	type order struct{ Items, Total int }
	sum, err := snakepit.CallInSession[order](r.Context(), o.engine, r.FormValue("customer"), "order",
		snakepit.Args{"item": r.FormValue("item"), "count": count})
	var fault *snakepit.ToolError
	switch {
	case err == nil:
		fmt.Fprintf(w, "%d items, %d.%02d\n", sum.Items, sum.Total/100, sum.Total%100)
	case errors.As(err, &fault):
		http.Error(w, fault.Message, http.StatusUnprocessableEntity)
	case errors.Is(err, snakepit.ErrSaturated), errors.Is(err, snakepit.ErrQueueTimeout), errors.Is(err, snakepit.ErrDraining):
		http.Error(w, "busy, try again", http.StatusServiceUnavailable)
	default: // the engine has logged it
		http.Error(w, "this did not work", http.StatusInternalServerError)
	}
}
