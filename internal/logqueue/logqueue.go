// Package logqueue lets a program write its log without ever waiting for
// whoever reads the log.
//
// A terminal that was stopped with Ctrl-S, or a container's log driver that
// hangs, makes a write to standard error wait for ever, and with it the call
// that logs. A Queue takes records at once and writes them from a goroutine of
// its own, which lives while there is something to write.
//
// # Concurrency and failure
//
// All methods are safe for concurrent use. Records keep their order. What does
// not fit into the queue, and what the writer underneath refuses, is dropped,
// counted, and told of by a record in its place as soon as records get through
// again. Write never fails and never waits; Flush waits as long as its context
// lets it.
package logqueue

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// Queue is an io.Writer of log records: each Write is one.
type Queue struct {
	w      io.Writer
	limit  int
	notice func(dropped uint64) []byte

	mu      sync.Mutex // guards the fields below
	records []record
	size    int           // bytes in records
	dropped uint64        // in all
	untold  uint64        // of dropped, those that no notice in the queue or in the log tells of
	idle    chan struct{} // closed when the goroutine ends that writes now; nil if there is none
}

type record struct {
	text []byte
	// tells is how many dropped records this one tells of; 0 for a record of
	// the program.
	tells uint64
}

// New returns a queue of at most limit bytes before w. notice makes the record
// that tells how many were dropped.
func New(w io.Writer, limit int, notice func(dropped uint64) []byte) *Queue {
	return &Queue{w: w, limit: limit, notice: notice}
}

// Write implements io.Writer. It copies p and returns at once.
func (q *Queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size+len(p) > q.limit {
		q.dropped++
		q.untold++
		return len(p), nil
	}
	q.tell()
	q.push(record{text: bytes.Clone(p)})
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.write(q.idle)
	}
	return len(p), nil
}

func (q *Queue) push(r record) {
	q.records = append(q.records, r)
	q.size += len(r.text)
}

// tell queues a notice of what was dropped, if something was.
func (q *Queue) tell() {
	if q.untold > 0 {
		q.push(record{q.notice(q.untold), q.untold})
		q.untold = 0
	}
}

// write writes until the queue is empty.
func (q *Queue) write(idle chan<- struct{}) {
	defer close(idle)
	var written error
	for {
		r, ok := q.next(written == nil)
		if !ok {
			return
		}
		if _, written = q.w.Write(r.text); written != nil {
			q.lost(r)
		}
	}
}

// next takes the first record. When the last one is out and records get
// through, those dropped meanwhile are told of; to a reader who is gone only
// the next record will try again.
func (q *Queue) next(through bool) (record, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.records) == 0 && through {
		q.tell()
	}
	if len(q.records) == 0 {
		q.records, q.idle = nil, nil
		return record{}, false
	}
	r := q.records[0]
	q.records[0] = record{}
	q.records = q.records[1:]
	q.size -= len(r.text)
	return r, true
}

func (q *Queue) lost(r record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.tells > 0 {
		q.untold += r.tells
		return
	}
	q.dropped++
	q.untold++
}

// Dropped is how many records were lost so far.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Flush returns when everything written before has left the queue, or when ctx
// ends.
func (q *Queue) Flush(ctx context.Context) error {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
