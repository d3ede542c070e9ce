package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/health"
	"github.com/snakepit-go/snakepit/session"
)

type healthOptions struct {
	remote
	output output
}

func newHealth(e env) *cobra.Command {
	var opts healthOptions
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether the server can take calls, check by check",
		Long: `Say whether the server can take calls, check by check. The exit code is 6 if it
cannot.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runHealth(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	return cmd
}

func runHealth(ctx context.Context, opts healthOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		body, ok, err := c.Health(ctx, "/health")
		if err != nil {
			return err
		}
		var report health.Report
		if err := json.Unmarshal(body, &report); err != nil {
			return fmt.Errorf("%s does not answer as a snakepit server: %w", c.URL(), err)
		}
		if err := opts.output.write(out, report, func(t *table) { healthRows(t, report) }); err != nil || ok {
			return err
		}
		return fmt.Errorf("the server at %s is not well: %w", c.URL(), session.ErrUnavailable)
	})
}

func healthRows(t *table, report health.Report) {
	t.row("CHECK", "STATE", "FOR", "DETAIL")
	for _, name := range slices.Sorted(maps.Keys(report.Checks)) {
		s := report.Checks[name]
		state, detail := "ok", s.Error
		if !s.OK {
			state = "failed"
		}
		if detail == "" && s.Detail != nil {
			text, err := json.Marshal(s.Detail)
			if err == nil { // it came as JSON
				detail = string(text)
			}
		}
		t.row(name, state, span(time.Since(s.Since)), dash(detail))
	}
}
