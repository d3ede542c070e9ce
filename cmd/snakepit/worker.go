package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

func newWorker(e env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "worker",
		Short: "Look at the worker processes, and restart them",
	}, newWorkerList(e), newWorkerRestart(e))
}

type workerListOptions struct {
	remote
	output output
	pool   string
}

func newWorkerList(e env) *cobra.Command {
	var opts workerListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the workers with their process, state and sessions",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runWorkerList(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	cmd.Flags().StringVar(&opts.pool, "pool", "", "only the workers of the pool `NAME`")
	return cmd
}

func runWorkerList(ctx context.Context, opts workerListOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		workers, err := c.Workers(ctx, opts.pool)
		if err != nil {
			return err
		}
		return opts.output.write(out, workers, func(t *table) { workerRows(t, workers) })
	})
}

func workerRows(t *table, workers []client.Worker) {
	t.row("POOL", "WORKER", "PID", "STATE", "SESSIONS", "CALLS", "STARTS", "RUNTIME", "LAST EXIT")
	for _, w := range workers {
		t.row(w.Pool, w.ID, w.PID, w.State, w.Sessions, w.Calls, w.Generation, dash(w.Runtime), dash(shorten(w.LastExit)))
	}
}
