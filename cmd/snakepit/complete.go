package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

// Completion asks the server, but not for longer than somebody waits for a key to answer, nor for more than fits the
// screen.
const (
	completeTimeout = 500 * time.Millisecond
	completeMost    = 50
)

// complete completes the first argument of a command with what find returns for the text typed so far.
func (r *remote) complete(find func(ctx context.Context, c *client.Client, typed string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault // files
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		var found []string
		// Without a server there is nothing to propose, and no place to say why.
		_ = r.connect(func(c *client.Client) error {
			found = find(ctx, c, typed)
			return nil
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// toolNames finds tools, with their descriptions.
func toolNames(ctx context.Context, c *client.Client, _ string) []string {
	tools, err := c.Tools(ctx, "")
	if err != nil {
		return nil
	}
	var names []string
	for _, t := range tools {
		names = append(names, cobra.CompletionWithDesc(t.Name, summary(t)))
	}
	slices.Sort(names)
	return slices.Compact(names) // pools may share a tool
}

// sessionIDs finds sessions that begin as typed.
func sessionIDs(ctx context.Context, c *client.Client, typed string) []string {
	page, err := c.List(ctx, client.ListOptions{Prefix: typed, Limit: completeMost})
	if err != nil {
		return nil
	}
	var ids []string
	for _, s := range page.Sessions {
		ids = append(ids, s.ID)
	}
	return ids
}
