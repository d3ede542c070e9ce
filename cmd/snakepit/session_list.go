package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

// listPage is how many sessions are asked for at a time.
const listPage = 1000

type sessionListOptions struct {
	remote
	output output
	prefix string
	labels pairs
	limit  int
}

func newSessionList(e env) *cobra.Command {
	var opts sessionListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List sessions in the order of their ids",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSessionList(cmd.Context(), opts, e.stdout)
		},
	}
	flags := cmd.Flags()
	opts.remote.register(flags, e)
	opts.output.register(flags, e)
	flags.StringVar(&opts.prefix, "prefix", "", "only ids that begin with `TEXT`")
	flags.Var(&opts.labels, "label", "only sessions with this label; can be repeated")
	flags.IntVar(&opts.limit, "limit", 0, "at most `N`; all by default")
	return cmd
}

func runSessionList(ctx context.Context, opts sessionListOptions, out io.Writer) error {
	if opts.limit < 0 {
		return usagef("--limit %d is negative", opts.limit)
	}
	page := listPage
	if opts.limit > 0 {
		page = min(page, opts.limit)
	}
	return opts.connect(func(c *client.Client) error {
		list := []sessionJSON{}
		for s, err := range c.All(ctx, client.ListOptions{Prefix: opts.prefix, Labels: opts.labels, Limit: page}) {
			if err != nil {
				return err
			}
			list = append(list, jsonOf(s))
			if len(list) == opts.limit {
				break
			}
		}
		return opts.output.write(out, list, func(t *table) {
			now := time.Now()
			t.row("ID", "IDLE", "EXPIRES IN", "VARIABLES", "PROGRAMS", "OWNER", "LABELS")
			for _, s := range list {
				t.row(s.ID, span(now.Sub(s.LastAccessed)), span(s.Deadline.Sub(now)), size(int64(s.VarsBytes)),
					size(int64(s.ProgramBytes)), dash(s.Owner), dash(pairsText(s.Labels)))
			}
		})
	})
}
