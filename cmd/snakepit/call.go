package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/snakepit-go/snakepit/client"
)

// answerGrace is how much longer than a call's own timeout its client waits for the answer, which says more than
// that there was none.
const answerGrace = 5 * time.Second

// callOptions are shared by call and stream.
type callOptions struct {
	remote
	output output
	call   client.Call
	args   string
	bytes  pairs
	file   string
	stdin  io.Reader
	notes  io.Writer // what is not the result
}

func (o *callOptions) register(flags *pflag.FlagSet, e env) {
	o.stdin, o.notes = e.stdin, e.stderr
	o.remote.register(flags, e)
	o.output.registerText(flags, "what the tool returned, alone", "with the worker, the state version and the correlation id; bytes as {\"$bytes\": \"base64\"}")
	flags.StringVar(&o.call.Session, "session", "", "`ID` of the session to run in; created if it does not exist")
	flags.BoolVar(&o.call.MustExist, "must-exist", false, "fail if the session does not exist")
	flags.StringVar(&o.call.Pool, "pool", "", "`NAME` of the pool; the first one by default")
	flags.DurationVar(&o.call.Timeout, "timeout", 0, "limit of the call, waiting included; the pool's own by default")
	flags.StringVar(&o.call.ID, "call-id", "", "`ID` of this call: once it has committed, a repetition gets the same answer and changes nothing (kept 24 h)")
	flags.BoolVar(&o.call.Idempotent, "idempotent", false, "the call may run again if its worker dies")
	flags.StringVar(&o.call.OnConflict, "on-conflict", "", "if another write changes what the call has read or written: `ignore` it, fail, or retry; as the tool says by default")
	flags.StringVar(&o.call.CorrelationID, "correlation-id", "", "`ID` that marks the log records of this call, also those of Python")
	flags.Var(&o.bytes, "bytes", "argument whose value is the bytes of a file (`NAME=FILE`); can be repeated")
	flags.StringVarP(&o.file, "output-file", "o", "", "write to `FILE` instead of standard output")
}

func (o *callOptions) take(args []string) {
	o.call.Tool = args[0]
	if len(args) > 1 {
		o.args = args[1]
	}
}

const callHelp = `ARGUMENTS is a JSON object of the arguments by name; "-" reads it from standard
input, and "@FILE" from a file.

A result is printed as JSON on one line; one of bytes is written as it is, and
bytes inside of a result stand in it as {"$bytes": "base64"}, which arguments
may have, too. What a tool raised goes to standard error with its traceback, and
the exit code is 5.

--call-id makes it safe to repeat a call whose answer was lost: its effect on
the session happens once, and a repetition prints the same answer and says so
on standard error. Ids and answers of up to 64 KiB are kept for 24 hours with
the session, in 4 MiB a session; "snakepit call show ID" tells what became of
one. What a tool does outside the session cannot be done once by this.`

func newCall(e env) *cobra.Command {
	var opts callOptions
	cmd := &cobra.Command{
		Use:   "call TOOL [ARGUMENTS]",
		Short: "Call a tool and print its result",
		Long: `Call a tool and print its result. With --session, what the tool changed in the
session is committed when the result is there. "snakepit call -- show" calls a
tool that is called show.

` + callHelp,
		Example: `  snakepit call add '{"a": 1, "b": 2}'
  snakepit call remember '{"text": "milk"}' --session alice
  snakepit call thumbnail '{"width": 64}' --bytes image=photo.jpg -o small.jpg`,
		Args:              arguments(1, 2),
		ValidArgsFunction: opts.complete(toolNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.take(args)
			return runCall(cmd.Context(), opts, e.stdout)
		},
	}
	opts.register(cmd.Flags(), e)
	cmd.AddCommand(newCallShow(e))
	return cmd
}

