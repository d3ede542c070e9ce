package snakepit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// Caller runs tools; an Engine does.
type Caller interface {
	Execute(ctx context.Context, tool string, args any, opts ...CallOption) (*Result, error)
	ExecuteInSession(ctx context.Context, sessionID, tool string, args any, opts ...CallOption) (*Result, error)
}

// Call runs a tool outside any session and decodes its result into an Out, as
// encoding/json does. An Out of []byte takes the bytes that a tool returned.
// What JSON lacks stays as docs/protocol.md writes it, so a time.Time takes no
// datetime, which is {"$datetime": text}, but the text that isoformat() makes of
// one with an offset.
//
//	sum, err := snakepit.Call[int](ctx, engine, "add", snakepit.Args{"a": 1, "b": 2})
func Call[Out any](ctx context.Context, c Caller, tool string, args any, opts ...CallOption) (Out, error) {
	res, err := c.Execute(ctx, tool, args, opts...)
	return decodeResult[Out](tool, res, err)
}

// CallInSession is Call in a session. What the tool changed is committed also if
// its result cannot be decoded.
func CallInSession[Out any](ctx context.Context, c Caller, sessionID, tool string, args any, opts ...CallOption) (Out, error) {
	res, err := c.ExecuteInSession(ctx, sessionID, tool, args, opts...)
	return decodeResult[Out](tool, res, err)
}

func decodeResult[Out any](tool string, res *Result, err error) (out Out, _ error) {
	if err != nil {
		return out, err
	}
	if raw, ok := any(&out).(*[]byte); ok {
		data, isBytes := res.Bytes()
		if !isBytes && string(res.Value) != "null" {
			return out, fmt.Errorf("result of %s: it is no bytes but %.100s", tool, res.Value)
		}
		*raw = data
		return out, nil
	}
	if err := res.Decode(&out); err != nil {
		return out, fmt.Errorf("result of %s: %w", tool, err)
	}
	return out, nil
}

// HostFunc makes a host tool of a function with types: the arguments that Python
// gives by name are decoded into an In, most often a struct with json tags, and
// the Out is encoded, as encoding/json does. Arguments that In has no field for
// are an error in Python; fields without an argument stay zero.
// For a time.Time, too, Python has to send such a text as Call describes; it gets
// times as text and bytes as base64.
func HostFunc[In, Out any](f func(context.Context, In) (Out, error)) HostTool {
	return func(ctx context.Context, args json.RawMessage) (any, error) {
		var in In
		if len(args) > 0 {
			d := json.NewDecoder(bytes.NewReader(args))
			d.DisallowUnknownFields()
			if err := d.Decode(&in); err != nil {
				return nil, fmt.Errorf("arguments: %w", err)
			}
		}
		return f(ctx, in)
	}
}
