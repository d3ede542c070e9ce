package workertest

import (
	"context"
	"encoding/json"
	"io"
	"sync"

	"github.com/snakepit-go/snakepit/worker"
)

// gate passes on what a tool asks of its host until the call is answered.
type gate struct {
	host worker.Host

	mu     sync.RWMutex // held for reading by requests about programs
	sealed bool
}

// seal waits for the requests about programs that are being served, and
// refuses all others.
func (g *gate) seal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sealed = true
}

// pass runs a request.
func (g *gate) pass(request func() error) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.sealed {
		return worker.ErrCallEnded
	}
	return request()
}

func (g *gate) ReadProgram(ctx context.Context, name string, offset int64, limit int) (data []byte, err error) {
	err = g.pass(func() error {
		data, err = g.host.ReadProgram(ctx, name, offset, limit)
		return err
	})
	return data, err
}

func (g *gate) WriteProgram(ctx context.Context, name, contentType string) (w io.WriteCloser, err error) {
	err = g.pass(func() error {
		w, err = g.host.WriteProgram(ctx, name, contentType)
		return err
	})
	return &gatedWriter{g, w}, err
}

func (g *gate) DeleteProgram(ctx context.Context, name string) error {
	return g.pass(func() error { return g.host.DeleteProgram(ctx, name) })
}

// CallTool is not waited for: it may take as long as it likes, and changes
// nothing of the call.
func (g *gate) CallTool(ctx context.Context, name string, args json.RawMessage) (json.RawMessage, error) {
	if err := g.pass(func() error { return nil }); err != nil {
		return nil, err
	}
	return g.host.CallTool(ctx, name, args)
}

type gatedWriter struct {
	gate *gate
	to   io.WriteCloser
}

func (w *gatedWriter) Write(p []byte) (n int, err error) {
	err = w.gate.pass(func() error {
		n, err = w.to.Write(p)
		return err
	})
	return n, err
}

func (w *gatedWriter) Close() error { return w.gate.pass(w.to.Close) }
