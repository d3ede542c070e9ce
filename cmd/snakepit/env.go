package main

import (
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
