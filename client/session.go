package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/session"
)

// Session is a session as the server last saw it.
type Session struct {
	ID string `json:"id"`
	// Revision identifies the content, for Put, Patch and Delete.
	Revision     string        `json:"revision"`
	Created      time.Time     `json:"created"`
	LastAccessed time.Time     `json:"last_accessed"`
	TTL          time.Duration `json:"ttl"`
	// Deadline is when it expires unless it is used.
	Deadline time.Time `json:"deadline"`
	// AbsoluteDeadline is when it expires even if it is used; zero for never.
	AbsoluteDeadline time.Time         `json:"absolute_deadline,omitzero"`
	Labels           map[string]string `json:"labels,omitempty"`
	// Metadata, Vars and Programs are empty in lists.
	Metadata     map[string]string `json:"metadata,omitempty"`
	Vars         json.RawMessage   `json:"vars,omitempty"`
	Programs     []Program         `json:"programs,omitempty"`
	StateVersion uint64            `json:"state_version"`
	// Owner is the node that owns the session.
	Owner        string `json:"owner,omitempty"`
	Position     string `json:"position,omitempty"`
	VarsBytes    uint64 `json:"vars_bytes"`
	ProgramCount uint64 `json:"program_count"`
	ProgramBytes uint64 `json:"program_bytes"`
}

// CreateOptions describe a new session; zero values mean the server's defaults.
type CreateOptions struct {
	// TTL is nil for the default; 0 expires as soon as time passes.
	TTL              *time.Duration
	AbsoluteDeadline time.Time
	Labels, Metadata map[string]string
	Vars             map[string]json.RawMessage
}

// Create creates a session, with an id of the server's choice if id is empty. A
// session that exists is returned unchanged, with created false.
func (c *Client) Create(ctx context.Context, id string, opts *CreateOptions) (s *Session, created bool, err error) {
	req := &snakepitv1.CreateSessionRequest{Id: id}
	if opts != nil {
		req.Labels, req.Metadata = opts.Labels, opts.Metadata
		if opts.TTL != nil {
			req.Ttl = durationpb.New(*opts.TTL)
		}
		if !opts.AbsoluteDeadline.IsZero() {
			req.AbsoluteDeadline = timestamppb.New(opts.AbsoluteDeadline)
		}
		if req.Vars, err = encodeVars(opts.Vars); err != nil {
			return nil, false, err
		}
	}
	res, err := c.sessions.Create(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, false, err
	}
	return sessionOf(res.Msg.GetSession()), res.Msg.GetCreated(), nil
}

// ReadOptions say how fresh an answer must be; nil means that it includes what
// this server acknowledged.
type ReadOptions struct {
	// Strong includes everything acknowledged anywhere.
	Strong bool
	// Position of an earlier answer that must be included.
	Position string
}

func (o *ReadOptions) message() *snakepitv1.ReadOptions {
	if o == nil {
		return nil
	}
	m := &snakepitv1.ReadOptions{Position: o.Position}
	if o.Strong {
		m.Level = snakepitv1.ReadOptions_LEVEL_STRONG
	}
	return m
}

// Get returns a session and counts as use of it.
func (c *Client) Get(ctx context.Context, id string, opts *ReadOptions) (*Session, error) {
	return c.get(ctx, &snakepitv1.GetSessionRequest{Id: id, Read: opts.message()})
}

// Peek returns a session without counting as use of it.
func (c *Client) Peek(ctx context.Context, id string, opts *ReadOptions) (*Session, error) {
	return c.get(ctx, &snakepitv1.GetSessionRequest{Id: id, Peek: true, Read: opts.message()})
}

