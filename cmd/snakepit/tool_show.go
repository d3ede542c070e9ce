package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/worker"
)

type toolShowOptions struct {
	remote
	output output
	name   string
	pool   string
}

func newToolShow(e env) *cobra.Command {
	var opts toolShowOptions
	cmd := &cobra.Command{
		Use:   "show TOOL",
		Short: "Show a tool: its parameters, and calls to copy",
		Long: `Show a tool: what it does, its parameters with their types and defaults, and a
call for the shell and one for curl that can be copied. The values in them are
examples that fit the types. --output json has the JSON Schema of the parameters.`,
		Example:           `  snakepit tool show remember`,
		Args:              arguments(1, 1),
		ValidArgsFunction: opts.complete(toolNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			return runToolShow(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	cmd.Flags().StringVar(&opts.pool, "pool", "", "the tool of the pool `NAME`; of the first pool that has it by default")
	return cmd
}

// shownTool is a tool with calls to copy.
type shownTool struct {
	client.Tool
	Calls struct {
		Shell string `json:"shell"`
		Curl  string `json:"curl"`
	} `json:"calls"`
}

func runToolShow(ctx context.Context, opts toolShowOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		tools, err := c.Tools(ctx, opts.pool)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(tools, func(t client.Tool) bool { return t.Name == opts.name })
		if i < 0 {
			return fmt.Errorf("%w: %q; `snakepit tool list` shows those there are", worker.ErrToolNotFound, opts.name)
		}
		tool := shownTool{Tool: tools[i]}
		params, err := readParameters(tool.Parameters)
		if err != nil {
			return err
		}
		// The first pool takes the calls that name none.
		pool := ""
		if tool.Pool != tools[0].Pool || opts.pool != "" {
			pool = tool.Pool
		}
		if tool.Calls.Shell, tool.Calls.Curl, err = exampleCalls(c.URL(), pool, tool.Tool, params); err != nil {
			return err
		}
		return opts.output.write(out, tool, func(t *table) { toolRows(t, tool, params) })
	})
}

func toolRows(t *table, tool shownTool, params *parameters) {
	t.row("name", tool.Name)
	t.row("pool", tool.Pool)
	if kind := toolKind(tool.Tool); kind != "" {
		t.row("kind", kind)
	}
	for i, line := range strings.Split(strings.TrimSpace(tool.Doc), "\n") {
		if tool.Doc != "" {
			t.row(map[bool]string{true: "doc"}[i == 0], line)
		}
	}
	t.row()
	t.row("PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION")
	for _, name := range params.names {
		s := params.of(name)
		standard := "(required)"
		if !params.isRequired(name) {
			standard = cmp.Or(string(s["default"]), "(optional)")
		}
		t.row(name, params.typeOf(s, 0), standard, field[string](s, "description"))
	}
	if extra, ok := params.root["additionalProperties"]; ok && string(extra) != "false" {
		t.row("...", "any other name", "", "")
	}
	t.row()
	t.row("shell")
	t.line("  " + tool.Calls.Shell)
	t.row("curl")
	t.line("  " + tool.Calls.Curl)
}

// exampleCalls returns a call of a tool for the shell, and one for curl.
func exampleCalls(server, pool string, tool client.Tool, params *parameters) (shell, curl string, err error) {
	var attachments []string // names of the parameters whose bytes they are
	attach := func(name string) int {
		attachments = append(attachments, name)
		return len(attachments) - 1
	}
	args := make(map[string]any)
	direct := make(map[string]any) // without those that the shell gives as files
	var files []string
	for _, name := range params.names {
		if !params.isRequired(name) {
			continue
		}
		args[name] = params.example(name, params.of(name), attach, 0)
		if marker, is := params.marker(params.of(name)); is && marker == "bytes" {
			files = append(files, " --bytes "+shellQuote(name+"=FILE"))
		} else {
			direct[name] = args[name]
		}
	}
	parts := make([][]byte, len(attachments))
	for i, name := range attachments {
		parts[i] = []byte(name)
	}
	text, err := oneLine(direct)
	if err != nil {
		return "", "", err
	}
	shellArgs, err := inlineBytes(json.RawMessage(text), parts)
	if err != nil {
		return "", "", err
	}
	command := map[bool]string{false: "call", true: "stream"}[tool.Streams]
	shell = "snakepit " + command + " " + shellQuote(tool.Name)
	if len(direct) > 0 {
		shell += " " + shellQuote(string(shellArgs))
	}
	shell += strings.Join(files, "")
	invocation := map[string]any{"tool": tool.Name, "arguments": args}
	if tool.Session {
		shell += " --session alice"
		invocation["session"] = "alice"
	}
	if pool != "" {
		shell += " --pool " + shellQuote(pool)
		invocation["pool"] = pool
	}
	if server != defaultServer {
		shell += " --server " + shellQuote(server)
	}
	if len(parts) > 0 {
		invocation["attachments"] = parts // base64 in JSON
	}
	body, err := oneLine(map[string]any{"invocation": invocation})
	if err != nil {
		return "", "", err
	}
	flags, procedure := "-s", "Execute"
	if tool.Streams {
		flags, procedure = "-sN", "Stream"
	}
	curl = fmt.Sprintf("curl %s %s/snakepit.v1.ExecutionService/%s -H 'Content-Type: application/json' -d %s", flags, server, procedure, shellQuote(body))
	return shell, curl, nil
}

func oneLine(v any) (string, error) {
	text, err := jsonLine(v)
	if err != nil {
		return "", fmt.Errorf("example: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// shellQuote writes a word as a shell reads it back.
func shellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:@%,", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
