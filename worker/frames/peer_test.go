package frames_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// peer is a worker in another language, as docs/protocol.md allows one, that
// also does what no worker should.
type peer struct {
	conn   net.Conn
	in     *bufio.Reader
	id     int64
	window int
}

type peerMessage struct {
	ID     int64           `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	body   []byte
}

func playPeer(script string) {
	fd, err := strconv.Atoi(os.Getenv("SNAKEPIT_FD"))
	if err != nil {
		panic(err)
	}
	conn, err := net.FileConn(os.NewFile(uintptr(fd), "socket"))
	if err != nil {
		panic(err)
	}
	p := &peer{conn: conn, in: bufio.NewReader(conn)}
	if params, ok := strings.CutPrefix(script, "hello "); ok {
		if path, ok := strings.CutPrefix(params, "@"); ok {
			content, err := os.ReadFile(path)
			if err != nil {
				panic(err)
			}
			params = string(content)
		}
		p.send(`{"jsonrpc":"2.0","id":1,"method":"hello","params":` + params + `}`)
		p.receive()
		hang()
	}
	switch script {
	case "exits":
		fmt.Fprintln(os.Stderr, "no module named anything")
		os.Exit(7)
	case "says nothing":
		hang()
	case "closes":
		// The copy made by FileConn is not the only one.
		os.NewFile(uintptr(fd), "").Close()
		conn.Close()
		hang()
	case "other version":
		p.send(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":[2,9],"sdk":"future 9"}}`)
		var e struct{ Code int }
		json.Unmarshal(p.receive().Error, &e)
		fmt.Fprintln(os.Stderr, "answered", e.Code)
	case "does not load":
		p.send(`{"jsonrpc":"2.0","method":"log","params":{"level":"warning","message":"about to fail"}}`)
		p.send(`{"jsonrpc":"2.0","method":"start_failed","params":{"type":"ImportError","message":"no numpy","traceback":"line 1\nline 2\n"}}`)
	case "bad hello":
		p.send(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":"one"}}`)
		hang()
	case "bad frame":
		p.write([]byte("Traceback (most recent call last):"))
		hang()
	case "serves":
		p.hello()
		p.serve()
	case "deaf":
		p.hello()
		hang()
	default:
		panic("unknown script " + script)
	}
}

func hang() {
	for {
		time.Sleep(time.Hour)
	}
}

func (p *peer) hello() {
	p.send(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":[0,3],"sdk":"peer 1","runtime":"Go","pid":1,"capacity":4,"future":{},
		"tools":[{"name":"echo","doc":"Echo.","parameters":{"type":"object"},"readonly":true,"idempotent":true,"streams":false,"session":true}]}}`)
	answer := p.receive()
	fmt.Println("welcome " + string(answer.Result))
}

func (p *peer) write(b []byte) {
	if _, err := p.conn.Write(b); err != nil {
		os.Exit(0)
	}
}

func (p *peer) send(header string, body ...byte) {
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	p.write(append(append(frame, header...), body...))
}

func (p *peer) receive() peerMessage {
	var prefix [8]byte
	if _, err := io.ReadFull(p.in, prefix[:]); err != nil {
		os.Exit(0)
	}
	rest := make([]byte, binary.BigEndian.Uint32(prefix[:])-4)
	if _, err := io.ReadFull(p.in, rest); err != nil {
		os.Exit(0)
	}
	n := binary.BigEndian.Uint32(prefix[4:])
	var m peerMessage
	if err := json.Unmarshal(rest[:n], &m); err != nil {
		panic(err)
	}
	m.body = rest[n:]
	return m
}

func (p *peer) result(format string, args ...any) {
	p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"value":`, p.id) + fmt.Sprintf(format, args...) + `}}`)
}

// ask sends a request of this call and returns the answer as one text.
func (p *peer) ask(id int64, method, params string, body ...byte) string {
	p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params), body...)
	return p.answer(id)
}

func (p *peer) answer(id int64) string {
	m := p.receive()
	if m.ID != id {
		panic(fmt.Sprintf("answer to %d, want %d", m.ID, id))
	}
	return string(m.Result) + string(m.Error) + string(m.body)
}

