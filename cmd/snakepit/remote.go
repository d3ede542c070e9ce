package main

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/pflag"

	"github.com/snakepit-go/snakepit/client"
)

const (
	// serverVariable names the default of --server in the environment.
	serverVariable = "SNAKEPIT_SERVER"
	defaultServer  = "http://127.0.0.1:7460"
	// requestTimeout bounds what is neither a call nor a transfer.
	requestTimeout = 30 * time.Second
)

// remote is the part of a command that talks to a server.
type remote struct{ server string }

func (r *remote) register(flags *pflag.FlagSet, e env) {
	flags.StringVar(&r.server, "server", cmp.Or(e.lookup(serverVariable), defaultServer), "`URL` of the server ("+serverVariable+")")
	flags.Lookup("server").DefValue = defaultServer // help texts do not depend on the environment
}

// connect gives f a client for as long as f runs.
func (r *remote) connect(f func(*client.Client) error) error {
	c, err := client.New(r.server, nil)
	if err != nil {
		return usageError{err}
	}
	defer c.Close()
	return f(c)
}

// ask is connect for a question that has a quick answer.
func (r *remote) ask(ctx context.Context, f func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return r.connect(func(c *client.Client) error { return f(ctx, c) })
}
