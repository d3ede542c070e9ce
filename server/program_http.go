package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/session"
)

// programPath is where programs are as plain bytes; id and name are escaped as
// in every URL.
const programPath = "/v1/sessions/{id}/programs/{name}"

// programHandler serves programs as plain bytes, for curl and browsers.
type programHandler struct {
	store  *session.Store
	log    *interceptor
	errors *connect.ErrorWriter
}

// ServeHTTP implements http.Handler.
func (h *programHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	serve := map[string]func(http.ResponseWriter, *http.Request) error{
		http.MethodGet: h.get, http.MethodHead: h.get, http.MethodPut: h.put,
	}[r.Method]
	if serve == nil {
		w.Header().Set("Allow", "GET, HEAD, PUT")
		refuse(w, http.StatusMethodNotAllowed, connect.CodeUnimplemented, "a program takes GET, HEAD and PUT, not "+r.Method)
		return
	}
	err := h.log.done(r.Context(), connect.Spec{Procedure: r.Method + " " + programPath}, began, serve(w, r))
	if begun, ok := errors.AsType[*connect.Error](err); ok && errors.Is(begun, errCutOff) {
		panic(http.ErrAbortHandler) // what was sent must not be taken for the whole
	}
	if err != nil {
		_ = h.errors.Write(w, r, err) // an error means that the client has left
	}
}

// errCutOff marks an error that comes when a part has been sent.
var errCutOff = errors.New("the download was cut off")

func (h *programHandler) get(w http.ResponseWriter, r *http.Request) (err error) {
	program, err := h.store.OpenProgram(r.Context(), r.PathValue("id"), r.PathValue("name"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	p := program.Program()
	tag := `"` + p.SHA256 + `"`
	header := w.Header()
	unchanged := matches(r.Header.Get("If-None-Match"), tag)
	var part []byte
	if !unchanged && r.Method != http.MethodHead {
		// What cannot be read at all is an error like others, not a download that
		// breaks off.
		part = make([]byte, min(p.Size, programPart))
		if _, err := io.ReadFull(program, part); err != nil {
			return err
		}
	}
	header.Set("ETag", tag)
	header.Set("Cache-Control", "no-cache")
	header.Set("Last-Modified", p.Updated.UTC().Format(http.TimeFormat))
	if unchanged {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", "application/octet-stream")
	if p.ContentType != "" {
		header.Set("Content-Type", p.ContentType)
	}
	header.Set("Content-Length", strconv.FormatInt(p.Size, 10))
	// A program may be a page with a script. Opened from here it must not act as ours.
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "sandbox")
	header.Set("Content-Disposition", "attachment")
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(part)
	if err == nil && len(part) > 0 {
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, program, part)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errCutOff, err)
	}
	return nil
}

// matches reports whether an If-None-Match header names the tag.
func matches(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == tag || one == "*" {
			return true
		}
	}
	return false
}

func (h *programHandler) put(w http.ResponseWriter, r *http.Request) error {
	for _, name := range []string{"Content-Encoding", "Content-Range", "If-Match", "If-None-Match"} {
		if r.Header.Get(name) != "" {
			return connect.NewError(connect.CodeUnimplemented, fmt.Errorf("a program is put as a whole and as it is: the header %s is not taken", name))
		}
	}
	if r.ContentLength > session.MaxProgramSize {
		return fmt.Errorf("%w: the program has %d bytes, more than %d", session.ErrTooLarge, r.ContentLength, session.MaxProgramSize)
	}
	passThrough(r.Context())
	p, err := h.store.PutProgram(r.Context(), r.PathValue("id"), r.PathValue("name"), r.Body,
		&session.ProgramOptions{ContentType: r.Header.Get("Content-Type")})
	if err != nil {
		return err
	}
	text, err := (jsonCodec{}).Marshal(&snakepitv1.PutProgramResponse{Program: programMessage(p)})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", `"`+p.SHA256+`"`)
	_, _ = w.Write(text) // an error means that the client has left; the program is stored
	return nil
}

// passThrough says that the body of a request is not kept in memory.
func passThrough(ctx context.Context) {
	if s, ok := ctx.Value(shareKey{}).(*share); ok {
		s.free = true
	}
}
