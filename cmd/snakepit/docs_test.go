package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

// The page's generated part stands between these lines.
const docsBegin, docsEnd = "<!-- generated: go test ./cmd/snakepit -run Documentation -update -->\n", "<!-- end of generated -->\n"

// TestDocumentationIsUpToDate compares docs/cli.md with the exit codes and the help text of every command.
func TestDocumentationIsUpToDate(t *testing.T) {
	const page = "../../docs/cli.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), docsBegin)
	_, tail, ok2 := strings.Cut(rest, docsEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks the lines\n%s%s", page, docsBegin, docsEnd)
	}
	want := head + docsBegin + reference(t) + docsEnd + tail
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is not up to date: run go test ./cmd/snakepit -run Documentation -update", page)
	}
	if err := os.WriteFile(page, []byte(want), 0o666); err != nil {
		t.Fatal(err)
	}
}

func reference(t *testing.T) string {
	var b strings.Builder
	b.WriteString("## Exit codes\n\n| Code | Meaning |\n|---|---|\n")
	for code, meaning := range meanings() {
		fmt.Fprintf(&b, "| %d | %s |\n", code, meaning)
	}
	b.WriteString("\n## Commands\n")
	for _, words := range commands(newRoot(env{})) {
		var out, errs bytes.Buffer
		if code := run(t.Context(), env{stdout: &out, stderr: &errs}, append(words, "--help")); code != 0 {
			t.Fatalf("help of %q ended with %d: %s", words, code, &errs)
		}
		fmt.Fprintf(&b, "\n### %s\n\n```\n%s```\n", strings.Join(append([]string{"snakepit"}, words...), " "), &out)
	}
	return b.String()
}

// commands returns the words of each command, but those of cobra's own.
func commands(cmd *cobra.Command, words ...string) [][]string {
	list := [][]string{words}
	for _, c := range cmd.Commands() {
		if c.Name() == "completion" || c.Name() == "help" || !c.IsAvailableCommand() {
			continue
		}
		list = append(list, commands(c, append(slices.Clip(words), c.Name())...)...)
	}
	return list
}

// TestEveryCommandExplainsItself holds help texts to what people expect to find there.
func TestEveryCommandExplainsItself(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			if c.Short == "" || strings.HasSuffix(c.Short, ".") || len(c.Short) > 72 {
				t.Errorf("%s: the short help %q should be one short sentence without its full stop", c.CommandPath(), c.Short)
			}
			for line := range strings.Lines(c.Long) {
				if len(line) > 81 {
					t.Errorf("%s: a line of the help is wider than a terminal: %q", c.CommandPath(), line)
				}
			}
			visit(c)
		}
	}
	visit(newRoot(env{}))
}

// Programs read what any command answers that asks a server.
func TestEveryClientCommandHasAForm(t *testing.T) {
	clients := 0
	root := newRoot(env{})
	for _, words := range commands(root) {
		cmd, _, err := root.Find(words)
		if err != nil {
			t.Fatal(err)
		}
		if cmd.Flags().Lookup("server") == nil {
			continue
		}
		clients++
		if cmd.Flags().Lookup("output") == nil {
			t.Errorf("%s has no --output", cmd.CommandPath())
		}
	}
	if clients < 15 {
		t.Errorf("only %d commands have --server", clients)
	}
}
