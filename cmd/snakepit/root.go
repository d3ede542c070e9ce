package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// run runs one command line and returns its exit code.
func run(ctx context.Context, e env, args []string) int {
	e.stdin = interruptible{ctx, e.stdin}
	root := newRoot(e)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	code := codeOf(ctx, err)
	await(apart(func() { report(e.stderr, cmd, err, code) }))
	return int(code)
}

// readerPatience is how long the end of a command waits for who reads its output.
const readerPatience = 5 * time.Second

// apart runs a function that writes in a goroutine of its own, and says when it is done.
func apart(write func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		write()
	}()
	return done
}

// await waits until something is written, or leaves it behind because its reader is stuck.
func await(written <-chan struct{}) {
	select {
	case <-written:
	case <-time.After(readerPatience):
	}
}

func newRoot(e env) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "snakepit",
		Short: "Run Python tools, with sessions whose state survives",
		Long: `Snakepit runs tools written in Python in pools of worker processes. A call that
names a session sees that session's state, and what it changes is committed with
the call: it survives the worker and, with --data, the server.

  snakepit serve --python tools.py --data ./data
  snakepit call remember '{"text": "milk"}' --session alice`,
		SilenceErrors: true, // run reports them, once
		SilenceUsage:  true,
	},
		newVersion(e), newExitCodes(),
	)
	addGroup(root, "Serve:", newServe(e), newPythonPath(e), newConfig(e), newStore(e), newDemo(e))
	addGroup(root, "Use:", newCall(e), newStream(e), newSession(e))
	addGroup(root, "Look:", newTool(e), newWorker(e), newPool(e), newHealth(e))
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [command]",
		Short: "Show the help of a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q", strings.Join(args, " "))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	})
	return root
}

// addGroup adds commands that the help shows together.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
		root.AddCommand(cmd)
	}
}

// group makes a command that only holds others.
func group(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(commands...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		err := errors.New("unknown command " + quote(args[0]))
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			err = errors.New(err.Error() + "; did you mean " + quote(similar[0]) + "?")
		}
		return usageError{err}
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// arguments takes from least to most arguments, and names those missing as the usage line has them.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("arguments are missing: %s", cmd.UseLine())
		case most >= 0 && len(args) > most:
			return usagef("unexpected argument %q: %s", args[most], cmd.UseLine())
		}
		return nil
	}
}
