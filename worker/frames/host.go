package frames

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/snakepit-go/snakepit/internal/jsontext"
	"github.com/snakepit-go/snakepit/worker"
)

const (
	// maxWaiting bounds the requests of one call that wait for the host.
	maxWaiting = 64
	// maxRead bounds what program.read returns at once.
	maxRead = 4 << 20
	// settleWait bounds how long an answer waits for the program request that
	// is being served when it comes.
	settleWait = 5 * time.Second
)

// hosting serves what the tool of one call asks its host for.
//
// Program requests are served one after another, in the order they came, by a
// goroutine that lives while there are any; each host.call has a goroutine of
// its own, as one may take as long as it likes.
//
// A thread that a tool left running may go on asking when the call has been
// answered. Its requests are refused from then on; the one about programs that
// is being served is waited for, so that what the call wrote is settled when it
// returns.
type hosting struct {
	// ctx is the caller's.
	ctx context.Context

	lock    sync.Mutex
	asked   context.Context // what the host's methods run under; made when needed
	cancel  context.CancelFunc
	ended   bool
	waiting int
	queue   []*ask
	// serving says that a goroutine works on the queue, and has uploads.
	serving bool
	// busy is closed when the program request that is being carried out is
	// through; nil if none is.
	busy    chan struct{}
	uploads map[int64]*upload
	nextID  int64
}

// upload is a program being written.
type upload struct {
	worker.Program
	to   io.WriteCloser
	sum  hash.Hash
	stop context.CancelFunc
}

// asked handles a request of the worker. It does not wait for anything.
func (c *conn) asked(m *message) {
	req := ask{conn: c, id: m.id, method: m.method}
	if !req.known() {
		go req.answer(nil, &rpcError{Code: codeMethodNotFound, Message: fmt.Sprintf("unknown method %q", m.method)})
		return
	}
	r := c.find(m.payload.call)
	if r == nil || r.call == nil {
		go req.answer(nil, fmt.Errorf("%s: %w", m.method, worker.ErrCallEnded))
		return
	}
	parts, err := m.attachments()
	if err == nil {
		err = m.payload.into(&req.params)
	}
	if err != nil {
		go req.answer(nil, &rpcError{Code: codeInvalidParams, Message: fmt.Sprintf("%s: %v", m.method, err)})
		return
	}
	req.parts, req.call = parts, r.call
	if err := r.hosting.accept(&req); err != nil {
		go req.answer(nil, fmt.Errorf("%s: %w", m.method, err))
	}
}

// accept queues or starts a request.
func (h *hosting) accept(req *ask) error {
	h.lock.Lock()
	defer h.lock.Unlock()
	switch {
	case h.ended:
		return worker.ErrCallEnded
	case h.waiting == maxWaiting:
		return errBusy
	}
	h.waiting++
	if h.asked == nil {
		h.asked, h.cancel = context.WithCancel(h.ctx)
	}
	if req.method == "host.call" {
		ctx := h.asked
		go func() {
			req.reply(req.carryOut(ctx))
			h.lock.Lock()
			h.waiting--
			h.lock.Unlock()
		}()
		return nil
	}
	h.queue = append(h.queue, req)
	if !h.serving {
		h.serving = true
		go h.serveQueue()
	}
	return nil
}

func (h *hosting) serveQueue() {
	for {
		h.lock.Lock()
		if len(h.queue) == 0 {
			h.serving = false
			if h.ended {
				h.abandon()
			}
			h.lock.Unlock()
			return
		}
		req := h.queue[0]
		h.queue = h.queue[1:]
		ctx, ended := h.asked, h.ended
		if !ended {
			h.busy = make(chan struct{})
		}
		h.lock.Unlock()

		found := served{err: fmt.Errorf("%s: %w", req.method, worker.ErrCallEnded)}
		if !ended {
			found = req.carryOut(ctx)
		}

		h.lock.Lock()
		h.waiting--
		if h.busy != nil {
			close(h.busy)
			h.busy = nil
		}
		h.lock.Unlock()
		req.reply(found)
	}
}

// settle refuses all further requests of a call that was answered, and returns
// when none about programs is being carried out.
func (h *hosting) settle(ctx context.Context) error {
	h.lock.Lock()
	h.ended = true
	busy := h.busy
	h.lock.Unlock()
	if busy == nil {
		return nil
	}
	timer := time.NewTimer(settleWait)
	defer timer.Stop()
	select {
	case <-busy:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return fmt.Errorf("the tool was answered while a request of it for a program was open, and that was still being served %v later", settleWait)
	}
}

// end ends what is being served, because the call returns.
func (h *hosting) end() {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.ended = true
	if h.cancel == nil {
		return
	}
	h.cancel()
	if !h.serving {
		h.abandon()
	}
}

// abandon gives up the programs that were not completed.
func (h *hosting) abandon() {
	for id := range h.uploads {
		h.abort(id)
	}
}

// abort gives one up. Whoever closes or aborts an upload removes it, so the
// other can no longer happen.
func (h *hosting) abort(id int64) {
	u := h.uploads[id]
	delete(h.uploads, id)
	u.stop()
	if a, ok := u.to.(worker.Aborter); ok {
		// What is left of it is cleaned up by whoever stores programs.
		_ = a.Abort()
	}
}

// ask is one request of the worker.
type ask struct {
	conn   *conn
	call   *call
	id     int64
	method string
	parts  [][]byte
	params struct {
		Name        string          `json:"name"`
		ContentType string          `json:"content_type"`
		Offset      int64           `json:"offset"`
		Limit       int             `json:"limit"`
		Upload      int64           `json:"upload"`
		Tool        string          `json:"tool"`
		Args        json.RawMessage `json:"args"`
	}
}

