package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

func newTool(e env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "tool",
		Short: "Look at the tools that are served",
	}, newToolList(e), newToolShow(e))
}

type toolListOptions struct {
	remote
	output output
	pool   string
}

func newToolList(e env) *cobra.Command {
	var opts toolListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tools; as JSON with the schema of their arguments",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runToolList(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	cmd.Flags().StringVar(&opts.pool, "pool", "", "only the tools of the pool `NAME`")
	return cmd
}

func runToolList(ctx context.Context, opts toolListOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		tools, err := c.Tools(ctx, opts.pool)
		if err != nil {
			return err
		}
		return opts.output.write(out, tools, func(t *table) {
			t.row("POOL", "TOOL", "KIND", "DESCRIPTION")
			for _, tool := range tools {
				t.row(tool.Pool, tool.Name, dash(toolKind(tool)), dash(shorten(summary(tool))))
			}
		})
	})
}

// summary is the first line of a tool's documentation.
func summary(t client.Tool) string {
	line, _, _ := strings.Cut(strings.TrimSpace(t.Doc), "\n")
	return line
}

func toolKind(t client.Tool) string {
	var kinds []string
	for _, k := range []struct {
		is   bool
		name string
	}{{t.Session, "session"}, {t.ReadOnly, "readonly"}, {t.Idempotent, "idempotent"}, {t.Streams, "streams"}} {
		if k.is {
			kinds = append(kinds, k.name)
		}
	}
	return strings.Join(kinds, ",")
}