func runCall(ctx context.Context, opts callOptions, out io.Writer) error {
	return opts.run(ctx, func(ctx context.Context, c *client.Client, call client.Call) error {
		res, err := c.Execute(ctx, call)
		if err != nil {
			return err
		}
		text, err := opts.print(res)
		if err != nil {
			return err
		}
		opts.note(res)
		if opts.file != "" {
			return os.WriteFile(opts.file, text, 0o666)
		}
		_, err = out.Write(text)
		return err
	})
}

// note tells what there is to say of an answer beside the result.
func (o *callOptions) note(res *client.Result) {
	if len(res.Overwritten) > 0 {
		fmt.Fprintf(o.notes, "snakepit: the call overwrote what others had changed meanwhile: %s\n", strings.Join(res.Overwritten, ", "))
	}
	if res.Repeated {
		fmt.Fprintln(o.notes, "snakepit: repeated: a call of this id was committed before, and this is its answer")
	}
}

// answerJSON is what is known of the answer of a call.
type answerJSON struct {
	Result        json.RawMessage `json:"result"`
	Worker        string          `json:"worker"`
	StateVersion  uint64          `json:"state_version,omitzero"`
	Position      string          `json:"position,omitempty"`
	Repeated      bool            `json:"repeated,omitzero"`
	CorrelationID string          `json:"correlation_id"`
	Overwritten   []string        `json:"overwritten,omitempty"`
}

// print is how the answer of a call is written.
func (o *callOptions) print(res *client.Result) ([]byte, error) {
	if o.output != outputJSON {
		return printable(res.Value, res.Attachments)
	}
	value, err := complete(res.Value, res.Attachments)
	if err != nil {
		return nil, err
	}
	return jsonLine(answerJSON{value, res.Worker, res.StateVersion, res.Position, res.Repeated, res.CorrelationID, res.Overwritten})
}

// run prepares the call and gives it to f.
func (o *callOptions) run(ctx context.Context, f func(context.Context, *client.Client, client.Call) error) error {
	call := o.call
	if err := o.arguments(&call); err != nil {
		return err
	}
	switch {
	case call.Timeout < 0:
		return usagef("--timeout %v is negative", call.Timeout)
	case call.Timeout > 0:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, call.Timeout+answerGrace)
		defer cancel()
	}
	return o.connect(func(c *client.Client) error { return f(ctx, c, call) })
}

// arguments puts together the call's arguments and attachments.
func (o *callOptions) arguments(call *client.Call) error {
	typed, err := readJSON(o.args, o.stdin)
	if err != nil {
		return err
	}
	if typed != nil && typed[0] != '{' {
		return usagef("%s is not a JSON object: give the arguments by name", excerpt(typed))
	}
	if typed, call.Attachments, err = attachBytes(typed); err != nil {
		return err
	}
	if len(o.bytes) == 0 {
		if typed != nil {
			call.Args = typed
		}
		return nil
	}
	args := make(map[string]json.RawMessage)
	if typed != nil {
		if err := json.Unmarshal(typed, &args); err != nil {
			return usageError{err}
		}
	}
	for name, file := range o.bytes {
		if _, twice := args[name]; twice {
			return usagef("the argument %q is given twice", name)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return usageError{err}
		}
		args[name] = fmt.Appendf(nil, `{"$bytes": %d}`, len(call.Attachments))
		call.Attachments = append(call.Attachments, content)
	}
	call.Args = args
	return nil
}

// printable is how a value is written to a file or a terminal: JSON on one line, or the bytes that it is.
func printable(value json.RawMessage, attachments [][]byte) ([]byte, error) {
	if raw, ok := (&client.Chunk{Value: value, Attachments: attachments}).Bytes(); ok {
		return raw, nil
	}
	value, err := complete(value, attachments)
	if err != nil {
		return nil, err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, value); err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	line.WriteByte('\n')
	return line.Bytes(), nil
}

// complete returns a value that holds its bytes itself.
func complete(value json.RawMessage, attachments [][]byte) (json.RawMessage, error) {
	if len(attachments) == 0 {
		return value, nil
	}
	return inlineBytes(value, attachments)
}

// jsonLine encodes v on one line, markup characters as they are.
func jsonLine(v any) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return line.Bytes(), err
}
