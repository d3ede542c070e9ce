package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/memstore"
)

func Example() {
	ctx := context.Background()
	sessions, err := session.New(memstore.New(), &session.Options{DefaultTTL: 30 * time.Minute})
	if err != nil {
		panic(err)
	}
	defer sessions.Close()

	_, created, err := sessions.Create(ctx, "alice", &session.CreateOptions{
		Labels: map[string]string{"team": "red"},
		Vars:   map[string]json.RawMessage{"notes": json.RawMessage(`["milk"]`)},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("created:", created)

	s, err := sessions.Get(ctx, "alice")
	if err != nil {
		panic(err)
	}
	var notes []string
	if _, err := s.DecodeVar("notes", &notes); err != nil {
		panic(err)
	}
	fmt.Println(string(s.Vars()), notes, s.TTL())
	// Output:
	// created: true
	// {"notes":["milk"]} [milk] 30m0s
}

func ExampleStore_Update() {
	ctx := context.Background()
	sessions, err := session.New(memstore.New(), nil)
	if err != nil {
		panic(err)
	}
	defer sessions.Close()
	if _, _, err := sessions.Create(ctx, "alice", nil); err != nil {
		panic(err)
	}

	// The function runs again if another writer came first.
	count := func(d *session.Draft) error {
		n := 0
		if stored, ok := d.Var("visits"); ok {
			if err := json.Unmarshal(stored, &n); err != nil {
				return err
			}
		}
		return d.SetVar("visits", n+1)
	}
	for range 3 {
		if _, err := sessions.Update(ctx, "alice", count); err != nil {
			panic(err)
		}
	}
	s, err := sessions.Peek(ctx, "alice")
	if err != nil {
		panic(err)
	}
	visits, _ := s.Var("visits")
	fmt.Println(string(visits))
	// Output: 3
}

func ExampleStore_Put() {
	ctx := context.Background()
	sessions, err := session.New(memstore.New(), nil)
	if err != nil {
		panic(err)
	}
	defer sessions.Close()
	s, _, err := sessions.Create(ctx, "alice", nil)
	if err != nil {
		panic(err)
	}

	mine := session.Content{Vars: map[string]json.RawMessage{"color": json.RawMessage(`"red"`)}}
	if _, err := sessions.Put(ctx, "alice", s.Revision(), mine); err != nil {
		panic(err)
	}
	// The revision has been used: somebody who still has it is told.
	_, err = sessions.Put(ctx, "alice", s.Revision(), session.Content{})
	fmt.Println(errors.Is(err, session.ErrConflict))
	// Output: true
}

func ExampleStore_All() {
	ctx := context.Background()
	sessions, err := session.New(memstore.New(), nil)
	if err != nil {
		panic(err)
	}
	defer sessions.Close()
	for i, team := range []string{"red", "blue", "red"} {
		id := fmt.Sprintf("user/%d", i)
		if _, _, err := sessions.Create(ctx, id, &session.CreateOptions{Labels: map[string]string{"team": team}}); err != nil {
			panic(err)
		}
	}

	for s, err := range sessions.All(ctx, session.ListOptions{Prefix: "user/", Labels: map[string]string{"team": "red"}}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(s.ID())
	}
	// Output:
	// user/0
	// user/2
}

func ExampleStore_PutProgram() {
	ctx := context.Background()
	sessions, err := session.New(memstore.New(), nil)
	if err != nil {
		panic(err)
	}
	defer sessions.Close()
	if _, _, err := sessions.Create(ctx, "alice", nil); err != nil {
		panic(err)
	}

	source := strings.NewReader("print('hello')\n")
	p, err := sessions.PutProgram(ctx, "alice", "hello.py", source, &session.ProgramOptions{ContentType: "text/x-python"})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Name, p.Size, p.SHA256[:8])

	r, err := sessions.OpenProgram(ctx, "alice", "hello.py")
	if err != nil {
		panic(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r) // verified by its SHA-256
	if err != nil {
		panic(err)
	}
	fmt.Print(string(text))
	// Output:
	// hello.py 15 03e693d9
	// print('hello')
}

func ExampleStore_Commit() {
	ctx := context.Background()
	sessions, err := session.New(memstore.New(), nil)
	if err != nil {
		panic(err)
	}
	defer sessions.Close()
	if _, _, err := sessions.Create(ctx, "alice", nil); err != nil {
		panic(err)
	}

	// A call begins: its process owns the session.
	s, err := sessions.Claim(ctx, "alice", session.Owner{Node: "node-1", Process: "4f2a"})
	if err != nil {
		panic(err)
	}
	// Meanwhile another process takes over.
	if _, err := sessions.Claim(ctx, "alice", session.Owner{Node: "node-2", Process: "9c01"}); err != nil {
		panic(err)
	}
	_, err = sessions.Commit(ctx, "alice", session.Commit{
		Fence: s.Fence(),
		Call:  &session.NamedCall{ID: "call-1"},
		Set:   map[string]json.RawMessage{"answer": json.RawMessage("42")},
	})
	fmt.Println(err)
	// Output: session commit "alice" (memory): fenced: owned by process "9c01" on node "node-2" under epoch 2, and this call began under epoch 1
}
