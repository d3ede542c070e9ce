package main

import (
	"context"
	"io"
	"strings"
)

// env is what a command sees of the world around it.
type env struct {
	environ        []string // in the form of os.Environ
	stdin          io.Reader
	stdout, stderr io.Writer
	force          <-chan struct{} // closed when the user will wait no longer; nil for never
}

// lookup returns the value of a variable, "" if there is none. The last entry wins, as in a process.
func (e env) lookup(name string) string {
	value := ""
	for _, entry := range e.environ {
		if text, ok := strings.CutPrefix(entry, name+"="); ok {
			value = text
		}
	}
	return value
}

// interruptible is a reader whose Read returns when its context ends, for a terminal that nobody types into. What it
// reads from is left with a goroutine that waits there, so it is for a program that ends next.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		buf := make([]byte, len(p)) // p is the caller's again when Read has returned
		n, err := i.r.Read(buf)
		read <- result{buf[:n], err}
	}()
	select {
	case res := <-read:
		return copy(p, res.data), res.err
	case <-i.ctx.Done():
		return 0, context.Cause(i.ctx)
	}
}
