package frames

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

// tailLines is how many of the last lines explain why a worker did not start.
const tailLines = 20

// printed logs what a worker's process prints past its library: an interpreter
// that does not start, a C extension, a child process.
type printed struct {
	log    *slog.Logger
	level  slog.Level
	stream string

	mu   sync.Mutex
	last []string
}

// Write receives whole lines.
func (p *printed) Write(line []byte) (int, error) {
	text := string(bytes.TrimRight(line, "\r\n"))
	p.mu.Lock()
	if len(p.last) == tailLines {
		p.last = append(p.last[:0], p.last[1:]...)
	}
	p.last = append(p.last, text)
	p.mu.Unlock()
	p.log.LogAttrs(context.Background(), p.level, text, slog.String("stream", p.stream))
	return len(line), nil
}

// tail returns the last lines.
func (p *printed) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "\n")
}
