package app_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/app"
	"github.com/snakepit-go/snakepit/internal/testenv"
)

// blocks returns the code blocks of a language in a page.
func blocks(page, language string) (list []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		list = append(list, m[1])
	}
	return list
}

// example is what a reader types, and what the page says comes out. Three dots
// stand for anything.
type example struct{ command, output string }

func examples(block string) (list []example) {
	for line := range strings.Lines(block) {
		last := len(list) - 1
		switch {
		case strings.HasPrefix(line, "$ "):
			list = append(list, example{command: line[2:]})
		case list[last].output == "" && strings.HasPrefix(line, "    "):
			list[last].command += line
		default:
			list[last].output += line
		}
	}
	return list
}

// TestExamplesOfAPIPage runs every example of docs/api.md, as it stands there,
// against the real daemon with real Python.
func TestExamplesOfAPIPage(t *testing.T) {
	testenv.Command(t, "curl", "curl")
	bash := testenv.Command(t, "bash", "bash")
	text, err := os.ReadFile(filepath.Join(testenv.Root(t), "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	tools := blocks(page, "python")
	if len(tools) != 1 {
		t.Fatalf("the page has %d blocks of Python, want the tools", len(tools))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tools.py"), []byte(tools[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	c := settings(t)
	c.Pools[0].Python, c.Pools[0].Workers = filepath.Join(dir, "tools.py"), 2
	address := start(t, c, app.Options{}).Address()

	ran := 0
	for _, block := range blocks(page, "console") {
		variables := "" // assignments hold for the rest of the block
		for _, e := range examples(block) {
			if e.output == "" {
				variables += e.command
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			cmd := exec.CommandContext(ctx, bash, "-c", strings.ReplaceAll(variables+e.command, "localhost:7460", address))
			out, err := cmd.Output()
			cancel()
			got := strings.TrimSpace(string(out))
			if err != nil || !regexp.MustCompile(pattern(e.output)).MatchString(got) {
				t.Errorf("%s\nprinted\n%s\n(%v); the page says\n%s", e.command, got, err, e.output)
			}
			ran++
		}
	}
	if ran < 15 {
		t.Errorf("the page has only %d examples", ran)
	}
}

func pattern(output string) string {
	return "^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(output)), regexp.QuoteMeta("..."), ".*") + "$"
}
