package workertest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"reflect"

	"github.com/snakepit-go/snakepit/worker"
)

// Invocation is what a tool of a Fake gets.
type Invocation struct {
	worker  *Worker
	call    *worker.Call
	running *call
	state   *held
	ctx     context.Context
	gate    *gate // nil if the call has no host
	parts   [][]byte
	// localUsed: the tool has asked for Local.
	localUsed bool
}

// Context ends when the call is cancelled or the worker is gone. A tool that
// is deaf to cancels waits for Gone instead.
func (inv *Invocation) Context() context.Context { return inv.ctx }

// Gone is closed when the worker has ended.
func (inv *Invocation) Gone() <-chan struct{} { return inv.worker.gone.Done() }

// Worker is the worker that runs the tool.
func (inv *Invocation) Worker() *Worker { return inv.worker }

// Call is the call as the host sent it.
func (inv *Invocation) Call() *worker.Call { return inv.call }

// Args decodes the arguments, strictly by the name and type of v's fields.
func (inv *Invocation) Args(v any) error {
	if len(inv.call.Args) == 0 {
		return nil
	}
	err := json.Unmarshal(inv.call.Args, v)
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &worker.ToolError{
			Kind: worker.InvalidArguments, Type: "TypeError", Parameter: mismatch.Field,
			Message: "argument " + mismatch.Field + " cannot be a " + mismatch.Value,
		}
	}
	return err
}

// Bytes returns attachment i of the call.
func (inv *Invocation) Bytes(i int) []byte { return inv.call.Attachments[i] }

// Attach adds raw bytes to the result and returns the value that stands for
// them.
func (inv *Invocation) Attach(b []byte) any {
	inv.parts = append(inv.parts, b)
	return map[string]int{"$bytes": len(inv.parts) - 1}
}

// Yield sends a chunk. It waits while the consumer is a window behind.
func (inv *Invocation) Yield(v any) error {
	raw, err := marshal(v)
	if err != nil {
		return err
	}
	select {
	case inv.running.chunks <- worker.Chunk{Value: raw}:
		return nil
	case <-inv.ctx.Done():
		return context.Cause(inv.ctx)
	}
}

// Vars are the variables of the session; what is changed in them is the
// change of the call. It is nil without a session.
func (inv *Invocation) Vars() map[string]json.RawMessage {
	if inv.state == nil {
		return nil
	}
	return inv.state.vars
}

// Local are the in-process objects of the session.
func (inv *Invocation) Local() map[string]any {
	inv.localUsed = true
	return inv.state.local
}

// Host is where the tool may ask the host; it refuses everything if the call
// has none, and everything that is asked after the tool has returned.
func (inv *Invocation) Host() (worker.Host, error) {
	if inv.gate == nil {
		return nil, &worker.ToolError{Kind: worker.ToolRaised, Type: "HostError", Message: "the host answers no requests of this call"}
	}
	return inv.gate, nil
}

// Notify calls a tool of the host, if one is named.
func (inv *Invocation) Notify(tool string, args any) error {
	if tool == "" {
		return nil
	}
	host, err := inv.Host()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	_, err = host.CallTool(inv.ctx, tool, raw)
	return err
}

// Log writes to the logger of the worker.
func (inv *Invocation) Log(level slog.Level, msg string) {
	if inv.worker.spec.Logger != nil {
		inv.worker.spec.Logger.Log(inv.ctx, level, msg, "correlation", inv.call.CorrelationID)
	}
}

// run runs the tool and makes its answer.
func (inv *Invocation) run(tool Tool) (*worker.Result, error) {
	value, err := tool.Run(inv)
	if inv.gate != nil {
		inv.gate.seal()
	}
	if err != nil {
		var te *worker.ToolError
		switch {
		case inv.ctx.Err() != nil:
			return nil, worker.ErrCanceled
		case errors.As(err, &te):
			return nil, te
		default:
			return nil, &worker.ToolError{Kind: worker.ToolRaised, Type: "Error", Message: err.Error()}
		}
	}
	raw, err := marshal(value)
	if err != nil {
		return nil, err
	}
	res := &worker.Result{Value: raw, Attachments: inv.parts}
	if inv.state != nil {
		res.Change = inv.state.change()
		res.Local, res.LocalUnused = len(inv.state.local) > 0, !inv.localUsed
	}
	return res, nil
}

// held is what a worker holds of a session, by the rule of docs/protocol.md
// ("After an answer without error...").
type held struct {
	incarnation string
	version     uint64 // the one of the last call
	pending     bool   // changed by the last call
	base        map[string]json.RawMessage
	vars        map[string]json.RawMessage
	local       map[string]any
}

// change is how vars differ from what the call came with.
func (h *held) change() *worker.StateChange {
	c := &worker.StateChange{Set: make(map[string]json.RawMessage)}
	for k, v := range h.vars {
		if old, ok := h.base[k]; !ok || !reflect.DeepEqual(old, v) {
			c.Set[k] = v
		}
	}
	for k := range h.base {
		if _, ok := h.vars[k]; !ok {
			c.Unset = append(c.Unset, k)
		}
	}
	if len(c.Set) == 0 && len(c.Unset) == 0 {
		return nil
	}
	return c
}

// adopt returns the state a call is to work on, a copy; w.mu is held.
func (w *Worker) adopt(s *worker.SessionState) (*held, error) {
	if s == nil {
		return nil, nil
	}
	h := w.sessions[s.ID]
	if h != nil && h.incarnation != s.Incarnation {
		h = nil
		delete(w.sessions, s.ID)
	}
	local := make(map[string]any)
	if h != nil {
		local = h.local
	}
	if s.Vars != nil {
		h = &held{incarnation: s.Incarnation, local: local}
		if err := json.Unmarshal(s.Vars, &h.vars); err != nil {
			return nil, err
		}
	} else if h == nil || h.pending && s.Version <= h.version || !h.pending && s.Version != h.version {
		return nil, worker.ErrStateMissing
	}
	h.version, h.pending = s.Version, false
	w.sessions[s.ID] = h
	base := h.vars
	if base == nil {
		base = make(map[string]json.RawMessage)
	}
	return &held{incarnation: h.incarnation, base: base, vars: maps.Clone(base), local: h.local}, nil
}

// keep makes the state of a call that was answered the one held; w.mu is held.
func (w *Worker) keep(s *worker.SessionState, h *held, res *worker.Result) {
	if s == nil {
		return
	}
	if now := w.sessions[s.ID]; now == nil || now.incarnation != h.incarnation {
		return // forgotten meanwhile
	}
	w.sessions[s.ID] = &held{
		incarnation: h.incarnation, version: s.Version, pending: res.Change != nil,
		vars: h.vars, local: h.local,
	}
}
