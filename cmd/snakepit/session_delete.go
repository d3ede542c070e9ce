package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

type sessionDeleteOptions struct {
	remote
	output   output
	id       string
	revision string
}

func newSessionDelete(e env) *cobra.Command {
	var opts sessionDeleteOptions
	cmd := &cobra.Command{
		Use:   "delete ID",
		Short: "Delete a session and its programs",
		Long: `Delete a session and its programs. If there is none, that is success too; with
--revision it is deleted only if nobody has changed it since that revision.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: opts.complete(sessionIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.id = args[0]
			return runSessionDelete(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	cmd.Flags().StringVar(&opts.revision, "revision", "", "`REVISION` it must have, as session get shows it")
	return cmd
}

func runSessionDelete(ctx context.Context, opts sessionDeleteOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		deleted, err := c.Delete(ctx, opts.id, opts.revision)
		if err != nil {
			return err
		}
		return writeDeleted(out, &opts.output, deleted)
	})
}

// writeDeleted says whether there was something to delete.
func writeDeleted(out io.Writer, o *output, deleted bool) error {
	answer := struct {
		Deleted bool `json:"deleted"`
	}{deleted}
	return o.write(out, answer, func(t *table) {
		if deleted {
			t.row("deleted")
		} else {
			t.row("there was none")
		}
	})
}
