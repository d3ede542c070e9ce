package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

type sessionCreateOptions struct {
	remote
	output   output
	stdin    io.Reader
	id       string
	ttl      ttlFlag
	labels   pairs
	metadata pairs
	vars     string
}

func newSessionCreate(e env) *cobra.Command {
	opts := sessionCreateOptions{stdin: e.stdin}
	cmd := &cobra.Command{
		Use:   "create [ID]",
		Short: "Create a session, or show the one that exists",
		Long: `Create a session. One that exists is shown and left as it is: none of the flags
applies to it. Without an ID the server chooses one.`,
		Example: `  snakepit session create alice --ttl 24h --label team=blue --vars '{"notes": []}'`,
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				opts.id = args[0]
			}
			return runSessionCreate(cmd.Context(), opts, e.stdout)
		},
	}
	flags := cmd.Flags()
	opts.remote.register(flags, e)
	opts.output.register(flags, e)
	flags.Var(&opts.ttl, "ttl", "idle time after which it expires; the server's default if not given")
	flags.Var(&opts.labels, "label", "label to find it by in lists; can be repeated")
	flags.Var(&opts.metadata, "metadata", "text that is kept with it; can be repeated")
	flags.StringVar(&opts.vars, "vars", "", "first variables: a `JSON` object, - or @FILE")
	return cmd
}

func runSessionCreate(ctx context.Context, opts sessionCreateOptions, out io.Writer) error {
	vars, err := readObject(opts.vars, opts.stdin)
	if err != nil {
		return err
	}
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		s, created, err := c.Create(ctx, opts.id, &client.CreateOptions{
			TTL: opts.ttl.d, Labels: opts.labels, Metadata: opts.metadata, Vars: vars,
		})
		if err != nil {
			return err
		}
		answer := struct {
			Created bool        `json:"created"`
			Session sessionJSON `json:"session"`
		}{created, jsonOf(s)}
		return opts.output.write(out, answer, func(t *table) {
			sessionRows(t, s)
			if !created {
				t.row("(it existed and was left as it is)")
			}
		})
	})
}
