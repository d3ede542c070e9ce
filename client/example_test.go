package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

func Example() {
	c, err := client.New("http://127.0.0.1:7460", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	ctx := context.Background()

	result, err := c.Execute(ctx, client.Call{Tool: "remember", Args: map[string]string{"text": "milk"}, Session: "alice"})
	fault, raised := errors.AsType[*worker.ToolError](err)
	switch {
	case raised:
		fmt.Println(fault.Type, fault.Traceback)
	case errors.Is(err, session.ErrUnknown):
		fmt.Println("the connection was lost: look at the session before repeating the call")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(string(result.Value))
	}
}

// A read-modify-write over the network: the revision keeps writers apart.
func ExampleClient_Patch() {
	c, err := client.New("http://127.0.0.1:7460", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	ctx := context.Background()
	for {
		s, err := c.Peek(ctx, "alice", nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		var vars struct{ Visits int }
		if err := json.Unmarshal(s.Vars, &vars); err != nil {
			fmt.Println(err)
			return
		}
		_, err = c.Patch(ctx, s.ID, client.Patch{
			Set:              map[string]json.RawMessage{"visits": fmt.Append(nil, vars.Visits+1)},
			ExpectedRevision: s.Revision,
		})
		if !errors.Is(err, session.ErrConflict) {
			fmt.Println("done", err)
			return
		}
	}
}
