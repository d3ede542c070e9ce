package config_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/config"
)

// file writes a configuration file and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snakepit.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, src config.Source) config.Config {
	t.Helper()
	c, err := config.Load(src)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return c
}

func TestDefaultsAreTheDocumentedNumbers(t *testing.T) {
	c := load(t, config.Source{})
	p := c.Pools[0]
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"listen", c.Listen, "127.0.0.1:7460"},
		{"default ttl", c.Sessions.DefaultTTL, time.Hour},
		{"max sessions", c.Sessions.MaxSessions, 10_000},
		{"sweep interval", c.Sessions.SweepInterval, time.Minute},
		{"warning threshold", c.Sessions.WarnThreshold, 0.8},
		{"queue limit", p.QueueLimit, 1000},
		{"queue timeout", p.QueueTimeout, 10 * time.Second},
		{"call timeout", p.CallTimeout, 300 * time.Second},
		{"stream timeout", p.StreamTimeout, 900 * time.Second},
		{"affinity", p.Affinity, config.AffinityHint},
		{"pools", len(c.Pools), 1},
		{"name of the pool", p.Name, "default"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
	if want := config.Default(); !reflect.DeepEqual(c.Pools, want.Pools) || c.Sessions != want.Sessions || c.Store != want.Store {
		t.Errorf("loading nothing gives %+v, want Default() = %+v", c, want)
	}
}

func TestLaterSourceWins(t *testing.T) {
	path := file(t, "listen: 127.0.0.1:1\nnode: from-file\ndata: /file\nlog: {level: debug}\n")
	env := []string{"SNAKEPIT_NODE=from-env", "SNAKEPIT_DATA=/env", "PATH=/bin"}
	c := load(t, config.Source{File: path, Env: env, Flags: map[string]string{"data": "/flag"}})

	for _, tt := range []struct{ key, got, want, origin string }{
		{"log.format", c.Log.Format, "text", "default"},
		{"listen", c.Listen, "127.0.0.1:1", "snakepit.yaml:1"},
		{"log.level", c.Log.Level, "debug", "snakepit.yaml:4"},
		{"node", c.Node, "from-env", "environment SNAKEPIT_NODE"},
		{"data", c.Data, "/flag", "flag --data"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %q, want %q", tt.key, tt.got, tt.want)
		}
		if origin := c.Origin(tt.key); origin != tt.origin {
			t.Errorf("%s is said to come from %q, want %q", tt.key, origin, tt.origin)
		}
	}
}

func TestFileNamedByTheEnvironment(t *testing.T) {
	named := file(t, "node: named\n")
	if c := load(t, config.Source{Env: []string{config.FileVariable + "=" + named}}); c.Node != "named" {
		t.Errorf("node = %q, want that of the file in %s", c.Node, config.FileVariable)
	}
	given := file(t, "node: given\n")
	if c := load(t, config.Source{File: given, Env: []string{config.FileVariable + "=" + named}}); c.Node != "given" {
		t.Errorf("node = %q, want that of the file given", c.Node)
	}
}

func TestPools(t *testing.T) {
	path := file(t, `
pools:
  - python: index.py
    workers: 4
    python_path: [lib, vendor]
    env: {OMP_NUM_THREADS: "1", DEBUG: ""}
  - name: slow
    python: models.slow
    call_timeout: 1h30m
    affinity: strict_queue
`)
	c := load(t, config.Source{File: path, Flags: map[string]string{"workers": "2"}})
	if len(c.Pools) != 2 {
		t.Fatalf("got %d pools, want 2", len(c.Pools))
	}
	first, second := c.Pools[0], c.Pools[1]
	if first.Name != "default" || first.Python != "index.py" || first.Workers != 2 {
		t.Errorf("first pool = %+v", first)
	}
	if want := []string{"lib", "vendor"}; !slices.Equal(first.PythonPath, want) {
		t.Errorf("python_path = %q, want %q", first.PythonPath, want)
	}
	if want := []string{"DEBUG=", "OMP_NUM_THREADS=1"}; !slices.Equal(first.Environ(), want) {
		t.Errorf("environ = %q, want %q", first.Environ(), want)
	}
	if second.CallTimeout != 90*time.Minute || second.Affinity != config.AffinityStrictQueue {
		t.Errorf("second pool = %+v", second)
	}
	if second.QueueLimit != 1000 || second.StopGrace != 6*time.Second || second.Workers != 0 {
		t.Errorf("what the second pool leaves out is not the default: %+v", second)
	}
	for key, want := range map[string]string{
		"pools[0].workers":      "flag --workers",
		"pools[0].python":       "snakepit.yaml:3",
		"pools[1].call_timeout": "snakepit.yaml:9",
		"pools[1].workers":      "default",
	} {
		if got := c.Origin(key); got != want {
			t.Errorf("%s is said to come from %q, want %q", key, got, want)
		}
	}
}

