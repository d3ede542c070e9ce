package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

type sessionSetOptions struct {
	remote
	output      output
	stdin       io.Reader
	id          string
	assignments []string
	ttl         ttlFlag
	labels      pairs
	metadata    pairs
	patch       client.Patch // what flags can fill in directly
}

func newSessionSet(e env) *cobra.Command {
	opts := sessionSetOptions{stdin: e.stdin}
	cmd := &cobra.Command{
		Use:   "set ID [KEY=JSON]...",
		Short: "Change variables, labels, metadata or the TTL of a session",
		Long: `Change variables, labels, metadata or the TTL of a session, all in one write.
What is not named stays as it is. The value of a variable is JSON, so a text
needs its own quotes; "-" reads it from standard input and "@FILE" from a file.

With --revision the change is made only if nobody has changed the session since
that revision; if someone has, the exit code is 4.`,
		Example: `  snakepit session set alice count=3 name='"Alice"' --unset draft
  snakepit session set alice notes=@notes.json --label team=blue`,
		Args:              arguments(1, -1),
		ValidArgsFunction: opts.complete(sessionIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.id, opts.assignments = args[0], args[1:]
			return runSessionSet(cmd.Context(), opts, e.stdout)
		},
	}
	flags := cmd.Flags()
	opts.remote.register(flags, e)
	opts.output.register(flags, e)
	flags.StringArrayVar(&opts.patch.Unset, "unset", nil, "remove the variable `KEY`; can be repeated")
	flags.Var(&opts.labels, "label", "set a label; can be repeated")
	flags.StringArrayVar(&opts.patch.UnsetLabels, "unset-label", nil, "remove the label `KEY`; can be repeated")
	flags.Var(&opts.metadata, "metadata", "set metadata; can be repeated")
	flags.StringArrayVar(&opts.patch.UnsetMetadata, "unset-metadata", nil, "remove the metadata `KEY`; can be repeated")
	flags.Var(&opts.ttl, "ttl", "idle time after which it expires")
	flags.StringVar(&opts.patch.ExpectedRevision, "revision", "", "`REVISION` it must have, as session get shows it")
	return cmd
}

func runSessionSet(ctx context.Context, opts sessionSetOptions, out io.Writer) error {
	p := opts.patch
	p.SetLabels, p.SetMetadata, p.TTL = opts.labels, opts.metadata, opts.ttl.d
	var err error
	if p.Set, err = readAssignments(opts.assignments, opts.stdin); err != nil {
		return err
	}
	if len(p.Set)+len(p.Unset)+len(p.SetLabels)+len(p.UnsetLabels)+len(p.SetMetadata)+len(p.UnsetMetadata) == 0 && p.TTL == nil {
		return usagef("nothing to change: give KEY=JSON or a flag")
	}
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		s, err := c.Patch(ctx, opts.id, p)
		if err != nil {
			return err
		}
		return writeSession(out, &opts.output, s)
	})
}
