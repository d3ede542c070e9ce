package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/internal/jsontext"
	"github.com/snakepit-go/snakepit/session"
	"github.com/snakepit-go/snakepit/session/driver"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

type sessionService struct{ store *session.Store }

func (s *sessionService) Create(ctx context.Context, req *connect.Request[snakepitv1.CreateSessionRequest]) (*connect.Response[snakepitv1.CreateSessionResponse], error) {
	m := req.Msg
	vars, err := varsOf("vars", m.GetVars())
	if err != nil {
		return nil, err
	}
	ttl, err := ttlOf(m.GetTtl())
	if err != nil {
		return nil, err
	}
	opts := &session.CreateOptions{TTL: ttl, Labels: m.GetLabels(), Metadata: m.GetMetadata(), Vars: vars}
	if deadline := m.GetAbsoluteDeadline(); deadline != nil {
		if err := deadline.CheckValid(); err != nil {
			return nil, &session.InvalidError{Field: "absolute_deadline", Reason: err.Error()}
		}
		opts.AbsoluteDeadline = deadline.AsTime()
	}
	id := m.GetId()
	if id == "" {
		id = session.NewID()
	}
	sess, created, err := s.store.Create(ctx, id, opts)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.CreateSessionResponse{Session: sessionMessage(sess), Created: created}), nil
}

func (s *sessionService) Get(ctx context.Context, req *connect.Request[snakepitv1.GetSessionRequest]) (*connect.Response[snakepitv1.GetSessionResponse], error) {
	get := s.store.Get
	if req.Msg.GetPeek() {
		get = s.store.Peek
	}
	sess, err := get(ctx, req.Msg.GetId(), readOptions(req.Msg.GetRead())...)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.GetSessionResponse{Session: sessionMessage(sess)}), nil
}

func (s *sessionService) Touch(ctx context.Context, req *connect.Request[snakepitv1.TouchSessionRequest]) (*connect.Response[snakepitv1.TouchSessionResponse], error) {
	sess, err := s.store.Touch(ctx, req.Msg.GetId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.TouchSessionResponse{Session: sessionMessage(sess)}), nil
}

func (s *sessionService) Patch(ctx context.Context, req *connect.Request[snakepitv1.PatchSessionRequest]) (*connect.Response[snakepitv1.PatchSessionResponse], error) {
	m := req.Msg
	set, err := varsOf("set", m.GetSet())
	if err != nil {
		return nil, err
	}
	ttl, err := ttlOf(m.GetTtl())
	if err != nil {
		return nil, err
	}
	patch := session.Patch{
		Set: set, Unset: m.GetUnset(),
		SetLabels: m.GetSetLabels(), UnsetLabels: m.GetUnsetLabels(),
		SetMetadata: m.GetSetMetadata(), UnsetMetadata: m.GetUnsetMetadata(),
		TTL: ttl,
	}
	sess, err := s.store.Patch(ctx, m.GetId(), patch, expecting(m.GetExpectedRevision())...)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.PatchSessionResponse{Session: sessionMessage(sess)}), nil
}

func (s *sessionService) Put(ctx context.Context, req *connect.Request[snakepitv1.PutSessionRequest]) (*connect.Response[snakepitv1.PutSessionResponse], error) {
	m := req.Msg
	vars, err := varsOf("vars", m.GetVars())
	if err != nil {
		return nil, err
	}
	sess, err := s.store.Put(ctx, m.GetId(), m.GetExpectedRevision(), session.Content{
		Vars: vars, Labels: m.GetLabels(), Metadata: m.GetMetadata(),
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.PutSessionResponse{Session: sessionMessage(sess)}), nil
}

func (s *sessionService) Delete(ctx context.Context, req *connect.Request[snakepitv1.DeleteSessionRequest]) (*connect.Response[snakepitv1.DeleteSessionResponse], error) {
	deleted, err := s.store.Delete(ctx, req.Msg.GetId(), expecting(req.Msg.GetExpectedRevision())...)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.DeleteSessionResponse{Deleted: deleted}), nil
}

func (s *sessionService) Exists(ctx context.Context, req *connect.Request[snakepitv1.ExistsSessionRequest]) (*connect.Response[snakepitv1.ExistsSessionResponse], error) {
	exists, err := s.store.Exists(ctx, req.Msg.GetId(), readOptions(req.Msg.GetRead())...)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.ExistsSessionResponse{Exists: exists}), nil
}

func (s *sessionService) List(ctx context.Context, req *connect.Request[snakepitv1.ListSessionsRequest]) (*connect.Response[snakepitv1.ListSessionsResponse], error) {
	size := int(req.Msg.GetPageSize())
	switch {
	case size < 0 || size > maxPageSize:
		return nil, &session.InvalidError{Field: "page_size", Reason: "must be between 0 and 1000"}
	case size == 0:
		size = defaultPageSize
	}
	opts := session.ListOptions{
		Prefix: req.Msg.GetIdPrefix(), Labels: req.Msg.GetLabels(), After: req.Msg.GetPageToken(), Limit: size,
	}
	page, err := s.store.List(ctx, opts)
	for unreadable(err) && page.Next != "" {
		// One damaged session does not end the list; the store has logged it.
		opts.After = page.Next
		page, err = s.store.List(ctx, opts)
	}
	if err != nil && !unreadable(err) {
		return nil, err
	}
	res := &snakepitv1.ListSessionsResponse{NextPageToken: page.Next}
	for _, sess := range page.Sessions {
		res.Sessions = append(res.Sessions, headMessage(sess))
	}
	return connect.NewResponse(res), nil
}

