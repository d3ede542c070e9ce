package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

func newPool(e env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "pool",
		Short: "Look at the pools of workers",
	}, newPoolList(e))
}

type poolListOptions struct {
	remote
	output output
}

func newPoolList(e env) *cobra.Command {
	var opts poolListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the pools with their load",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runPoolList(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	return cmd
}

func runPoolList(ctx context.Context, opts poolListOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		pools, err := c.Pools(ctx)
		if err != nil {
			return err
		}
		return opts.output.write(out, pools, func(t *table) {
			t.row("POOL", "READY", "BUSY", "QUEUED", "FOR-TURN", "CALLS", "RESTARTS", "TRANSPORT")
			for _, p := range pools {
				t.row(p.Name, fmt.Sprintf("%d/%d", p.Ready, p.Size), p.Busy, p.Queued, p.AwaitingTurn, p.Calls, p.Restarts, p.Transport)
			}
		})
	})
}
