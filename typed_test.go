package snakepit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/snakepit-go/snakepit"
)

func TestCallDecodesTheResult(t *testing.T) {
	e := openEngine(t, nil)
	ctx := t.Context()
	n, err := snakepit.Call[int](ctx, e, "echo", snakepit.Args{"value": 3})
	if err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	notes, err := snakepit.CallInSession[struct{ Count int }](ctx, e, "alice", "remember", snakepit.Args{"text": "milk"})
	if err != nil || notes.Count != 1 {
		t.Errorf("%+v, %v", notes, err)
	}
	raw, err := snakepit.Call[[]byte](ctx, e, "echo", snakepit.Args{"value": []byte{0, 1}})
	if err != nil || !bytes.Equal(raw, []byte{0, 1}) {
		t.Errorf("%v, %v", raw, err)
	}
	if none, err := snakepit.Call[[]byte](ctx, e, "echo", nil); err != nil || none != nil {
		t.Errorf("%v, %v", none, err)
	}
	for _, err := range []error{
		second(snakepit.Call[int](ctx, e, "echo", snakepit.Args{"value": "three"})),
		second(snakepit.Call[[]byte](ctx, e, "echo", snakepit.Args{"value": "three"})),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "result of echo: ") {
			t.Errorf("a result of another type: %v", err)
		}
	}
	if _, err := snakepit.Call[int](ctx, e, "nosuch", nil, snakepit.Idempotent()); !errors.Is(err, snakepit.ErrToolNotFound) {
		t.Errorf("unknown tool: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestHostFunc(t *testing.T) {
	type order struct {
		Item  string `json:"item"`
		Count int    `json:"count"`
	}
	e := openEngine(t, func(c *snakepit.Config) {
		c.HostTools = map[string]snakepit.HostTool{
			"price": snakepit.HostFunc(func(_ context.Context, o order) (map[string]any, error) {
				if o.Item == "" {
					return nil, errors.New("no item")
				}
				return map[string]any{"item": o.Item, "total": 2 * o.Count}, nil
			}),
		}
	})
	got, err := snakepit.Call[map[string]any](t.Context(), e, "ask", snakepit.Args{"name": "price", "item": "tea", "count": 3})
	if err != nil || fmt.Sprint(got) != "map[item:tea total:6]" {
		t.Errorf("%v, %v", got, err)
	}
	for _, c := range []struct {
		args snakepit.Args
		want string
	}{
		{snakepit.Args{"name": "price", "items": "tea"}, `unknown field "items"`},
		{snakepit.Args{"name": "price", "item": "tea", "count": "three"}, "count"},
		{snakepit.Args{"name": "price"}, "no item"},
	} {
		_, err := e.Execute(t.Context(), "ask", c.args)
		if fault, ok := errors.AsType[*snakepit.ToolError](err); !ok || !strings.Contains(fault.Message, c.want) {
			t.Errorf("%v: %v lacks %q", c.args, err, c.want)
		}
	}
}
