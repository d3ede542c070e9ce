package frames

import (
	"encoding/json"
	"fmt"

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
	local  bool
}

// parse reads a header. On an error the message says as much as was found
// before it.
func parse(header, body []byte) (m message, err error) {
	m.body = body
	s := scanner{text: header}
	s.object(func(key []byte) {
		switch string(key) {
		case "id":
			m.hasID = s.peek() != 'n'
			m.id = s.integer()
		case "method":
			m.method = s.method()
		case "params", "result":
			m.payload.read(&s)
		case "error":
			m.failure = s.value()
		default:
			s.value()
		}
	})
	return m, s.end()
}

func (s *scanner) method() string {
	if s.peek() != '"' {
		s.fail("a method's name expected")
		return ""
	}
	return s.key(s.str())
}

func (p *payload) read(s *scanner) {
	s.peek()
	start := s.pos
	if s.peek() != '{' {
		s.value()
	} else {
		s.object(func(key []byte) {
			switch string(key) {
			case "call":
				p.call = s.integer()
			case "value":
				p.value = s.value()
			case "parts":
				if !s.null() {
					s.array(func() { p.parts = append(p.parts, int(s.integer())) })
				}
			case "change":
				p.readChange(s)
			case "local":
				p.local = string(s.value()) == "true"
			default:
				s.value()
			}
		})
	}
	if s.err == nil {
		p.raw = s.text[start:s.pos]
	}
}

func (p *payload) readChange(s *scanner) {
	if s.null() {
		return
	}
	change := new(worker.StateChange)
	s.object(func(key []byte) {
		switch string(key) {
		case "set":
			change.Set = make(map[string]json.RawMessage)
			s.object(func(key []byte) { change.Set[s.key(key)] = s.value() })
		case "unset":
			s.array(func() {
				if s.peek() != '"' {
					s.fail("a key expected")
					return
				}
				change.Unset = append(change.Unset, s.key(s.str()))
			})
		default:
			s.value()
		}
	})
	p.change = change
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
	res := &worker.Result{Value: m.payload.value, Attachments: parts, Change: m.payload.change, Local: m.payload.local}
	if res.Value == nil {
		res.Value = null
	}
	return res, nil
}