// unreadable tells whether a list met a session that it can go on behind.
func unreadable(err error) bool {
	return errors.Is(err, session.ErrCorrupt) || errors.Is(err, session.ErrUnsupported)
}

func (s *sessionService) Count(ctx context.Context, req *connect.Request[snakepitv1.CountSessionsRequest]) (*connect.Response[snakepitv1.CountSessionsResponse], error) {
	n, err := s.store.Count(ctx, session.ListOptions{Prefix: req.Msg.GetIdPrefix(), Labels: req.Msg.GetLabels()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.CountSessionsResponse{Count: int64(n)}), nil
}

func (s *sessionService) Stats(ctx context.Context, _ *connect.Request[snakepitv1.StoreStatsRequest]) (*connect.Response[snakepitv1.StoreStatsResponse], error) {
	stats, err := s.store.Stats(ctx)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.StoreStatsResponse{
		Driver: stats.Driver, Sessions: int64(stats.Sessions), MaxSessions: int64(stats.MaxSessions), Bytes: stats.Bytes, MaxBytes: stats.MaxBytes,
		Created: stats.Created, Deleted: stats.Deleted, Expired: stats.Expired, Sweeps: stats.Sweeps,
	}), nil
}

// varsOf returns the members of a field that holds a JSON object, none if it is
// empty or null.
func varsOf(field string, text []byte) (map[string]json.RawMessage, error) {
	object, err := objectOf(field, text)
	if err != nil || object == nil {
		return nil, err
	}
	if key, err := jsontext.CheckMembers(object); err != nil {
		if key != "" {
			field = fmt.Sprintf("variable %q", key)
		}
		return nil, &session.InvalidError{Field: field, Reason: err.Error()}
	}
	var vars map[string]json.RawMessage
	if err := json.Unmarshal(object, &vars); err != nil {
		return nil, &session.InvalidError{Field: field, Reason: err.Error()}
	}
	return vars, nil
}

// ttlOf returns a time to live, nil if there is none.
func ttlOf(d *durationpb.Duration) (*time.Duration, error) {
	if d == nil {
		return nil, nil
	}
	if err := d.CheckValid(); err != nil {
		return nil, &session.InvalidError{Field: "ttl", Reason: err.Error()}
	}
	return new(d.AsDuration()), nil
}

func readOptions(o *snakepitv1.ReadOptions) (opts []session.ReadOption) {
	switch o.GetLevel() {
	case snakepitv1.ReadOptions_LEVEL_STRONG:
		opts = append(opts, session.WithLevel(driver.Strong))
	case snakepitv1.ReadOptions_LEVEL_STALE_OK:
		opts = append(opts, session.WithLevel(driver.StaleOK))
	}
	if o.GetPosition() != "" {
		opts = append(opts, session.WithPosition(o.GetPosition()))
	}
	return opts
}

func expecting(revision string) []session.WriteOption {
	if revision == "" {
		return nil
	}
	return []session.WriteOption{session.IfRevision(revision)}
}

// sessionMessage is a whole session.
func sessionMessage(s *session.Session) *snakepitv1.Session {
	m := headMessage(s)
	m.Metadata = s.Metadata()
	m.Vars = s.Vars()
	for _, p := range s.Programs() {
		m.Programs = append(m.Programs, programMessage(p))
	}
	return m
}

// headMessage is what a list shows of a session.
func headMessage(s *session.Session) *snakepitv1.Session {
	size := s.Size()
	m := &snakepitv1.Session{
		Id:           s.ID(),
		Revision:     s.Revision(),
		Created:      timestamppb.New(s.Created()),
		LastAccessed: timestamppb.New(s.LastAccessed()),
		Ttl:          durationpb.New(s.TTL()),
		Deadline:     timestamppb.New(s.Deadline()),
		Labels:       s.Labels(),
		StateVersion: s.StateVersion(),
		Position:     s.Position(),
		VarsBytes:    uint64(size.VarsBytes),
		ProgramCount: uint64(size.Programs),
		ProgramBytes: uint64(size.ProgramBytes),
	}
	if deadline, ok := s.AbsoluteDeadline(); ok {
		m.AbsoluteDeadline = timestamppb.New(deadline)
	}
	if owner, ok := s.Owner(); ok {
		m.Owner = owner.Node
	}
	return m
}

func programMessage(p session.Program) *snakepitv1.Program {
	return &snakepitv1.Program{
		Name: p.Name, Size: p.Size, Sha256: p.SHA256, ContentType: p.ContentType,
		Created: timestamppb.New(p.Created), Updated: timestamppb.New(p.Updated),
	}
}
