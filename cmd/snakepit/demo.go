package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/worker"
)

//go:embed demo/tools.py
var demoTools []byte

// demoModules are indexed by the demo; every Python has them.
var demoModules = []string{
	"tempfile", "shutil", "textwrap", "statistics", "heapq", "datetime", "pathlib", "difflib",
	"zipfile", "collections", "itertools", "functools", "random", "secrets", "subprocess",
}

const (
	demoSession  = "librarian"
	demoPatience = 30 * time.Second
)

func newDemo(e env) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show what this is for: state that survives its worker and its server",
		Long: `Serve a small set of tools in a temporary directory, build a search index over
Python's own documentation in a session, kill the worker that holds it, kill the
server, and go on searching each time. Nothing is left behind.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), e.stdout)
		},
	}
}

// demo tells a story in steps, each with the time it took.
type demo struct {
	out    io.Writer
	dir    string
	listen string
	client *client.Client

	server *exec.Cmd    // nil if none runs
	wait   func() error // for its end
	log    bytes.Buffer // of the last one
}

func runDemo(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "snakepit-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	d := &demo{out: out, dir: dir}
	defer func() {
		if err != nil && d.log.Len() > 0 {
			err = fmt.Errorf("%w\nThe server's log:\n%s", err, d.log.String())
		}
		err = errors.Join(err, d.stop(syscall.SIGTERM), os.RemoveAll(dir))
	}()
	if err := os.WriteFile(filepath.Join(dir, "tools.py"), demoTools, 0o600); err != nil {
		return err
	}
	if d.listen, err = freeAddress(ctx); err != nil {
		return err
	}
	if d.client, err = client.New("http://"+d.listen, nil); err != nil {
		return err
	}
	defer d.client.Close()
	return d.tell(ctx)
}

// tell runs the story. Every step checks what it shows.
func (d *demo) tell(ctx context.Context) error {
	var indexed, answer string
	var crashed []int
	steps := []struct {
		title string
		run   func() (string, error)
	}{
		{"Start a server with two Python workers and a store on disk", func() (string, error) {
			return "", d.start(ctx)
		}},
		{fmt.Sprintf("Index the documentation of %d Python modules, each by a call in the session %q", len(demoModules), demoSession), func() (string, error) {
			for _, module := range demoModules {
				if _, err := d.call(ctx, "index_module", map[string]any{"module": module}); err != nil {
					return "", err
				}
			}
			var err error
			indexed, err = d.call(ctx, "size", nil)
			return indexed, err
		}},
		{`Search the index for "shuffle a list"`, func() (string, error) {
			var err error
			answer, err = d.search(ctx)
			return answer, err
		}},
		{"Kill the worker that holds the session, with SIGKILL", func() (string, error) {
			w, err := d.holder(ctx)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%s, process %d", w.ID, w.PID), syscall.Kill(w.PID, syscall.SIGKILL)
		}},
		{"Search again: another worker gets the state with the call", func() (string, error) {
			return d.searchAgain(ctx, answer)
		}},
		{"Kill the server, with SIGKILL", func() (string, error) {
			workers, err := d.client.Workers(ctx, "")
			if err != nil {
				return "", err
			}
			for _, w := range workers {
				if w.PID > 0 {
					crashed = append(crashed, w.PID)
				}
			}
			return fmt.Sprintf("process %d; its workers were %v", d.server.Process.Pid, crashed), d.stop(syscall.SIGKILL)
		}},
		{"Start it again on the same directory", func() (string, error) {
			return "", d.start(ctx)
		}},
		{"Look at the session: every acknowledged call is there", func() (string, error) {
			now, err := d.call(ctx, "size", nil)
			if err == nil && now != indexed {
				err = fmt.Errorf("indexed were %s, and now there are %s", indexed, now)
			}
			return now, err
		}},
		{"Search once more", func() (string, error) {
			return d.searchAgain(ctx, answer)
		}},
		{"Look for workers that outlived their server", func() (string, error) {
			for _, pid := range crashed {
				if runs(pid) {
					return "", fmt.Errorf("worker process %d of the killed server still runs", pid)
				}
			}
			return "none", nil
		}},
		{"Stop the server", func() (string, error) {
			d.client.Close() // an open connection would be waited for
			return "", d.stop(syscall.SIGTERM)
		}},
	}
	began := time.Now()
	for i, s := range steps {
		start := time.Now()
		said, err := s.run()
		took := time.Since(start)
		mark := "ok"
		if err != nil {
			mark = "FAILED"
		}
		if _, werr := fmt.Fprintf(d.out, "%2d. %s\n    %s, %s\n", i+1, s.title, mark, took.Round(10*time.Microsecond)); werr != nil {
			return werr
		}
		for line := range strings.Lines(said) {
			if _, werr := fmt.Fprintf(d.out, "      %s\n", strings.TrimRight(line, "\n")); werr != nil {
				return werr
			}
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, strings.ToLower(s.title[:1])+s.title[1:], err)
		}
	}
	_, err := fmt.Fprintf(d.out, "\nAll %d steps went well, in %s.\n", len(steps), time.Since(began).Round(time.Millisecond))
	return err
}

// start starts the server as a process of its own, so that it can be killed
// like one, and waits until it is ready.
func (d *demo) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	d.log.Reset()
	d.server = exec.CommandContext(ctx, self, "serve",
		"--python", filepath.Join(d.dir, "tools.py"),
		"--data", filepath.Join(d.dir, "data"),
		"--listen", d.listen,
		"--workers", "2")
	d.server.Env = append(os.Environ(), "SNAKEPIT_RUN_DIR="+filepath.Join(d.dir, "run"))
	d.server.Stdout, d.server.Stderr = &d.log, &d.log
	if err := d.server.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	ended := make(chan error, 1)
	server := d.server
	go func() { ended <- server.Wait() }()
	d.wait = func() error { return <-ended }
	return d.awaitReady(ctx, ended)
}

func (d *demo) awaitReady(ctx context.Context, ended chan error) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		if _, ready, err := d.client.Health(ctx, "/readyz"); err == nil && ready {
			return nil
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("the server ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready in time: %w", context.Cause(ctx))
		case <-look.C:
		}
	}
}

// stop ends the server, if one runs, and waits for its end.
func (d *demo) stop(signal syscall.Signal) error {
	if d.server == nil {
		return nil
	}
	defer func() { d.server = nil }()
	if err := d.server.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the server: %w", err)
	}
	err := d.wait()
	if _, ended := errors.AsType[*exec.ExitError](err); ended && signal == syscall.SIGKILL {
		return nil
	}
	return err
}

func (d *demo) call(ctx context.Context, tool string, args any) (string, error) {
	res, err := d.client.Execute(ctx, client.Call{Tool: tool, Args: args, Session: demoSession})
	if err != nil {
		return "", err
	}
	return string(res.Value), nil
}

// search returns the hits as lines. It is idempotent, so a worker that dies
// under it is no reason to fail.
func (d *demo) search(ctx context.Context) (string, error) {
	res, err := d.client.Execute(ctx, client.Call{
		Tool: "search", Args: map[string]any{"query": "shuffle a list"}, Session: demoSession, Idempotent: true,
	})
	if err != nil {
		return "", err
	}
	var hits []struct{ Name, Summary string }
	if err := res.Decode(&hits); err != nil {
		return "", err
	}
	if len(hits) == 0 || hits[0].Name != "random.shuffle" {
		return "", fmt.Errorf("the best hit should be random.shuffle: %s", res.Value)
	}
	var lines []string
	for _, hit := range hits {
		lines = append(lines, fmt.Sprintf("%-26s %s", hit.Name, hit.Summary))
	}
	return strings.Join(lines, "\n"), nil
}

func (d *demo) searchAgain(ctx context.Context, want string) (string, error) {
	got, err := d.search(ctx)
	if err == nil && got != want {
		return "", fmt.Errorf("the answer was\n%s\nand now is\n%s", want, got)
	}
	return "the same answer", err
}

// holder is the worker that holds the session.
func (d *demo) holder(ctx context.Context) (client.Worker, error) {
	workers, err := d.client.Workers(ctx, "")
	if err != nil {
		return client.Worker{}, err
	}
	i := slices.IndexFunc(workers, func(w client.Worker) bool { return w.Sessions > 0 })
	if i < 0 {
		return client.Worker{}, fmt.Errorf("no worker holds the session: %w", worker.ErrWorkerGone)
	}
	return workers[i], nil
}

// runs reports whether a process runs. One that has ended and waits for its
// parent to notice, a zombie, does not.
func runs(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// freeAddress is an address that nobody listens on at this moment.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
