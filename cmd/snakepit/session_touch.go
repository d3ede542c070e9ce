package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

type sessionTouchOptions struct {
	remote
	output output
	id     string
}

func newSessionTouch(e env) *cobra.Command {
	var opts sessionTouchOptions
	cmd := &cobra.Command{
		Use:               "touch ID",
		Short:             "Put off the expiry of a session",
		Args:              arguments(1, 1),
		ValidArgsFunction: opts.complete(sessionIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.id = args[0]
			return runSessionTouch(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	return cmd
}

func runSessionTouch(ctx context.Context, opts sessionTouchOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		s, err := c.Touch(ctx, opts.id)
		if err != nil {
			return err
		}
		return writeSession(out, &opts.output, s)
	})
}
