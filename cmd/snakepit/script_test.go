package main

import (
	"context"
	"errors"
	"os"
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
	"kill9":      kill9,
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

// kill9 FILE kills the process whose id FILE (or stdout) holds, and waits until it is gone.
func kill9(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: kill9 FILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	eventually(ts, "the process should be gone", func() bool { return !testenv.Alive(pid) })
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
