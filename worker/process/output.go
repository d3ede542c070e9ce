package process

import (
	"bytes"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	// maxLine is how much of a line goes to a writer at once.
	maxLine = 64 << 10
	// maxRest bounds what is read after the end of the process: a pipe holds
	// no more, and a child that escaped may never stop writing.
	maxRest = 1 << 20
)

// output carries what a process prints to a writer, line by line.
//
// The end of the process, and not the end of the pipe, ends it: a grandchild
// that inherited the pipe may keep it open for ever.
type output struct {
	pipe  *os.File
	child *os.File // the child's end
	to    io.Writer
	done  chan struct{}

	buf  []byte
	fill int // buf[:fill] is a line without its end so far
}

func (o *output) run() {
	defer close(o.done)
	defer o.pipe.Close()
	o.buf = make([]byte, maxLine)
	for {
		n, err := o.pipe.Read(o.buf[o.fill:])
		o.add(n)
		if err != nil {
			// Either the end of the pipe, or finish was called.
			if os.IsTimeout(err) {
				o.drain()
			}
			break
		}
	}
	if o.fill > 0 {
		o.write(append(o.buf[:o.fill:o.fill], '\n'))
	}
}

// finish makes run read what is in the pipe now, and end.
func (o *output) finish() {
	// It fails if run has closed the pipe, which is as good.
	_ = o.pipe.SetReadDeadline(time.Now())
}

// drain reads until the pipe is empty, without waiting for more.
func (o *output) drain() {
	raw, err := o.pipe.SyscallConn()
	if err != nil {
		return
	}
	if err := o.pipe.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		for total := 0; total < maxRest; {
			n, err := syscall.Read(int(fd), o.buf[o.fill:])
			if err == syscall.EINTR {
				continue
			}
			if n <= 0 {
				break
			}
			total += n
			o.add(n)
		}
		return true
	})
}

// add takes n new bytes in the buffer and writes out the lines they complete.
func (o *output) add(n int) {
	o.fill += n
	line := o.buf[:o.fill]
	for {
		i := bytes.IndexByte(line, '\n')
		if i < 0 {
			break
		}
		o.write(line[:i+1])
		line = line[i+1:]
	}
	if len(line) == len(o.buf) {
		o.write(line)
		line = nil
	}
	o.fill = copy(o.buf, line)
}

// write passes a line on. Writers that fail miss lines; the process must not
// suffer from that.
func (o *output) write(line []byte) { _, _ = o.to.Write(line) }
