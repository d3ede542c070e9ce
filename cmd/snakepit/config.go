package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/snakepit-go/snakepit/app"
	"github.com/snakepit-go/snakepit/config"
)

func newConfig(e env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Show and check the configuration of serve",
		Long: `Show and check the configuration of serve.

A setting comes from the defaults, then the file, then the environment, then the
flags; the later one wins. docs/configuration.md explains every setting.`,
	}, newConfigPrint(e), newConfigCheck(e), newConfigReference(e))
}

func newConfigPrint(e env) *cobra.Command {
	opts := settings{environ: e.environ}
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration, with the source of each value",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			c, err := opts.load()
			if err != nil {
				return err
			}
			return c.Print(e.stdout)
		},
	}
	opts.register(cmd.Flags())
	return cmd
}

func newConfigCheck(e env) *cobra.Command {
	opts := settings{environ: e.environ}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether serve could start with this configuration",
		Long: `Say whether serve could start with this configuration: all problems at once,
each with its source. It looks at the files and directories that are named, runs
the interpreters to see their version, and tries the address. Nothing is
started, so whether the tools load is not known before serve has loaded them.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := opts.load()
			if unread, ok := errors.AsType[configError](err); ok {
				err = unread.err
			}
			if err := errors.Join(err, c.Validate(), app.Check(cmd.Context(), c)); err != nil {
				return configError{err}
			}
			fmt.Fprintln(e.stdout, "the configuration is valid")
			return nil
		},
	}
	opts.register(cmd.Flags())
	return cmd
}

func newConfigReference(e env) *cobra.Command {
	return &cobra.Command{
		Use:   "reference",
		Short: "Print all settings with their defaults and explanations, as YAML",
		Args:  arguments(0, 0),
		RunE:  func(*cobra.Command, []string) error { return config.Reference(e.stdout) },
	}
}

// settings are the flags that make up the daemon's configuration.
type settings struct {
	environ []string
	file    string
	given   map[string]string // flags of package config, by name
}

func (s *settings) register(flags *pflag.FlagSet) {
	flags.StringVar(&s.file, "config", "", "configuration `FILE`, in YAML ("+config.FileVariable+")")
	s.given = make(map[string]string)
	for _, f := range config.Flags() {
		usage, _, _ := strings.Cut(f.Usage, ". ") // config reference has the rest
		flags.AddFlag(&pflag.Flag{
			Name:        f.Name,
			Usage:       usage,
			Value:       &setting{name: f.Name, given: s.given, bool: f.Bool},
			NoOptDefVal: map[bool]string{true: "true"}[f.Bool],
		})
	}
}

// load merges the sources. A source that cannot be understood is a wrong use of the command, wherever it stands.
func (s *settings) load() (config.Config, error) {
	c, err := config.Load(config.Source{File: s.file, Env: s.environ, Flags: s.given})
	if err != nil {
		return c, configError{err}
	}
	return c, nil
}

func (s *settings) valid() (config.Config, error) {
	c, err := s.load()
	if err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, configError{err}
	}
	return c, nil
}

// configError is a configuration that cannot be used: the problems, one a line.
type configError struct{ err error }

func (e configError) Error() string {
	return "the configuration cannot be used:\n  " + strings.ReplaceAll(e.err.Error(), "\n", "\n  ")
}
func (e configError) Unwrap() error { return e.err }

// setting is the value of a flag that package config reads: noted as text, so that config judges all sources alike.
type setting struct {
	name  string
	given map[string]string
	bool  bool
}

func (v *setting) String() string { return v.given[v.name] }

func (v *setting) Set(text string) error {
	v.given[v.name] = text
	return nil
}

// Type is what stands behind the flag in help texts.
func (v *setting) Type() string {
	if v.bool {
		return "bool"
	}
	return "VALUE"
}
