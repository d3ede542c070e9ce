package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

type sessionGetOptions struct {
	remote
	output output
	id     string
	peek   bool
}

func newSessionGet(e env) *cobra.Command {
	var opts sessionGetOptions
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show a session",
		Long: `Show a session. That counts as use of it, unless --peek is given. The table cuts
long values; --output json shows everything.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: opts.complete(sessionIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.id = args[0]
			return runSessionGet(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	cmd.Flags().BoolVar(&opts.peek, "peek", false, "do not count as use")
	return cmd
}

func runSessionGet(ctx context.Context, opts sessionGetOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		get := c.Get
		if opts.peek {
			get = c.Peek
		}
		s, err := get(ctx, opts.id, nil)
		if err != nil {
			return err
		}
		return writeSession(out, &opts.output, s)
	})
}