func TestPoolFlagsWithoutAFile(t *testing.T) {
	for name, path := range map[string]string{"no file": "", "empty list": file(t, "pools: []\n")} {
		c := load(t, config.Source{File: path, Flags: map[string]string{"python": "tools.py"}})
		if len(c.Pools) != 1 || c.Pools[0].Python != "tools.py" || c.Pools[0].QueueLimit != 1000 {
			t.Errorf("%s: pools = %+v, want the default one with its tools", name, c.Pools)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMistakesNameKeySourceAndWhatWasMeant(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		env        []string
		flags      map[string]string
		want       []string // each must be a line of the error
	}{
		{
			name: "misspelt key", yaml: "store:\n  disk:\n    cach_bytes: 1GiB\n",
			want: []string{"snakepit.yaml:3: unknown key store.disk.cach_bytes, did you mean cache_bytes?"},
		},
		{
			name: "key in the wrong place", yaml: "cache_bytes: 1GiB\n",
			want: []string{"snakepit.yaml:1: unknown key cache_bytes, did you mean store.disk.cache_bytes?"},
		},
		{
			name: "unlike any key", yaml: "log:\n  xyzzyxyzzy: 1\n",
			want: []string{"snakepit.yaml:2: unknown key log.xyzzyxyzzy; known here: level, format, tracebacks"},
		},
		{
			name: "in a pool", yaml: "pools:\n- python: a.py\n- name: b\n  worker: 3\n",
			want: []string{"snakepit.yaml:4: unknown key pools[1].worker, did you mean workers?"},
		},
		{
			name: "several at once", yaml: "lisen: a\nsessions:\n  max_sessions: many\n  default_ttl: 10\n",
			want: []string{
				"snakepit.yaml:1: unknown key lisen, did you mean listen?",
				`snakepit.yaml:3: sessions.max_sessions: expected a whole number, got "many"`,
				`snakepit.yaml:4: sessions.default_ttl: expected a duration such as "10s" or "1h30m", got "10"`,
			},
		},
		{
			name: "given twice", yaml: "node: a\nnode: b\n",
			want: []string{"snakepit.yaml:2: node: given twice, first in line 1"},
		},
		{
			name: "number for text", yaml: "node: 3.10\n",
			want: []string{"snakepit.yaml:1: node: expected text, got 3.10: put it in quotes if it is meant as text"},
		},
		{
			name: "text for truth", yaml: "allow_remote: \"yes\"\n",
			want: []string{`snakepit.yaml:1: allow_remote: expected true or false, got "yes"`},
		},
		{
			name: "text for a group", yaml: "store: disk\n",
			want: []string{`snakepit.yaml:1: store: expected a mapping, got "disk"`},
		},
		{
			name: "a group for text", yaml: "data: {dir: /x}\n",
			want: []string{"snakepit.yaml:1: data: expected text, got a mapping"},
		},
		{
			name: "a list for a size", yaml: "store: {disk: {cache_bytes: [1]}}\n",
			want: []string{`snakepit.yaml:1: store.disk.cache_bytes: expected a size such as "256MiB", got a list`},
		},
		{
			name: "pools as a mapping", yaml: "pools:\n  python: a.py\n",
			want: []string{`snakepit.yaml:2: pools: expected a list of mappings, got a mapping`},
		},
		{
			name: "environment of a pool as a list", yaml: "pools:\n- env: [A=1]\n",
			want: []string{`snakepit.yaml:2: pools[0].env: expected a mapping of names to texts, got a list`},
		},
		{
			name: "number in the environment of a pool", yaml: "pools:\n- env:\n    THREADS: 1\n",
			want: []string{"snakepit.yaml:3: pools[0].env: THREADS: expected text, got 1: put it in quotes if it is meant as text"},
		},
		{
			name: "a text for a list", yaml: "pools:\n- python_path: lib\n",
			want: []string{`snakepit.yaml:2: pools[0].python_path: expected a list of texts, got "lib"`},
		},
		{
			name: "not among the choices", yaml: "log: {level: loud}\n",
			want: []string{`snakepit.yaml:1: log.level: expected one of debug, info, warn, error, got "loud"`},
		},
		{
			name: "not a mapping at all", yaml: "- a\n- b\n",
			want: []string{`snakepit.yaml:1: the file: expected a mapping, got a list`},
		},
		{
			name: "two documents", yaml: "node: a\n---\nnode: b\n",
			want: []string{"snakepit.yaml: more than one YAML document; only one is read"},
		},
		{
			name: "environment", env: []string{"SNAKEPIT_STORE_DISK_CACHEBYTES=1", "SNAKEPIT_ALLOW_REMOTE=maybe"},
			want: []string{
				"environment: unknown variable SNAKEPIT_STORE_DISK_CACHEBYTES, did you mean SNAKEPIT_STORE_DISK_CACHE_BYTES?",
				`environment: SNAKEPIT_ALLOW_REMOTE: expected true or false, got "maybe"`,
			},
		},
		{
			name: "flags", flags: map[string]string{"workers": "many", "python3": "x"},
			want: []string{
				`flag --workers: expected a whole number, got "many"`,
				"flags: no setting has the flag --python3",
			},
		},
		{
			name: "all sources together", yaml: "nod: a\n", env: []string{"SNAKEPIT_NOD=a"}, flags: map[string]string{"nod": "a"},
			want: []string{
				"snakepit.yaml:1: unknown key nod, did you mean node?",
				"environment: unknown variable SNAKEPIT_NOD, did you mean SNAKEPIT_NODE?",
				"flags: no setting has the flag --nod",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := config.Source{Env: tt.env, Flags: tt.flags}
			if tt.yaml != "" {
				src.File = file(t, tt.yaml)
			}
			_, err := config.Load(src)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := strings.Split(err.Error(), "\n"); !sameLines(got, tt.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tt.want, "\n  "))
			}
		})
	}
}

