package execution

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// namedCalls lets one call of an id run at a time.
type namedCalls struct {
	mu      sync.Mutex
	running map[callName]chan struct{} // closed when the call has ended
}

// callName is the name of a call: its id within its session, or among all calls
// that have none.
type callName struct{ session, id string }

// heldName is the context value by which a nested call knows the names of the
// calls it is part of.
type heldName struct {
	callName
	outer *heldName
}

type nameKey struct{}

func newNamedCalls() *namedCalls {
	return &namedCalls{running: make(map[callName]chan struct{})}
}

// take waits until no other call of that name runs, and returns a context that
// carries the name; the call ends with leave. A call without an id has no name
// and waits for none.
func (n *namedCalls) take(ctx context.Context, name callName, wait waiting) (inside context.Context, leave func(), err error) {
	if name.id == "" {
		return ctx, func() {}, nil
	}
	outer, _ := ctx.Value(nameKey{}).(*heldName)
	for h := outer; h != nil; h = h.outer {
		if h.callName == name {
			return nil, nil, &session.InvalidError{Field: "call id", Reason: fmt.Sprintf("%q is that of the call that this one is part of", name.id)}
		}
	}
	mine := make(chan struct{})
	for {
		n.mu.Lock()
		other, runs := n.running[name]
		if !runs {
			n.running[name] = mine
		}
		n.mu.Unlock()
		if !runs {
			return context.WithValue(ctx, nameKey{}, &heldName{name, outer}), func() {
				n.mu.Lock()
				delete(n.running, name)
				n.mu.Unlock()
				close(mine)
			}, nil
		}
		if err := wait(ctx, fmt.Sprintf("the call of id %q that runs", name.id), func(ctx context.Context) error {
			select {
			case <-other:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}); err != nil {
			return nil, nil, err
		}
	}
}

func (n *namedCalls) runs(name callName) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, runs := n.running[name]
	return runs
}

func (r *Request) name() callName { return callName{r.Session, r.CallID} }

// named is what becomes of a call's answer for its repetition; nil if the call
// has no id.
func (r *Request) named() *session.NamedCall {
	if r.CallID == "" {
		return nil
	}
	return &session.NamedCall{ID: r.CallID, Digest: r.digest()}
}

// digest is of what is called: the tool and its pool, the arguments whatever
// their order and layout, and the attachments.
func (r *Request) digest() (sum [32]byte) {
	hash := sha256.New()
	part := func(b []byte) {
		hash.Write(binary.AppendUvarint(nil, uint64(len(b))))
		hash.Write(b)
	}
	part([]byte(r.Pool.Name()))
	part([]byte(r.Call.Tool))
	part(canonical(r.Call.Args))
	for _, b := range r.Call.Attachments {
		part(b)
	}
	hash.Sum(sum[:0])
	return sum
}

// canonical is the JSON of arguments with their keys in order and no space.
// Numbers stay as they are written.
func canonical(args json.RawMessage) []byte {
	if len(args) == 0 {
		return []byte("{}")
	}
	decoder := json.NewDecoder(bytes.NewReader(args))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return args // refused elsewhere
	}
	text, err := json.Marshal(v)
	if err != nil {
		return args
	}
	return text
}

// watch makes the chunks of a stream part of what is kept.
func watch(call *worker.Call, named *session.NamedCall) {
	deliver := call.OnChunk
	if deliver == nil || named == nil {
		return
	}
	call.OnChunk = func(c worker.Chunk) error {
		named.AddChunk(session.Chunk{Value: c.Value, Attachments: c.Attachments})
		return deliver(c)
	}
}

// answer completes what is kept of a call.
func answer(named *session.NamedCall, res *worker.Result) {
	if named != nil {
		named.Answer.Value, named.Answer.Attachments, named.Answer.Worker = res.Value, res.Attachments, res.Worker
	}
}

// repeat answers a call from the record of an earlier one of its id.
func (r *Request) repeat(rec *session.CallRecord, sess *session.Session) (*Result, error) {
	switch {
	case rec.Closed:
		return nil, fmt.Errorf("call %q: %w on %s; give the call a new id", r.CallID, ErrCallClosed, rec.At.UTC().Format(time.RFC3339))
	case rec.Digest != r.digest():
		return nil, fmt.Errorf("call %q: %w: it was committed on %s with another tool or other arguments; give this call an id of its own",
			r.CallID, ErrCallIDReused, rec.At.UTC().Format(time.RFC3339))
	case rec.Answer == nil:
		return nil, &AnswerNotKeptError{ID: r.CallID, Committed: rec.At, Size: rec.AnswerSize, SHA256: rec.AnswerSHA256}
	}
	if deliver := r.Call.OnChunk; deliver != nil {
		for _, c := range rec.Answer.Chunks {
			if err := deliver(worker.Chunk{Value: c.Value, Attachments: c.Attachments}); err != nil {
				return nil, err
			}
		}
	}
	return &Result{
		Result: &worker.Result{
			Worker: rec.Answer.Worker,
			Value:  slices.Clip(rec.Answer.Value), Attachments: rec.Answer.Attachments,
		},
		Session:     sess,
		Overwritten: rec.Answer.Overwritten,
		Repeated:    true,
	}, nil
}