func (a *ask) known() bool {
	switch a.method {
	case "program.read", "program.open", "program.write", "program.close", "program.abort", "program.delete", "host.call":
		return true
	}
	return false
}

// answer answers the request; it may wait for the socket.
func (a *ask) answer(result any, err error, parts ...[]byte) {
	var refused *rpcError
	if err != nil {
		refused = refusal(err)
	}
	// If it fails, the worker is gone.
	_ = a.conn.reply(context.Background(), a.id, result, refused, parts...)
}

func (a *ask) reply(o served) { a.answer(o.result, o.err, o.parts...) }

// served is what came of a request.
type served struct {
	result any
	err    error
	parts  [][]byte
}

// carryOut has the host do what was asked.
func (a *ask) carryOut(ctx context.Context) (o served) {
	if ctx.Err() != nil {
		return served{err: context.Cause(ctx)}
	}
	host := a.call.Host
	if host == nil {
		host = noHost{}
	}
	o.result = struct{}{}
	switch p := &a.params; a.method {
	case "program.read":
		var data []byte
		data, o.err = a.read(ctx, host)
		o.result, o.parts = map[string]any{"parts": []int{len(data)}}, [][]byte{data}
	case "program.open":
		var id int64
		id, o.err = a.call.hosting.open(ctx, host, p.Name, p.ContentType)
		o.result = map[string]any{"upload": id}
	case "program.write":
		o.err = a.call.hosting.write(p.Upload, a.parts)
	case "program.close":
		var program *worker.Program
		program, o.err = a.call.hosting.complete(p.Upload)
		o.result = map[string]any{"program": program}
	case "program.abort":
		if a.call.hosting.uploads[p.Upload] == nil {
			o.err = errNoUpload
		} else {
			a.call.hosting.abort(p.Upload)
		}
	case "program.delete":
		o.err = host.DeleteProgram(ctx, p.Name)
	case "host.call":
		var value json.RawMessage
		value, o.err = a.callTool(ctx, host)
		o.result = map[string]any{"value": value}
	}
	return o
}

func (a *ask) read(ctx context.Context, host worker.Host) ([]byte, error) {
	p := &a.params
	if p.Offset < 0 || p.Limit <= 0 {
		return nil, &rpcError{Code: codeInvalidParams, Message: fmt.Sprintf("program.read: offset %d, limit %d", p.Offset, p.Limit)}
	}
	return host.ReadProgram(ctx, p.Name, p.Offset, min(p.Limit, maxRead, a.conn.opts.MaxFrame/2))
}

func (a *ask) callTool(ctx context.Context, host worker.Host) (json.RawMessage, error) {
	args := a.params.Args
	if args == nil {
		args = json.RawMessage("{}")
	}
	value, err := host.CallTool(ctx, a.params.Tool, args)
	if err != nil {
		return nil, err
	}
	if err := jsontext.Valid(value); err != nil {
		return nil, fmt.Errorf("host tool %q: its result is not JSON: %w", a.params.Tool, err)
	}
	if len(value) > a.conn.opts.MaxFrame/2 {
		return nil, fmt.Errorf("host tool %q: its result has %d bytes, where %d are allowed", a.params.Tool, len(value), a.conn.opts.MaxFrame/2)
	}
	return value, nil
}

// The four below run in the goroutine of the queue.

func (h *hosting) open(ctx context.Context, host worker.Host, name, contentType string) (int64, error) {
	ctx, stop := context.WithCancel(ctx)
	to, err := host.WriteProgram(ctx, name, contentType)
	if err != nil {
		stop()
		return 0, err
	}
	if h.uploads == nil {
		h.uploads = make(map[int64]*upload)
	}
	h.nextID++
	h.uploads[h.nextID] = &upload{
		Program: worker.Program{Name: name, ContentType: contentType},
		to:      to, sum: sha256.New(), stop: stop,
	}
	return h.nextID, nil
}

func (h *hosting) write(id int64, parts [][]byte) error {
	u := h.uploads[id]
	if u == nil {
		return errNoUpload
	}
	for _, data := range parts {
		if _, err := u.to.Write(data); err != nil {
			return fmt.Errorf("write program %q: %w", u.Name, err)
		}
		u.sum.Write(data) // never fails
		u.Size += int64(len(data))
	}
	return nil
}

func (h *hosting) complete(id int64) (*worker.Program, error) {
	u := h.uploads[id]
	if u == nil {
		return nil, errNoUpload
	}
	if err := u.to.Close(); err != nil {
		h.abort(id)
		return nil, fmt.Errorf("complete program %q: %w", u.Name, err)
	}
	delete(h.uploads, id)
	u.stop()
	u.SHA256 = hex.EncodeToString(u.sum.Sum(nil))
	return &u.Program, nil
}

// noHost declines everything.
type noHost struct{}

func (noHost) ReadProgram(context.Context, string, int64, int) ([]byte, error) {
	return nil, worker.ErrNoSession
}

func (noHost) WriteProgram(context.Context, string, string) (io.WriteCloser, error) {
	return nil, worker.ErrNoSession
}

func (noHost) DeleteProgram(context.Context, string) error { return worker.ErrNoSession }

func (noHost) CallTool(_ context.Context, name string, _ json.RawMessage) (json.RawMessage, error) {
	return nil, fmt.Errorf("%w: %q", worker.ErrHostToolNotFound, name)
}