func sameLines(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func TestUnreadableFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	if _, err := config.Load(config.Source{File: missing}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("error = %v, want one that names %s", err, missing)
	}
	if _, err := config.Load(config.Source{File: file(t, "listen: [unclosed\n")}); err == nil || !strings.Contains(err.Error(), "snakepit.yaml: ") {
		t.Errorf("error = %v, want one that names the file", err)
	}
}

func TestNothingIsNoMistake(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "---\n", "store:\n", "data:\nlisten: ~\npools:\n", "store: {disk: }\n"} {
		c := load(t, config.Source{File: file(t, text)})
		if c.Listen != config.Default().Listen || len(c.Pools) != 1 {
			t.Errorf("file %q: got %+v, want the defaults", text, c)
		}
	}
}

func TestVariablesOfOthersAreLeftAlone(t *testing.T) {
	load(t, config.Source{Env: []string{
		"SNAKEPIT_SERVER=http://127.0.0.1:7460", "SNAKEPIT_PYTHON=python3", "SNAKEPIT_FD=3", "SNAKEPIT_WORKER=w1", "SNAKEPIT_RUN_ID=r", "SNAKEPIT_CHAOS=1m", "SNAKEPIT_SEED=",
		"SNAKEPIT_PORT=tcp://10.0.0.1:7460", "SNAKEPIT_PORT_7460_TCP_ADDR=10.0.0.1", "SNAKEPIT_SERVICE_HOST=10.0.0.1",
		"SNAKEPITX=1", "HOME=/root", "malformed",
	}})
}

