package main

import (
	"context"
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
)

func newStream(e env) *cobra.Command {
	var opts callOptions
	cmd := &cobra.Command{
		Use:   "stream TOOL [ARGUMENTS]",
		Short: "Call a tool and print what it yields, as it comes",
		Long: `Call a tool and print what it yields, one value a line, as it comes. With
--session, what the tool changed in the session is committed after the last
value; if the tool raises or the stream is interrupted, nothing is.

` + callHelp,
		Example:           `  snakepit stream countdown '{"n": 3}'`,
		Args:              arguments(1, 2),
		ValidArgsFunction: opts.complete(toolNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.take(args)
			return runStream(cmd.Context(), opts, e.stdout)
		},
	}
	opts.register(cmd.Flags(), e)
	return cmd
}

func runStream(ctx context.Context, opts callOptions, out io.Writer) error {
	return opts.run(ctx, func(ctx context.Context, c *client.Client, call client.Call) error {
		if opts.file == "" {
			return opts.printStream(ctx, c, call, out)
		}
		file, err := os.Create(opts.file)
		if err != nil {
			return err
		}
		err = opts.printStream(ctx, c, call, file)
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
		return err
	})
}

func (o *callOptions) printStream(ctx context.Context, c *client.Client, call client.Call, out io.Writer) error {
	if o.output == outputJSON {
		return o.printChunks(ctx, c, call, out)
	}
	write := func(chunk *client.Chunk) error {
		text, err := printable(chunk.Value, chunk.Attachments)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	res, err := c.StreamFunc(ctx, call, write)
	if err != nil {
		return err
	}
	o.note(res)
	if string(res.Value) == "null" {
		return nil
	}
	return write(&client.Chunk{Value: res.Value, Attachments: res.Attachments}) // of a tool that does not stream
}

// printChunks prints each chunk as {"chunk": value}, and last what is known of the whole, as call does.
func (o *callOptions) printChunks(ctx context.Context, c *client.Client, call client.Call, out io.Writer) error {
	res, err := c.StreamFunc(ctx, call, func(chunk *client.Chunk) error {
		value, err := complete(chunk.Value, chunk.Attachments)
		if err != nil {
			return err
		}
		line, err := jsonLine(map[string]json.RawMessage{"chunk": value})
		if err != nil {
			return err
		}
		_, err = out.Write(line)
		return err
	})
	if err != nil {
		return err
	}
	o.note(res)
	line, err := o.print(res)
	if err != nil {
		return err
	}
	_, err = out.Write(line)
	return err
}
