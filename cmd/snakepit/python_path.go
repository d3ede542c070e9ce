package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/internal/owndir"
	"github.com/snakepit-go/snakepit/python"
)

func newPythonPath(e env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "python-path",
		Short: "Print where the Python package is, for tests and editors",
		Long: `Print the directory that holds the Python package "snakepit", which is part of
this program. Workers find it by themselves; tests of your tools and your editor
need to be told. It is unpacked there if it is not yet.`,
		Example: `  PYTHONPATH=$(snakepit python-path) python3 -m pytest`,
		Args:    arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return runPythonPath(dir, e.stdout)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`DIRECTORY` to unpack into; by default one in the user's cache")
	return cmd
}

func runPythonPath(dir string, out io.Writer) error {
	dirs := owndir.CachePaths()
	if dir != "" {
		dirs = []string{dir}
	}
	path, err := python.Unpack(dirs...)
	if err != nil {
		return fmt.Errorf("%w; name another one with --dir", err)
	}
	_, err = fmt.Fprintln(out, path)
	return err
}
