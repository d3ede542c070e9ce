package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

// restartTimeout is longer than the longest call may be by default.
const restartTimeout = 20 * time.Minute

type workerRestartOptions struct {
	remote
	output  output
	id      string
	pool    string
	all     bool
	timeout time.Duration
}

func newWorkerRestart(e env) *cobra.Command {
	var opts workerRestartOptions
	cmd := &cobra.Command{
		Use:   "restart [WORKER]",
		Short: "Replace workers by new ones, which load the tools anew",
		Long: `Replace a worker by a new one, which loads the tools anew, or with --pool or
--all those of a pool or of all pools. The call that a worker runs ends first;
the workers of a pool are replaced one after another, so that the others take
calls meanwhile. The command ends when the new ones are ready.

If one cannot be started, because its tools do not load, their traceback is
shown and the other workers stay as they are. Its place is tried again until
it succeeds.

What tools keep in session.local of a worker is gone with it; what is committed
is not.`,
		Example: `  snakepit worker restart default-1
  snakepit worker restart --all`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				opts.id = args[0]
			}
			return runWorkerRestart(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	cmd.Flags().StringVar(&opts.pool, "pool", "", "all workers of the pool `NAME`")
	cmd.Flags().BoolVar(&opts.all, "all", false, "all workers of all pools")
	cmd.Flags().DurationVar(&opts.timeout, "timeout", restartTimeout, "how long to wait, running calls included")
	return cmd
}

func runWorkerRestart(ctx context.Context, opts workerRestartOptions, out io.Writer) error {
	named := 0
	for _, is := range []bool{opts.id != "", opts.pool != "", opts.all} {
		if is {
			named++
		}
	}
	if named != 1 {
		return usagef("name a worker, or give --pool or --all: one of the three")
	}
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	return opts.connect(func(c *client.Client) error {
		var workers []client.Worker
		var err error
		if opts.id == "" {
			workers, err = c.RestartWorkers(ctx, opts.pool)
		} else {
			workers = make([]client.Worker, 1)
			workers[0], err = c.RestartWorker(ctx, opts.id)
		}
		if err != nil {
			return err
		}
		return opts.output.write(out, workers, func(t *table) { workerRows(t, workers) })
	})
}