func (p *peer) serve() {
	for {
		m := p.receive()
		switch m.Method {
		case "call":
			p.call(m)
		case "ping":
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, m.ID))
		case "shutdown":
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, m.ID))
			os.Exit(0)
		case "cancel":
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"error":{"code":-32002,"message":"canceled"}}`, p.id))
		case "forget":
			fmt.Println("forget " + string(m.Params))
		}
	}
}

// call runs a tool, which is one thing that a worker may do.
func (p *peer) call(m peerMessage) {
	var params struct {
		Tool   string
		Args   json.RawMessage
		Window int
	}
	if err := json.Unmarshal(m.Params, &params); err != nil {
		panic(err)
	}
	p.id, p.window = m.ID, params.Window
	tool, arg, _ := strings.Cut(params.Tool, " ")
	switch tool {
	case "params":
		p.result("%s", m.Params)
	case "error": // arg is code and data
		code, data, _ := strings.Cut(arg, " ")
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"error":{"code":%s,"message":"it is wrong","data":%s}}`, p.id, code, data))
	case "raw": // arg is what comes instead of a value
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%s}`, p.id, arg), []byte("abc")...)
	case "reordered":
		p.send(fmt.Sprintf(`{"result":{"local":true,"change":{"unset":["a","b\"\u00e9"],"set":{"x\n":1,"y":{}}},"parts":[1,0,2],"value":7,"new":[]},"new":{},"id":%d}`, p.id), []byte("abc")...)
	case "chunks":
		n, _ := strconv.Atoi(arg)
		for i := range n {
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"chunk","params":{"call":%d,"value":%d}}`, p.id, i))
		}
		p.result("null")
	case "bad_chunk":
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"chunk","params":{"call":%d,"value":NaN}}`, p.id))
	case "no_answer":
	case "frame": // arg is the two numbers
		var n, h uint32
		fmt.Sscan(arg, &n, &h)
		p.write(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, n), h))
		p.write(make([]byte, 64))
	case "header":
		p.send(arg)
	case "exit_in_frame":
		p.write([]byte{0, 0, 1, 0, 0, 0})
		os.Exit(3)
	case "answer_and_exit":
		p.result(`"last words"`)
		os.Exit(0)
	case "close":
		fd, _ := strconv.Atoi(os.Getenv("SNAKEPIT_FD"))
		os.NewFile(uintptr(fd), "").Close()
		p.conn.Close()
		hang()
	case "ask": // arg is the method and its params
		method, rest, _ := strings.Cut(arg, " ")
		text, _ := json.Marshal(p.ask(77, method, strings.ReplaceAll(rest, "CALL", fmt.Sprint(p.id))))
		p.result("%s", text)
	case "pipelined_upload":
		for i, step := range []string{
			`"program.open","params":{"call":%d,"name":"p","content_type":"text/plain"}`,
			`"program.write","params":{"call":%d,"upload":1,"parts":[1,2]}`,
			`"program.write","params":{"call":%d,"upload":1,"parts":[3]}`,
			`"program.close","params":{"call":%d,"upload":1}`,
		} {
			body := []string{"", "abc", "def", ""}[i]
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":`+step+`}`, i, p.id), []byte(body)...)
		}
		var last string
		for i := range 4 {
			last = p.answer(int64(i))
		}
		text, _ := json.Marshal(last)
		p.result("%s", text)
	case "open_and_leave":
		p.ask(1, "program.open", fmt.Sprintf(`{"call":%d,"name":"p"}`, p.id))
		p.result("null")
	case "answer_while_asking": // as a thread does that outlives its tool
		p.ask(1, "program.open", fmt.Sprintf(`{"call":%d,"name":"p"}`, p.id))
		for i, method := range []string{"program.close", "program.write"} {
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{"call":%d,"upload":1}}`, 2+i, method, p.id))
		}
		p.ask(9, "host.call", fmt.Sprintf(`{"call":%d,"tool":"closing"}`, p.id))
		p.result(`"answered"`)
		p.send(`{"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"has answered"}}`)
		words := []string{"late:"}
		for _, answer := range []string{p.answer(2), p.answer(3), p.ask(4, "program.delete", fmt.Sprintf(`{"call":%d,"name":"p"}`, p.id))} {
			switch {
			case strings.Contains(answer, "no_call"):
				words = append(words, "refused")
			case strings.HasPrefix(answer, `{"program"`):
				words = append(words, "done")
			default:
				words = append(words, answer)
			}
		}
		fmt.Println(strings.Join(words, " "))
	case "many_asks":
		const n = 200
		for i := range n {
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"host.call","params":{"call":%d,"tool":"wait"}}`, i, p.id))
		}
		refused := 0
		for refused < n-64 {
			if m := p.receive(); strings.Contains(string(m.Error), "busy") {
				refused++
			} else {
				panic("answered: " + string(m.Result) + string(m.Error))
			}
		}
		p.result("%d", refused)
	default:
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"error":{"code":-32601,"message":"no tool","data":{"tool":%q}}}`, p.id, params.Tool))
	}
}
