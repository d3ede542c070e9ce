package snakepit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/worker"
)

// testdata/notes.py has the tools that these examples call.
func openExample(ctx context.Context) *snakepit.Engine {
	engine, err := snakepit.Open(ctx, snakepit.Config{
		Pools: []snakepit.PoolConfig{{Tools: "testdata/notes.py", Workers: 1}},
	})
	if err != nil {
		log.Fatal(err)
	}
	return engine
}

func ExampleOpen() {
	ctx := context.Background()
	engine, err := snakepit.Open(ctx, snakepit.Config{
		Pools: []snakepit.PoolConfig{{Tools: "testdata/notes.py", Workers: 1}},
	})
	if err != nil {
		log.Fatal(err) // with Python's traceback, if the tools do not load
	}
	defer engine.Close()

	result, err := engine.Execute(ctx, "shout", snakepit.Args{"text": "hello"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(result.Value))
	// Output: "HELLO"
}

func ExampleEngine_ExecuteInSession() {
	ctx := context.Background()
	engine := openExample(ctx)
	defer engine.Close()

	for _, text := range []string{"milk", "bread"} {
		result, err := engine.ExecuteInSession(ctx, "alice", "remember", snakepit.Args{"text": text})
		if err != nil {
			log.Fatal(err)
		}
		var answer struct{ Count int }
		if err := result.Decode(&answer); err != nil {
			log.Fatal(err)
		}
		fmt.Println(answer.Count)
	}

	// The state is an ordinary session of the store.
	alice, err := engine.Sessions().Peek(ctx, "alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(alice.Vars()))
	// Output:
	// 1
	// 2
	// {"notes":["milk","bread"]}
}

func ExampleEngine_Stream() {
	ctx := context.Background()
	engine := openExample(ctx)
	defer engine.Close()

	for chunk, err := range engine.Stream(ctx, "countdown", snakepit.Args{"n": 3}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(chunk.Value))
	}
	// Output:
	// {"left":3}
	// {"left":2}
	// {"left":1}
}

func ExampleWithCallID() {
	ctx := context.Background()
	engine := openExample(ctx)
	defer engine.Close()

	for range 2 { // for example because the first answer was lost on its way
		result, err := engine.ExecuteInSession(ctx, "alice", "remember", snakepit.Args{"text": "milk"}, snakepit.WithCallID("order-17"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(result.Value), result.Repeated)
	}
	status, err := engine.CallStatus(ctx, "alice", "order-17")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.State)
	// Output:
	// {"count":1} false
	// {"count":1} true
	// committed
}

// The errors of calls say what happened and to whom.
func ExampleEngine_Execute_errors() {
	ctx := context.Background()
	engine := openExample(ctx)
	defer engine.Close()

	_, err := engine.Execute(ctx, "shout", snakepit.Args{"text": 7})
	if fault, ok := errors.AsType[*worker.ToolError](err); ok {
		fmt.Println(fault.Kind, fault.Parameter)
	}
	// Output: invalid_arguments text
}

// A store on disk keeps sessions for the next process.
func ExampleConfig_disk() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "notes-") // somewhere lasting, in a real program
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	for range 2 { // as two runs of a program would
		countNotes(ctx, filepath.Join(dir, "data"))
	}
	// Output:
	// 1
	// 2
}

func countNotes(ctx context.Context, dir string) {
	store, err := diskstore.Open(ctx, dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	engine, err := snakepit.Open(ctx, snakepit.Config{
		Store: store, // closed with the engine
		Pools: []snakepit.PoolConfig{{Tools: "testdata/notes.py", Workers: 1}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()

	result, err := engine.ExecuteInSession(ctx, "alice", "remember", snakepit.Args{"text": "milk"})
	if err != nil {
		log.Fatal(err)
	}
	var answer struct{ Count int }
	if err := result.Decode(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Count)
}
