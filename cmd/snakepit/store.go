package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

func newStore(e env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "store",
		Short: "Check and repair a data directory",
		Long: `Look at the directory of the disk store, while no server has it open. A server
that refuses to start because its store is damaged says so.`,
	},
		newStoreCommand(e, "check", "Read everything in a data directory, and say what is damaged",
			`Read everything in a data directory and say what is damaged. Nothing is changed.
The command fails if there is damage.`, runStoreCheck),
		newStoreCommand(e, "repair", "Keep what can be read of a damaged data directory",
			`Make a new database of all that can be read in a data directory, say what was
dropped, and set the old database aside in the same directory, where it can
be looked at and deleted. It takes as much room again. Restoring a backup loses
less if there is a recent one.`, runStoreRepair),
	)
}

// storeRun is what a command does with a directory.
type storeRun func(ctx context.Context, dir string, out io.Writer) error

func newStoreCommand(e env, name, short, long string, run storeRun) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     name,
		Short:   short,
		Long:    long,
		Example: "  snakepit store " + name + " --data /var/lib/snakepit",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("name the data directory with --data")
			}
			return run(cmd.Context(), dir, e.stdout)
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "the data `DIRECTORY`")
	return cmd
}

func runStoreCheck(ctx context.Context, dir string, out io.Writer) error {
	report, err := diskstore.Check(ctx, dir, session.Verify)
	printReport(out, report, "damaged", err)
	if err != nil {
		return err
	}
	if n := len(report.Damage); n > 0 {
		return fmt.Errorf("check %q: %d findings: %w; `snakepit store repair --data %s` keeps what can be read", dir, n, driver.ErrCorrupt, dir)
	}
	return nil
}

func runStoreRepair(ctx context.Context, dir string, out io.Writer) error {
	report, err := diskstore.Repair(ctx, dir, session.Verify)
	printReport(out, report, "dropped", err)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the old database is in %s\n", report.Aside)
	return nil
}

func printReport(out io.Writer, report diskstore.Report, what string, err error) {
	for _, d := range report.Damage {
		fmt.Fprintf(out, "%s: %s\n", what, d)
	}
	if err != nil {
		return // not everything was looked at
	}
	fmt.Fprintf(out, "%d sessions and %d parts of programs can be read\n", report.Sessions, report.Items)
}