// committedBefore answers a call that ran, and whose commit was refused because
// one of its id is recorded: by another process, since this one looked.
func (x *Executor) committedBefore(ctx context.Context, req *Request) (*Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	sess, rec, err := x.sessions.FindCall(ctx, req.Session, req.CallID)
	switch {
	case err != nil:
		return nil, &StateNotCommittedError{Executed: true, Err: err}
	case rec == nil:
		return nil, &StateNotCommittedError{Executed: true, Err: session.ErrUnknown}
	case rec.Closed:
		return nil, &StateNotCommittedError{Executed: true, Err: fmt.Errorf("call %q: %w while it ran", req.CallID, ErrCallClosed)}
	}
	return req.repeat(rec, sess)
}

// executePlainNamed runs a call that has an id and no session. It is recorded
// after it has run: if this process ends in between, nobody knows that it did.
func (x *Executor) executePlainNamed(ctx context.Context, req Request) (*Result, error) {
	adm, err := req.Pool.Admit()
	if err != nil {
		return nil, err
	}
	ctx, leave, err := x.named.take(ctx, req.name(), adm.Await)
	adm.Leave() // the pool lets it in once more
	if err != nil {
		return nil, err
	}
	defer leave()
	_, rec, err := x.sessions.FindCall(ctx, "", req.CallID)
	if err != nil {
		return nil, err
	}
	if rec != nil {
		return req.repeat(rec, nil)
	}
	named := req.named()
	watch(&req.Call, named)
	res, err := x.runPlain(ctx, req)
	if err != nil {
		return nil, err
	}
	answer(named, res.Result)
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	err = x.sessions.KeepCall(keep, *named)
	switch {
	case errors.Is(err, session.ErrAlreadyCommitted):
		return x.committedBefore(ctx, &req)
	case err != nil:
		return nil, &worker.CallError{Worker: res.Worker, Err: &StateNotCommittedError{Executed: true, Err: err}}
	}
	return res, nil
}

// CallState is what became of a call that was given an id.
type CallState uint8

// The states of a call.
const (
	// CallNotCommitted: none of the id has been committed, and none runs in
	// this process. One that comes later, or is still on its way, will run.
	CallNotCommitted CallState = iota
	// CallCommitted: it was committed; without a session, it was executed.
	CallCommitted
	// CallRunning: it runs, or waits for its turn, in this process.
	CallRunning
	// CallClosed: none of the id has been committed, and none will be as long as
	// ids are kept.
	CallClosed
	// CallNotKept: ids that are as recent as CallStatus.KeptSince had to make
	// room. A call of this id was never committed, or before that.
	CallNotKept
)

func (s CallState) String() string {
	return [...]string{"not_committed", "committed", "running", "closed", "not_kept"}[s]
}

// CallStatus says what became of a call that was given an id.
type CallStatus struct {
	State CallState
	// At is when the call was committed, or its id closed.
	At time.Time
	// Answer is what it returned; nil if it is not kept, or there is none.
	Answer *session.Answer
	// AnswerSize and AnswerSHA256 describe the answer also if it is not kept.
	AnswerSize   int64
	AnswerSHA256 string
	// KeptSince is from when on all committed ids are known: what is said of an
	// id that is not is true of calls since then.
	KeptSince time.Time
}

// CallStatus says what became of the call of an id in a session, or of one
// without a session if the session's id is empty. It changes nothing.
//
// Errors: session.ErrNotFound for the session, whose calls went with it; the
// session package's for the id and the store.
func (x *Executor) CallStatus(ctx context.Context, sessionID, callID string) (*CallStatus, error) {
	// A call that ends while the store is read is found there.
	running := x.named.runs(callName{sessionID, callID})
	sess, rec, err := x.sessions.FindCall(ctx, sessionID, callID)
	if err != nil {
		return nil, err
	}
	running = running || x.named.runs(callName{sessionID, callID})
	return x.statusOf(ctx, sess, callID, rec, running)
}

// CloseCall is CallStatus that makes sure: if no call of the id has been
// committed, none will be, neither one that is still on its way nor one that
// runs in another process, whose commit is refused. One that runs in this
// process is left alone, and its status is CallRunning.
//
// Errors: those of CallStatus.
func (x *Executor) CloseCall(ctx context.Context, sessionID, callID string) (*CallStatus, error) {
	status, err := x.CallStatus(ctx, sessionID, callID)
	if err != nil || status.State != CallNotCommitted {
		return status, err
	}
	rec, err := x.sessions.CloseCall(ctx, sessionID, callID)
	if err != nil {
		return nil, err
	}
	var sess *session.Session
	if sessionID != "" {
		if sess, err = x.sessions.Peek(ctx, sessionID); err != nil {
			return nil, err
		}
	}
	return x.statusOf(ctx, sess, callID, rec, false)
}

func (x *Executor) statusOf(ctx context.Context, sess *session.Session, callID string, rec *session.CallRecord, running bool) (*CallStatus, error) {
	since, complete, err := x.sessions.CallsKeptSince(ctx, sess, callID)
	if err != nil {
		return nil, err
	}
	status := &CallStatus{KeptSince: since}
	if rec != nil {
		status.At, status.Answer = rec.At, rec.Answer
		status.AnswerSize, status.AnswerSHA256 = rec.AnswerSize, rec.AnswerSHA256
	}
	switch {
	case rec != nil && rec.Closed:
		status.State = CallClosed
	case rec != nil:
		status.State = CallCommitted
	case running:
		status.State = CallRunning
	case !complete:
		status.State = CallNotKept
	}
	return status, nil
}
