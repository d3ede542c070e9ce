package execution

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/worker"
)

// HostTool is a function of this process that tools may call. Its result is
// encoded as JSON. A call it makes into the session it serves shares that
// session's turn; such a call needs another free worker.
type HostTool func(ctx context.Context, args json.RawMessage) (any, error)

// callHost answers what a tool asks for during one call, until it is sealed. It
// implements worker.Host.
//
// A tool may leave a thread running that goes on asking. What it asks for takes
// effect with the call or is refused, never something in between: everything
// that counts for the commit happens under mu, which seal takes too.
type callHost struct {
	// call is the context of the call: a program that is opened for one
	// request of the worker is read by later ones.
	call     context.Context
	sessions *session.Store
	tools    map[string]HostTool
	logger   *slog.Logger
	// sess is nil in a call without a session.
	sess     *session.Session
	readOnly bool

	mu sync.Mutex
	// sealed says that the call has been answered.
	sealed bool
	// staged holds what the call wrote, by name; dropped what it deleted.
	staged  map[string]*session.StagedProgram
	dropped map[string]struct{}
	// open keeps the program being read, so that reading on costs no new
	// look-up.
	open     *session.ProgramReader
	openName string
}

// ReadProgram implements worker.Host.
func (h *callHost) ReadProgram(_ context.Context, name string, offset int64, limit int) ([]byte, error) {
	if h.sess == nil {
		return nil, fmt.Errorf("read program %q: %w", name, worker.ErrNoSession)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sealed {
		return nil, fmt.Errorf("read program %q: %w", name, worker.ErrCallEnded)
	}
	if _, gone := h.dropped[name]; gone {
		return nil, fmt.Errorf("read program %q: %w", name, worker.ErrProgramNotFound)
	}
	buf := make([]byte, limit)
	var src io.ReaderAt
	if staged, ok := h.staged[name]; ok {
		src = staged
	} else {
		if err := h.openProgram(name); err != nil {
			return nil, err
		}
		src = h.open
	}
	n, err := src.ReadAt(buf, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buf[:n], nil
}

// openProgram makes h.open read the program that the session had when the call
// began; what has become of it since is not what the tool asks for.
func (h *callHost) openProgram(name string) error {
	if h.open != nil && h.openName == name {
		return nil
	}
	if err := h.closeOpen(); err != nil {
		return err
	}
	known, ok := h.sess.Program(name)
	if !ok {
		return fmt.Errorf("read program %q: %w", name, worker.ErrProgramNotFound)
	}
	r, err := h.sessions.OpenProgram(h.call, h.sess.ID(), name)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return fmt.Errorf("read program %q: %w: it was deleted since the call began", name, session.ErrConflict)
	case err != nil:
		return err
	case r.Program().SHA256 != known.SHA256:
		return errors.Join(fmt.Errorf("read program %q: %w: it was replaced since the call began", name, session.ErrConflict), r.Close())
	}
	h.open, h.openName = r, name
	return nil
}

// WriteProgram implements worker.Host.
func (h *callHost) WriteProgram(_ context.Context, name, contentType string) (io.WriteCloser, error) {
	if err := h.allows(); err != nil {
		return nil, fmt.Errorf("write program %q: %w", name, err)
	}
	// What is staged must be removable when the call was cancelled.
	staged, err := h.sessions.StageProgram(context.WithoutCancel(h.call), h.sess, name, contentType)
	if err != nil {
		return nil, err
	}
	return &programWriter{StagedProgram: staged, host: h, name: name}, nil
}

// DeleteProgram implements worker.Host.
func (h *callHost) DeleteProgram(_ context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return fmt.Errorf("delete program %q: %w", name, err)
	}
	if staged, ok := h.staged[name]; ok {
		delete(h.staged, name)
		h.dropped[name] = struct{}{}
		return staged.Abort()
	}
	_, stored := h.sess.Program(name)
	_, gone := h.dropped[name]
	if !stored || gone {
		return fmt.Errorf("delete program %q: %w", name, worker.ErrProgramNotFound)
	}
	h.dropped[name] = struct{}{}
	return nil
}

// CallTool implements worker.Host.
func (h *callHost) CallTool(ctx context.Context, name string, args json.RawMessage) (json.RawMessage, error) {
	if h.ended() {
		return nil, fmt.Errorf("call host tool %q: %w", name, worker.ErrCallEnded)
	}
	tool, ok := h.tools[name]
	if !ok {
		return nil, fmt.Errorf("call host tool %q: %w", name, worker.ErrHostToolNotFound)
	}
	value, err := h.run(ctx, tool, name, args)
	if err != nil {
		return nil, fmt.Errorf("host tool %q: %w", name, err)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("host tool %q: encode its result: %w", name, err)
	}
	return encoded, nil
}

// run turns a panic into an error: it is the call's failure, not the process's.
// The stack is for the operator's log; callers may be anybody.
func (h *callHost) run(ctx context.Context, tool HostTool, name string, args json.RawMessage) (value any, err error) {
	defer func() {
		if r := recover(); r != nil {
			h.logger.ErrorContext(ctx, "host tool panicked", "tool", name, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return tool(ctx, args)
}

// seal ends what tools may ask for, and returns the program changes of the
// call for its commit.
func (h *callHost) seal() (put []*session.StagedProgram, drop []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = true
	put = slices.Collect(maps.Values(h.staged))
	for name := range h.dropped {
		// A program the call itself made and deleted again was never stored.
		if _, stored := h.sess.Program(name); stored {
			drop = append(drop, name)
		}
	}
	return put, drop
}

// close seals the call and gives up what it staged, unless that was committed.
func (h *callHost) close(committed bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = true
	errs := []error{h.closeOpen()}
	if !committed {
		for _, staged := range h.staged {
			errs = append(errs, staged.Abort())
		}
	}
	clear(h.staged)
	return errors.Join(errs...)
}

func (h *callHost) closeOpen() error {
	if h.open == nil {
		return nil
	}
	err := h.open.Close()
	h.open = nil
	return err
}

func (h *callHost) ended() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sealed
}

func (h *callHost) allows() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writable()
}

// writable says why a program may not be written; h.mu is held.
func (h *callHost) writable() error {
	switch {
	case h.sealed:
		return worker.ErrCallEnded
	case h.sess == nil:
		return worker.ErrNoSession
	case h.readOnly:
		return worker.ErrReadOnly
	}
	return nil
}

// programWriter makes a program count for its call once it is complete.
type programWriter struct {
	*session.StagedProgram
	host *callHost
	name string
}

func (w *programWriter) Write(b []byte) (int, error) {
	if w.host.ended() {
		return 0, worker.ErrCallEnded
	}
	return w.StagedProgram.Write(b)
}

func (w *programWriter) Close() error {
	if err := w.StagedProgram.Close(); err != nil {
		return err
	}
	w.host.mu.Lock()
	defer w.host.mu.Unlock()
	if w.host.sealed {
		return errors.Join(worker.ErrCallEnded, w.Abort())
	}
	previous := w.host.staged[w.name]
	w.host.staged[w.name] = w.StagedProgram
	delete(w.host.dropped, w.name)
	if previous != nil {
		return previous.Abort()
	}
	return nil
}
