package config_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit/config"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

func TestPrintSaysWhereEachValueCameFrom(t *testing.T) {
	c := load(t, config.Source{
		File:  file(t, "pools:\n- python: a.py\n"),
		Env:   []string{"SNAKEPIT_STORE_DISK_CACHE_BYTES=1GiB"},
		Flags: map[string]string{"workers": "3"},
	})
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"listen: 127.0.0.1:7460 # default\n",
		"    cache_bytes: 1GiB # environment SNAKEPIT_STORE_DISK_CACHE_BYTES\n",
		"    python: a.py # snakepit.yaml:2\n",
		"    workers: 3 # flag --workers\n",
		"    env: {} # default\n",
		"  default_ttl: 1h # default\n",
		"  max_vars_bytes: 16MiB # default\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}

func TestReferenceIsTheDefaults(t *testing.T) {
	var b bytes.Buffer
	if err := config.Reference(&b); err != nil {
		t.Fatal(err)
	}
	c := load(t, config.Source{File: file(t, b.String())})
	if got, want := render(t, c), render(t, config.Default()); got != want {
		t.Errorf("the reference loads as\n%s\nwant the defaults\n%s", got, want)
	}
}

// The page's generated part stands between these lines.
const begin, end = "<!-- generated: go test ./config -update -->\n```yaml\n", "```\n<!-- end of generated -->\n"

func TestDocumentationIsUpToDate(t *testing.T) {
	const page = "../docs/configuration.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no generated part between\n%s and\n%s", page, begin, end)
	}
	var want bytes.Buffer
	if err := config.Reference(&want); err != nil {
		t.Fatal(err)
	}
	if got == want.String() {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the settings; run: go test ./config -update", page)
	}
	if err := os.WriteFile(page, []byte(head+begin+want.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