func TestYAMLFormsOfNumbersAndAliases(t *testing.T) {
	c := load(t, config.Source{File: file(t, `
sessions: {max_sessions: 1_000_000, warn_threshold: 1, max_vars_bytes: 4096}
limits: {request_bytes: 1 GiB}
log: &log {level: warn}
pools:
- &base {python: a.py, queue_limit: 0x10}
- {name: b, python: b.py, env: {LEVEL: &level info}, python_path: [*level]}
`)})
	s := c.Sessions
	if s.MaxSessions != 1_000_000 || s.WarnThreshold != 1 || s.MaxVarsBytes != 4096 || c.Limits.RequestBytes != config.GiB {
		t.Errorf("sessions = %+v, limits = %+v", s, c.Limits)
	}
	if c.Pools[0].QueueLimit != 16 || c.Pools[1].PythonPath[0] != "info" {
		t.Errorf("pools = %+v", c.Pools)
	}
}

// FuzzFile feeds any text as a file: Load answers or refuses, and what it accepts survives Print and Load unchanged.
func FuzzFile(f *testing.F) {
	f.Add("listen: 127.0.0.1:0\npools: [{python: a, env: {A: b}}]\n")
	f.Add("store: &s\n  disk: *s\n")
	f.Add("pools:\n- null\n- ~\nlog: {level: }\n")
	f.Add("? [complex]\n: 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Load(config.Source{File: file(t, text)})
		if err != nil {
			return
		}
		var printed bytes.Buffer
		if err := c.Print(&printed); err != nil {
			t.Fatal(err)
		}
		again, err := config.Load(config.Source{File: file(t, printed.String())})
		if err != nil {
			t.Fatalf("load what was printed: %v\n%s", err, printed.String())
		}
		if a, b := render(t, c), render(t, again); a != b {
			t.Fatalf("printed and loaded:\n%s\nbefore:\n%s", b, a)
		}
	})
}

// render is Print without the comments.
func render(t *testing.T, c config.Config) string {
	t.Helper()
	var origins config.Config
	v, o := reflect.ValueOf(&c).Elem(), reflect.ValueOf(&origins).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			o.Field(i).Set(v.Field(i))
		}
	}
	var b bytes.Buffer
	if err := origins.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFlagsHaveUniqueNamesAndSetTheirKey(t *testing.T) {
	values := map[string]string{
		"listen": "127.0.0.1:9", "allow-remote": "true", "node": "n1", "data": "/d", "run-dir": "/r", "python": "t.py",
		"workers": "7", "interpreter": "python3", "log-level": "warn", "log-format": "json",
	}
	names := map[string]bool{}
	for _, f := range config.Flags() {
		if names[f.Name] {
			t.Errorf("two flags are called --%s", f.Name)
		}
		names[f.Name] = true
		if f.Usage == "" {
			t.Errorf("--%s has no usage", f.Name)
		}
		if f.Bool != (f.Name == "allow-remote") {
			t.Errorf("--%s: Bool = %v", f.Name, f.Bool)
		}
		c := load(t, config.Source{Flags: map[string]string{f.Name: values[f.Name]}})
		var printed bytes.Buffer
		if err := c.Print(&printed); err != nil {
			t.Fatal(err)
		}
		last := f.Key[strings.LastIndexByte(f.Key, '.')+1:]
		if want := last + ": " + values[f.Name] + " # flag --" + f.Name; !strings.Contains(printed.String(), want) {
			t.Errorf("--%s %s: no line %q in\n%s", f.Name, values[f.Name], want, printed.String())
		}
	}
	if extra := slices.Collect(maps.Keys(values)); len(extra) != len(names) {
		t.Errorf("flags are %v, the test knows %v", names, extra)
	}
}