func (c *Client) get(ctx context.Context, req *snakepitv1.GetSessionRequest) (*Session, error) {
	res, err := c.sessions.Get(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return sessionOf(res.Msg.GetSession()), nil
}

// Touch counts as use of a session.
func (c *Client) Touch(ctx context.Context, id string) (*Session, error) {
	res, err := c.sessions.Touch(ctx, connect.NewRequest(&snakepitv1.TouchSessionRequest{Id: id}))
	if err != nil {
		return nil, err
	}
	return sessionOf(res.Msg.GetSession()), nil
}

// Patch is a change of single variables, labels and metadata.
type Patch struct {
	Set           map[string]json.RawMessage
	Unset         []string
	SetLabels     map[string]string
	UnsetLabels   []string
	SetMetadata   map[string]string
	UnsetMetadata []string
	TTL           *time.Duration
	// ExpectedRevision, if not empty, is what the session must have.
	ExpectedRevision string
}

// Patch changes a session.
func (c *Client) Patch(ctx context.Context, id string, p Patch) (*Session, error) {
	set, err := encodeVars(p.Set)
	if err != nil {
		return nil, err
	}
	req := &snakepitv1.PatchSessionRequest{
		Id: id, Set: set, Unset: p.Unset, SetLabels: p.SetLabels, UnsetLabels: p.UnsetLabels,
		SetMetadata: p.SetMetadata, UnsetMetadata: p.UnsetMetadata, ExpectedRevision: p.ExpectedRevision,
	}
	if p.TTL != nil {
		req.Ttl = durationpb.New(*p.TTL)
	}
	res, err := c.sessions.Patch(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return sessionOf(res.Msg.GetSession()), nil
}

// Content is what Put replaces.
type Content struct {
	Vars             map[string]json.RawMessage
	Labels, Metadata map[string]string
}

// Put replaces the variables, labels and metadata of a session at the expected
// revision.
func (c *Client) Put(ctx context.Context, id, expectedRevision string, content Content) (*Session, error) {
	vars, err := encodeVars(content.Vars)
	if err != nil {
		return nil, err
	}
	res, err := c.sessions.Put(ctx, connect.NewRequest(&snakepitv1.PutSessionRequest{
		Id: id, ExpectedRevision: expectedRevision, Vars: vars, Labels: content.Labels, Metadata: content.Metadata,
	}))
	if err != nil {
		return nil, err
	}
	return sessionOf(res.Msg.GetSession()), nil
}

// Delete deletes a session, if expectedRevision is not empty only at that
// revision. It reports whether there was one.
func (c *Client) Delete(ctx context.Context, id, expectedRevision string) (bool, error) {
	res, err := c.sessions.Delete(ctx, connect.NewRequest(&snakepitv1.DeleteSessionRequest{Id: id, ExpectedRevision: expectedRevision}))
	if err != nil {
		return false, err
	}
	return res.Msg.GetDeleted(), nil
}

// Exists reports whether there is a session of that id.
func (c *Client) Exists(ctx context.Context, id string, opts *ReadOptions) (bool, error) {
	res, err := c.sessions.Exists(ctx, connect.NewRequest(&snakepitv1.ExistsSessionRequest{Id: id, Read: opts.message()}))
	if err != nil {
		return false, err
	}
	return res.Msg.GetExists(), nil
}

// ListOptions choose sessions.
type ListOptions struct {
	Prefix string
	// Labels that a session must have, all of them.
	Labels map[string]string
	// After is Page.Next of the page before.
	After string
	// Limit is at most 1000; 0 is 100.
	Limit int
}

// Page is a part of a list.
type Page struct {
	Sessions []*Session `json:"sessions"`
	// Next is empty after the last page.
	Next string `json:"next,omitempty"`
}

// List returns a page of sessions in the order of their ids.
func (c *Client) List(ctx context.Context, opts ListOptions) (*Page, error) {
	res, err := c.sessions.List(ctx, connect.NewRequest(&snakepitv1.ListSessionsRequest{
		IdPrefix: opts.Prefix, Labels: opts.Labels, PageSize: pageSize(opts.Limit), PageToken: opts.After,
	}))
	if err != nil {
		return nil, err
	}
	page := &Page{Next: res.Msg.GetNextPageToken()}
	for _, m := range res.Msg.GetSessions() {
		page.Sessions = append(page.Sessions, sessionOf(m))
	}
	return page, nil
}

// pageSize keeps a limit that is too large too large, so that the server refuses
// it.
func pageSize(limit int) int32 { return int32(max(math.MinInt32, min(limit, math.MaxInt32))) }

// All yields all sessions that opts choose, page by page of opts.Limit. A
// session that exists throughout is yielded once.
func (c *Client) All(ctx context.Context, opts ListOptions) iter.Seq2[*Session, error] {
	return func(yield func(*Session, error) bool) {
		for {
			page, err := c.List(ctx, opts)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, s := range page.Sessions {
				if !yield(s, nil) {
					return
				}
			}
			if opts.After = page.Next; opts.After == "" {
				return
			}
		}
	}
}

// Count returns the number of sessions that prefix and labels choose.
func (c *Client) Count(ctx context.Context, prefix string, labels map[string]string) (int, error) {
	res, err := c.sessions.Count(ctx, connect.NewRequest(&snakepitv1.CountSessionsRequest{IdPrefix: prefix, Labels: labels}))
	if err != nil {
		return 0, err
	}
	return int(res.Msg.GetCount()), nil
}

// StoreStats describe the session store.
type StoreStats struct {
	Driver      string `json:"driver"`
	Sessions    int    `json:"sessions"`
	MaxSessions int    `json:"max_sessions"`
	// Bytes is what the variables and programs of all sessions hold, and
	// MaxBytes how much they may; 0 is no limit.
	Bytes    int64  `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	Created  uint64 `json:"created"`
	Deleted  uint64 `json:"deleted"`
	Expired  uint64 `json:"expired"`
	Sweeps   uint64 `json:"sweeps"`
}

// StoreStats returns the state of the session store.
func (c *Client) StoreStats(ctx context.Context) (*StoreStats, error) {
	res, err := c.sessions.Stats(ctx, connect.NewRequest(&snakepitv1.StoreStatsRequest{}))
	if err != nil {
		return nil, err
	}
	m := res.Msg
	return &StoreStats{
		Driver: m.GetDriver(), Sessions: int(m.GetSessions()), MaxSessions: int(m.GetMaxSessions()),
		Bytes: m.GetBytes(), MaxBytes: m.GetMaxBytes(),
		Created: m.GetCreated(), Deleted: m.GetDeleted(), Expired: m.GetExpired(), Sweeps: m.GetSweeps(),
	}, nil
}

func encodeVars(vars map[string]json.RawMessage) ([]byte, error) {
	if vars == nil {
		return nil, nil
	}
	encoded, err := json.Marshal(vars)
	if err != nil {
		return nil, fmt.Errorf("encode vars: %w: %w", session.ErrInvalid, err)
	}
	return encoded, nil
}

func sessionOf(m *snakepitv1.Session) *Session {
	s := &Session{
		ID: m.GetId(), Revision: m.GetRevision(), Created: m.GetCreated().AsTime(), LastAccessed: m.GetLastAccessed().AsTime(),
		TTL: m.GetTtl().AsDuration(), Deadline: m.GetDeadline().AsTime(), Labels: m.GetLabels(), Metadata: m.GetMetadata(),
		Vars: m.GetVars(), StateVersion: m.GetStateVersion(), Owner: m.GetOwner(), Position: m.GetPosition(),
		VarsBytes: m.GetVarsBytes(), ProgramCount: m.GetProgramCount(), ProgramBytes: m.GetProgramBytes(),
	}
	if m.GetAbsoluteDeadline() != nil {
		s.AbsoluteDeadline = m.GetAbsoluteDeadline().AsTime()
	}
	for _, p := range m.GetPrograms() {
		s.Programs = append(s.Programs, programOf(p))
	}
	return s
}
