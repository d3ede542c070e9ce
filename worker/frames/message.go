package frames

import (
	"encoding/json"
	"fmt"

	"github.com/snakepit-go/snakepit/internal/jsontext"
	"github.com/snakepit-go/snakepit/worker"
)

// message is a received frame. Its slices point into the frame.
type message struct {
	id     int64
	hasID  bool
	method string
	// payload is the params of a request or notification, and the result of
	// an answer.
	payload payload
	// failure is the error of an answer, or nil.
	failure []byte
	body    []byte
}

// payload holds the members that are worth finding without encoding/json; raw
// holds all of them.
type payload struct {
	raw    []byte
	call   int64
	value  []byte
	parts  []int
	change *worker.StateChange
	read   *worker.VarsRead
	local  bool
	// localUnused: the worker has said so.
	localUnused bool
}

// parse reads a header. On an error the message says as much as was found
// before it.
func parse(header, body []byte) (m message, err error) {
	m.body = body
	s := jsontext.NewScanner(header)
	s.Object(func(key []byte) {
		switch string(key) {
		case "id":
			m.hasID = s.Peek() != 'n'
			m.id = s.Integer()
		case "method":
			m.method = readString(&s)
		case "params", "result":
			m.payload.decode(&s)
		case "error":
			m.failure = s.Value()
		default:
			s.Value()
		}
	})
	return m, s.End()
}

func (p *payload) decode(s *jsontext.Scanner) {
	s.Peek()
	start := s.Pos()
	if s.Peek() != '{' {
		s.Value()
	} else {
		s.Object(func(key []byte) {
			switch string(key) {
			case "call":
				p.call = s.Integer()
			case "value":
				p.value = s.Value()
			case "parts":
				if !s.Null() {
					s.Array(func() { p.parts = append(p.parts, int(s.Integer())) })
				}
			case "change":
				p.readChange(s)
			case "read":
				p.readKeys(s)
			case "local":
				p.local = string(s.Value()) == "true"
			case "local_used":
				p.localUnused = string(s.Value()) == "false"
			default:
				s.Value()
			}
		})
	}
	if s.Err() == nil {
		p.raw = s.Since(start)
	}
}

func (p *payload) readChange(s *jsontext.Scanner) {
	if s.Null() {
		return
	}
	change := new(worker.StateChange)
	s.Object(func(key []byte) {
		switch string(key) {
		case "set":
			change.Set = make(map[string]json.RawMessage)
			s.Object(func(key []byte) { change.Set[s.Key(key)] = s.Value() })
		case "unset":
			s.Array(func() { change.Unset = append(change.Unset, readString(s)) })
		default:
			s.Value()
		}
	})
	p.change = change
}

// readKeys reads what a call has read: true for all variables, or their names.
func (p *payload) readKeys(s *jsontext.Scanner) {
	if s.Peek() != '[' {
		p.read = &worker.VarsRead{All: string(s.Value()) == "true"}
		return
	}
	read := new(worker.VarsRead)
	s.Array(func() { read.Keys = append(read.Keys, readString(s)) })
	p.read = read
}

// readString reads a string, and fails at anything else.
func readString(s *jsontext.Scanner) string {
	if s.Peek() != '"' {
		s.Fail("a string expected")
		return ""
	}
	return s.Key(s.RawString())
}

// attachments splits the body.
func (m *message) attachments() ([][]byte, error) {
	parts, rest := make([][]byte, 0, len(m.payload.parts)), m.body
	for _, n := range m.payload.parts {
		if n < 0 || n > len(rest) {
			return nil, fmt.Errorf("parts %v in a body of %d bytes", m.payload.parts, len(m.body))
		}
		parts, rest = append(parts, rest[:n:n]), rest[n:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("parts %v in a body of %d bytes", m.payload.parts, len(m.body))
	}
	if len(parts) == 0 {
		return nil, nil
	}
	return parts, nil
}

// into decodes all members of the payload.
func (p *payload) into(v any) error {
	if p.raw == nil {
		return nil // no params are empty ones
	}
	return json.Unmarshal(p.raw, v)
}

var null = json.RawMessage("null")

// result is an answer to a call, or the reason why it is none.
func (m *message) result() (*worker.Result, error) {
	if m.failure != nil {
		return nil, answerError(m.failure)
	}
	parts, err := m.attachments()
	if err != nil {
		return nil, malformed(err)
	}
	res := &worker.Result{Value: m.payload.value, Attachments: parts, Change: m.payload.change, Read: m.payload.read,
		Local: m.payload.local, LocalUnused: m.payload.localUnused}
	if res.Value == nil {
		res.Value = null
	}
	return res, nil
}
