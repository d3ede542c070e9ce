package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

func newSessionPrograms(e env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "programs",
		Short: "List, store, fetch and delete the programs of a session",
		Long: `List, store, fetch and delete the programs of a session: named bytes that tools
reach as session.programs, up to 64 MiB each.`,
	}, newProgramsList(e), newProgramsPut(e), newProgramsGet(e), newProgramsDelete(e))
}

// programOptions are shared by the commands about programs.
type programOptions struct {
	remote
	output      output
	session     string
	name        string
	file        string
	contentType string
}

func newProgramsList(e env) *cobra.Command {
	var opts programOptions
	cmd := &cobra.Command{
		Use:               "list ID",
		Short:             "List the programs of a session",
		Args:              arguments(1, 1),
		ValidArgsFunction: opts.complete(sessionIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.session = args[0]
			return runProgramsList(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	return cmd
}

func runProgramsList(ctx context.Context, opts programOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		programs, err := c.Programs(ctx, opts.session)
		if err != nil {
			return err
		}
		return opts.output.write(out, programs, func(t *table) {
			t.row("NAME", "SIZE", "TYPE", "UPDATED", "SHA-256")
			for _, p := range programs {
				t.row(p.Name, size(p.Size), dash(p.ContentType), moment(p.Updated), p.SHA256)
			}
		})
	})
}

func newProgramsPut(e env) *cobra.Command {
	var opts programOptions
	cmd := &cobra.Command{
		Use:   "put ID NAME [FILE]",
		Short: "Store a file, or standard input, as a program",
		Long: `Store a file, or standard input, as a program of an existing session. A program
of that name is replaced, in one step and only when all bytes have arrived.`,
		Args:              arguments(2, 3),
		ValidArgsFunction: opts.complete(sessionIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.session, opts.name = args[0], args[1]
			if len(args) > 2 {
				opts.file = args[2]
			}
			return runProgramsPut(cmd.Context(), opts, e.stdin, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	cmd.Flags().StringVar(&opts.contentType, "content-type", "", "media `TYPE` that is kept with it")
	return cmd
}

func runProgramsPut(ctx context.Context, opts programOptions, in io.Reader, out io.Writer) error {
	if opts.file != "" && opts.file != "-" {
		file, err := os.Open(opts.file)
		if err != nil {
			return usageError{err}
		}
		defer file.Close()
		in = file
	}
	return opts.connect(func(c *client.Client) error {
		p, err := c.PutProgram(ctx, opts.session, opts.name, opts.contentType, in)
		if err != nil {
			return err
		}
		return opts.output.write(out, p, func(t *table) {
			t.row("name", p.Name)
			t.row("size", size(p.Size))
			t.row("sha-256", p.SHA256)
		})
	})
}

func newProgramsGet(e env) *cobra.Command {
	var opts programOptions
	cmd := &cobra.Command{
		Use:               "get ID NAME",
		Short:             "Write a program to standard output or a file",
		Args:              arguments(2, 2),
		ValidArgsFunction: opts.complete(sessionIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.session, opts.name = args[0], args[1]
			return runProgramsGet(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.registerText(cmd.Flags(), "the bytes", "with what is known of them, and as base64 unless they go to a file")
	cmd.Flags().StringVarP(&opts.file, "output-file", "o", "", "write to `FILE` instead of standard output")
	return cmd
}

func runProgramsGet(ctx context.Context, opts programOptions, out io.Writer) error {
	return opts.connect(func(c *client.Client) (err error) {
		p, content, err := c.GetProgram(ctx, opts.session, opts.name)
		if err != nil {
			return err
		}
		defer content.Close()
		var data bytes.Buffer // 64 MiB at most
		to := out
		switch {
		case opts.file != "":
			file, err := os.Create(opts.file)
			if err != nil {
				return err
			}
			defer func() {
				if closeErr := file.Close(); err == nil {
					err = closeErr
				}
			}()
			to = file
		case opts.output == outputJSON:
			to = &data
		}
		n, err := io.Copy(to, content)
		if err != nil {
			return err
		}
		if n != p.Size {
			return fmt.Errorf("program %q of session %q: %w: received %d of %d bytes", opts.name, opts.session, io.ErrUnexpectedEOF, n, p.Size)
		}
		if opts.output != outputJSON {
			return nil
		}
		return writeJSON(out, struct {
			*client.Program
			Data []byte `json:"data,omitempty"`
		}{p, data.Bytes()})
	})
}

func newProgramsDelete(e env) *cobra.Command {
	var opts programOptions
	cmd := &cobra.Command{
		Use:               "delete ID NAME",
		Short:             "Delete a program",
		Long:              "Delete a program. If the session has none of that name, that is success too.",
		Args:              arguments(2, 2),
		ValidArgsFunction: opts.complete(sessionIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.session, opts.name = args[0], args[1]
			return runProgramsDelete(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	return cmd
}

func runProgramsDelete(ctx context.Context, opts programOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		deleted, err := c.DeleteProgram(ctx, opts.session, opts.name)
		if err != nil {
			return err
		}
		return writeDeleted(out, &opts.output, deleted)
	})
}
