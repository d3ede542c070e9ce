package server_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/snakepit-go/snakepit"
	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
	"github.com/snakepit-go/snakepit/internal/wireerr"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/session"
)

// TestUploadBrokenOffStoresNothing cuts the connection of an upload that has
// sent whole messages, in all places from which a careless reader could take
// the end of the bytes for the end of the program.
func TestUploadBrokenOffStoresNothing(t *testing.T) {
	r := serve(t, nil)
	const path = "/snakepit.v1.SessionService/PutProgram"
	if res := r.post(t, create, `{"id":"s"}`); res.status != http.StatusOK {
		t.Fatal(res.body)
	}
	envelope := func(text string) string {
		return "\x00" + string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
	}
	whole := envelope(`{"start":{"session":"s","name":"p"}}`) + envelope(`{"data":"aGFsZg=="}`)
	chunk := func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }
	chunked, sized := "Transfer-Encoding: chunked\r\n", fmt.Sprintf("Content-Length: %d\r\n", len(whole)+10)
	for name, sent := range map[string][2]string{
		"after a chunk":                {chunked, chunk(whole)},
		"in a chunk":                   {chunked, chunk(whole) + "ff\r\nabc"},
		"in a message, at its end":     {chunked, chunk(whole+"\x00\x00\x00\x00\xff{") + "0\r\n\r\n"},
		"in a head, at its end":        {chunked, chunk(whole+"\x00\x00") + "0\r\n\r\n"},
		"before the length that it is": {sized, whole},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.log.requests())
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/connect+json\r\n%s\r\n%s", path, sent[0], sent[1]); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			// The server closes the connection once the request has ended.
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Fatal(err)
			}
			if log := r.log.requests(); len(log) != before+1 || strings.Contains(log[before], "result=ok") {
				t.Errorf("the requests were %q", log[before:])
			}
			if res := r.post(t, "/snakepit.v1.SessionService/ListPrograms", `{"session":"s"}`); compact(res.body) != "{}" {
				t.Errorf("the session has %s", res.body)
			}
		})
	}
}

// upload stores a program of equal parts in session s.
func upload(t *testing.T, sessions snakepitv1connect.SessionServiceClient, name string, part []byte, parts int) error {
	t.Helper()
	s := sessions.PutProgram(t.Context())
	err := s.Send(&snakepitv1.PutProgramRequest{Part: &snakepitv1.PutProgramRequest_Start_{Start: &snakepitv1.PutProgramRequest_Start{Session: "s", Name: name}}})
	for n := 0; n < parts && err == nil; n++ {
		err = s.Send(&snakepitv1.PutProgramRequest{Part: &snakepitv1.PutProgramRequest_Data{Data: part}})
	}
	_, err = s.CloseAndReceive() // says why, if a message could not be sent
	return err
}

// TestLargeProgramsOverEveryProtocol sends and fetches more than one message
// may hold.
func TestLargeProgramsOverEveryProtocol(t *testing.T) {
	r := serve(t, func(_ *snakepit.Config, opts *server.Options) { opts.MaxRequest = 3 << 19 })
	part := make([]byte, 1<<20)
	for i := range part {
		part[i] = byte(i * 7)
	}
	eachProtocol(t, r, func(t *testing.T, _ snakepitv1connect.ExecutionServiceClient, sessions snakepitv1connect.SessionServiceClient) {
		if _, err := sessions.Create(t.Context(), connect.NewRequest(&snakepitv1.CreateSessionRequest{Id: "s"})); err != nil {
			t.Fatal(err)
		}
		const parts = 3
		if err := upload(t, sessions, "large", part, parts); err != nil {
			t.Fatal(err)
		}
		down, err := sessions.GetProgram(t.Context(), connect.NewRequest(&snakepitv1.GetProgramRequest{Session: "s", Name: "large"}))
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for down.Receive() {
			got = append(got, down.Msg().GetData()...)
		}
		if down.Err() != nil || !bytes.Equal(got, bytes.Repeat(part, parts)) {
			t.Errorf("%d bytes came back, not the same ones (%v)", len(got), down.Err())
		}
		if err := down.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestProgramThatIsTooLarge(t *testing.T) {
	r := serve(t, nil)
	sessions := snakepitv1connect.NewSessionServiceClient(httpClient(t, true), r.url)
	if _, err := sessions.Create(t.Context(), connect.NewRequest(&snakepitv1.CreateSessionRequest{Id: "s"})); err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 1<<20)
	if err := upload(t, sessions, "p", part, session.MaxProgramSize/len(part)+1); !errors.Is(wireerr.Decode(err), session.ErrTooLarge) {
		t.Errorf("one part more than allowed: %v", err)
	}
	if res := r.post(t, "/snakepit.v1.SessionService/ListPrograms", `{"session":"s"}`); compact(res.body) != "{}" {
		t.Errorf("the session has %s", res.body)
	}
}
