package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/snakepit-go/snakepit/internal/testenv"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"snakepit": main,
	})
}

// TestScripts runs test/script: the program as users run it, with real servers and real Python. Each script has a
// directory of its own; beside the usual commands it may use those of scriptCommands.
func TestScripts(t *testing.T) {
	python := testenv.Python(t)
	// Whoever started the tests may ignore SIGHUP, as nohup does, and a program inherits that: a script could not send it.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangups) })
	tools, err := filepath.Abs("../../test/script/tools/tools.py")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../test/script",
		Cmds:                scriptCommands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TOOLS", tools)
			e.Setenv("SNAKEPIT_PYTHON", python)
			e.Setenv("SNAKEPIT_LISTEN", "127.0.0.1:0")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's second at each exit adds up over hundreds of commands
			e.Setenv("SNAKEPIT_RUN_DIR", filepath.Join(e.WorkDir, "run"))
			return nil
		},
	})
}

// patience bounds every wait of a script; a healthy machine needs a small part of it.
const patience = time.Minute

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits":      exits,
	"wait-exits": waitExits,
	"wait-ready": waitReady,
	"wait-file":  waitFile,
	"wait-line":  waitLine,
	"save":       save,
	"signal":     sendSignal,
	"wait-gone":  waitGone,
}

// exits CODE PROGRAM ARG... runs a program that must end with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	if got, err := exitOf(ts, args[1:]); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d (%v), want %s", got, err, args[0])
	}
}

// wait-exits CODE PROGRAM ARG... runs a program again and again until it ends with that code.
func waitExits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: wait-exits CODE PROGRAM ARG...")
	}
	eventually(ts, "exit code "+args[0], func() bool {
		got, _ := exitOf(ts, args[1:])
		return strconv.Itoa(got) == args[0]
	})
}

func exitOf(ts *testscript.TestScript, command []string) (int, error) {
	err := ts.Exec(command[0], command[1:]...)
	var exit interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exit.ExitCode(), err
	default:
		return -1, err
	}
}

var readyURL = regexp.MustCompile(`^ready at (http://\S+?);.*\n`)

// wait-ready FILE waits for the line of a server whose output goes to FILE, and makes it the one that commands talk to.
func waitReady(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: wait-ready FILE")
	}
	defer func() { // what the server said, if it is not ready
		if ts.Getenv("SNAKEPIT_SERVER") == "" {
			logs, _ := filepath.Glob(ts.MkAbs("log*"))
			for _, log := range logs {
				ts.Logf("%s:\n%s", filepath.Base(log), ts.ReadFile(log))
			}
		}
	}()
	ts.Setenv("SNAKEPIT_SERVER", "")
	eventually(ts, "the server should be ready", func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			return false
		}
		match := readyURL.FindSubmatch(text)
		if match == nil {
			return false
		}
		ts.Setenv("SNAKEPIT_SERVER", string(match[1]))
		return true
	})
}

// wait-file FILE waits until FILE exists.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: wait-file FILE")
	}
	eventually(ts, args[0]+" should exist", func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	})
}

// wait-line FILE N waits until FILE has N lines.
func waitLine(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: wait-line FILE N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	eventually(ts, args[0]+" should have "+args[1]+" lines", func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && bytes.Count(text, []byte("\n")) >= n
	})
}

// save FILE REGEXP NAME sets the variable NAME to what the group of REGEXP matches in FILE (or stdout).
func save(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: save FILE REGEXP NAME")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	match := re.FindStringSubmatch(ts.ReadFile(args[0]))
	if len(match) != 2 {
		ts.Fatalf("no match with one group for %s in %s", args[1], args[0])
	}
	ts.Setenv(args[2], match[1])
}

// signal NAME FILE sends TERM, INT, HUP or KILL to the process whose id FILE (or stdout) holds. After KILL it waits
// until the process is gone.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}
	if len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|INT|HUP|KILL FILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, signals[args[0]]))
	if args[0] == "KILL" {
		eventually(ts, "the process should be gone", func() bool { return !testenv.Alive(pid) })
	}
}

// wait-gone FILE waits until all processes that FILE names as "pid": N have ended.
func waitGone(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: wait-gone FILE")
	}
	pids := regexp.MustCompile(`"pid": (\d+)`).FindAllStringSubmatch(ts.ReadFile(args[0]), -1)
	if len(pids) == 0 {
		ts.Fatalf("%s names no process", args[0])
	}
	for _, match := range pids {
		pid, err := strconv.Atoi(match[1])
		ts.Check(err)
		eventually(ts, "process "+match[1]+" should be gone", func() bool { return !testenv.Alive(pid) })
	}
}

func eventually(ts *testscript.TestScript, what string, is func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !is() {
		select {
		case <-look.C:
		case <-ctx.Done():
			ts.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
