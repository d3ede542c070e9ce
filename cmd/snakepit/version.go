package main

import (
	"io"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/worker/frames"
)

// apiVersion is the package of the control API's services.
const apiVersion = "snakepit.v1"

type versionOptions struct {
	output output
}

func newVersion(e env) *cobra.Command {
	var opts versionOptions
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of what it speaks",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return runVersion(opts, e.stdout)
		},
	}
	opts.output.register(cmd.Flags(), e)
	return cmd
}

// versions is what version prints.
type versions struct {
	Version        string `json:"version"`
	Revision       string `json:"revision,omitempty"`
	Time           string `json:"time,omitempty"`
	Modified       bool   `json:"modified,omitempty"`
	Go             string `json:"go"`
	Platform       string `json:"platform"`
	WorkerProtocol string `json:"worker_protocol"`
	API            string `json:"api"`
}

func runVersion(opts versionOptions, out io.Writer) error {
	v := readVersions()
	return opts.output.write(out, v, func(t *table) {
		t.row("snakepit", v.Version)
		if v.Revision != "" {
			revision := v.Revision + " of " + v.Time
			if v.Modified {
				revision += ", modified"
			}
			t.row("revision", revision)
		}
		t.row("go", v.Go+" "+v.Platform)
		t.row("worker protocol", v.WorkerProtocol)
		t.row("api", v.API)
	})
}

// readVersions reads what the build has left in the program.
func readVersions() versions {
	v := versions{
		Go:             runtime.Version(),
		Platform:       runtime.GOOS + "/" + runtime.GOARCH,
		WorkerProtocol: strconv.Itoa(frames.Version),
		API:            apiVersion,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
