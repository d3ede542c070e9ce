package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// exampleServer is what `snakepit serve` is otherwise.
func exampleServer() (url string, stop func(), err error) {
	engine, err := snakepit.Open(context.Background(), snakepit.Config{
		Pools:  []snakepit.PoolConfig{{Workers: 1, Transport: new(workertest.Fake)}},
		RunDir: filepath.Join(os.TempDir(), "snakepit-examples"),
	})
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, errors.Join(err, engine.Close())
	}
	s, ended := server.New(server.Options{Engine: engine}), make(chan error)
	go func() { ended <- s.Serve(l) }()
	return "http://" + l.Addr().String(), func() {
		if err := errors.Join(s.Close(), <-ended, engine.Close()); err != nil {
			fmt.Println(err)
		}
	}, nil
}

func Example() {
	url, stop, err := exampleServer()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	c, err := client.New(url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	ctx := context.Background()

	for _, tool := range []string{"remember", "remember_and_fail", "forget"} {
		result, err := c.Execute(ctx, client.Call{Tool: tool, Args: map[string]string{"text": "milk"}, Session: "alice"})
		fault, raised := errors.AsType[*worker.ToolError](err)
		switch {
		case raised:
			fmt.Println("raised", fault.Type)
		case errors.Is(err, session.ErrUnknown):
			fmt.Println("the connection was lost: look at the session before repeating the call")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println(string(result.Value))
		}
	}
	// Output:
	// {"count":1}
	// raised ValueError
	// execute forget: tool not found
}

// A read-modify-write over the network: the revision keeps writers apart.
func ExampleClient_Patch() {
	url, stop, err := exampleServer()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	c, err := client.New(url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	ctx := context.Background()

	visit := func(id string) error {
		for {
			s, _, err := c.Create(ctx, id, nil)
			if err != nil {
				return err
			}
			var vars struct{ Visits int }
			if err := json.Unmarshal(s.Vars, &vars); err != nil {
				return err
			}
			s, err = c.Patch(ctx, id, client.Patch{
				Set:              map[string]json.RawMessage{"visits": fmt.Append(nil, vars.Visits+1)},
				ExpectedRevision: s.Revision,
			})
			if errors.Is(err, session.ErrConflict) {
				continue // somebody else came first
			}
			if err == nil {
				fmt.Println(string(s.Vars))
			}
			return err
		}
	}
	for range 2 {
		if err := visit("alice"); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// {"visits":1}
	// {"visits":2}
}
