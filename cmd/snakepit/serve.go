package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/app"
	"github.com/snakepit-go/snakepit/config"
)

type serveOptions struct {
	settings settings
	stderr   io.Writer
	reload   bool
	force    <-chan struct{}
}

func newServe(e env) *cobra.Command {
	opts := serveOptions{settings: settings{environ: e.environ}, stderr: e.stderr, force: e.force}
	cmd := &cobra.Command{
		Use:   "serve --python FILE",
		Short: "Serve the tools of a Python file or module",
		Long: `Serve the tools of a Python file or module, until SIGTERM or SIGINT.

When everything is ready, one line on standard output says where, and what is
served. The log goes to standard error. If the tools cannot be loaded, their
traceback is shown and the command ends.

At the signal, new calls are refused and running ones have
shutdown.drain_timeout to end. A second signal ends them at once. SIGHUP, which
a terminal sends when it goes away, stops the server in the same way; under
nohup it is ignored.

A reader of the log that is stuck or gone holds nothing up: records that find no
room are dropped and counted.

With --reload the Python files below the directory of the tools, and those below
python_path, are watched: when one changes, the workers are restarted one after
another, after the calls they run. If the changed tools do not load, their
traceback is shown and the workers that run go on with what they have.

Sessions live in memory and end with the process, unless --data names a
directory. Only this machine can reach the server, unless --allow-remote is
given: there is no authentication, so whoever reaches the port can run every
tool.`,
		Example: `  snakepit serve --python tools.py
  snakepit serve --python tools.py --data ./data --workers 4
  snakepit serve --config snakepit.yaml`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runServe(cmd.Context(), opts, e.stdout)
		},
	}
	opts.settings.register(cmd.Flags())
	cmd.Flags().BoolVar(&opts.reload, "reload", false, "restart the workers when a Python file beside the tools changes; for development")
	return cmd
}

func runServe(ctx context.Context, opts serveOptions, out io.Writer) error {
	c, err := opts.settings.valid()
	if err != nil {
		return err
	}
	surviveBrokenPipe()
	a, err := app.New(c, app.Options{Stderr: opts.stderr})
	if err != nil {
		return err
	}
	if err := a.Start(ctx); err != nil {
		return err
	}
	announced := apart(func() { fmt.Fprintln(out, readyLine(a, c)) })
	defer await(announced)
	if opts.reload {
		r := &reloader{dirs: watchedDirs(c), log: opts.stderr, restart: func(ctx context.Context) error {
			return a.Engine().RestartWorkers(ctx, "")
		}}
		go r.run(ctx) // nobody waits for it: a reader of its messages may be stuck
	}

	failed := a.Wait(ctx)
	stopping, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() {
		select {
		case <-opts.force:
			cancel()
		case <-stopping.Done():
		}
	}()
	return errors.Join(failed, a.Stop(stopping))
}

// readyLine tells people where the server is and what it serves; its first words are for programs too.
func readyLine(a *app.App, c config.Config) string {
	var line strings.Builder
	fmt.Fprintf(&line, "ready at %s", a.URL())
	for _, p := range a.Engine().Pools() {
		tools, err := a.Engine().Tools(p.Name)
		if err != nil {
			continue // every pool of Pools is there
		}
		names := make([]string, len(tools))
		for i, tool := range tools {
			names[i] = tool.Name
		}
		fmt.Fprintf(&line, "; pool %s: %s: %s", p.Name, count(p.Size, "worker"), strings.Join(names, ", "))
	}
	if c.StoreDriver() == config.DriverMemory {
		line.WriteString("; sessions in memory")
	} else {
		fmt.Fprintf(&line, "; sessions in %s", c.Data)
	}
	return line.String()
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
