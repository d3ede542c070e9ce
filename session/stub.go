package session

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"time"

	"github.com/snakepit-go/snakepit/session/driver"
)

type Session struct{}

func (s *Session) ID() string                             { panic("soon") }
func (s *Session) Incarnation() string                    { panic("soon") }
func (s *Session) Revision() string                       { panic("soon") }
func (s *Session) StateVersion() uint64                   { panic("soon") }
func (s *Session) Position() string                       { panic("soon") }
func (s *Session) Created() time.Time                     { panic("soon") }
func (s *Session) LastAccessed() time.Time                { panic("soon") }
func (s *Session) TTL() time.Duration                     { panic("soon") }
func (s *Session) Deadline() time.Time                    { panic("soon") }
func (s *Session) AbsoluteDeadline() (time.Time, bool)    { panic("soon") }
func (s *Session) Labels() map[string]string              { panic("soon") }
func (s *Session) Label(key string) (string, bool)        { panic("soon") }
func (s *Session) Metadata() map[string]string            { panic("soon") }
func (s *Session) Vars() json.RawMessage                  { panic("soon") }
func (s *Session) Var(key string) (json.RawMessage, bool) { panic("soon") }
func (s *Session) VarKeys() []string                      { panic("soon") }
func (s *Session) Programs() []Program                    { panic("soon") }
func (s *Session) Program(name string) (Program, bool)    { panic("soon") }
func (s *Session) Owner() (Owner, bool)                   { panic("soon") }
func (s *Session) Fence() Fence                           { panic("soon") }
func (s *Session) WorkerHint() string                     { panic("soon") }
func (s *Session) Size() Size                             { panic("soon") }
func (s *Session) HasOperation(op OpID) bool              { panic("soon") }

type Size struct {
	VarsBytes    int64
	Programs     int
	ProgramBytes int64
}

type Program struct {
	Name             string
	Size             int64
	SHA256           string
	ContentType      string
	Created, Updated time.Time
}

type Draft struct{}

func (d *Draft) ID() string                                         { panic("soon") }
func (d *Draft) Base() *Session                                     { panic("soon") }
func (d *Draft) Var(key string) (json.RawMessage, bool)             { panic("soon") }
func (d *Draft) SetVar(key string, value any) error                 { panic("soon") }
func (d *Draft) SetVarJSON(key string, value json.RawMessage) error { panic("soon") }
func (d *Draft) UnsetVar(key string)                                { panic("soon") }
func (d *Draft) Label(key string) (string, bool)                    { panic("soon") }
func (d *Draft) SetLabel(key, value string)                         { panic("soon") }
func (d *Draft) UnsetLabel(key string)                              { panic("soon") }
func (d *Draft) Metadata(key string) (string, bool)                 { panic("soon") }
func (d *Draft) SetMetadata(key, value string)                      { panic("soon") }
func (d *Draft) UnsetMetadata(key string)                           { panic("soon") }
func (d *Draft) SetTTL(ttl time.Duration)                           { panic("soon") }
func (d *Draft) SetAbsoluteDeadline(t time.Time)                    { panic("soon") }

type Store struct{}

func New(drv driver.Store, opts *Options) (*Store, error) { panic("soon") }
func (st *Store) Create(ctx context.Context, id string, opts *CreateOptions) (s *Session, created bool, err error) {
	panic("soon")
}
func (st *Store) Get(ctx context.Context, id string, opts ...ReadOption) (*Session, error) {
	panic("soon")
}
func (st *Store) Peek(ctx context.Context, id string, opts ...ReadOption) (*Session, error) {
	panic("soon")
}
func (st *Store) Touch(ctx context.Context, id string) (*Session, error) { panic("soon") }
func (st *Store) Update(ctx context.Context, id string, fn func(*Draft) error, opts ...WriteOption) (*Session, error) {
	panic("soon")
}
func (st *Store) Patch(ctx context.Context, id string, p Patch, opts ...WriteOption) (*Session, error) {
	panic("soon")
}
func (st *Store) Put(ctx context.Context, id, expectedRevision string, c Content, opts ...WriteOption) (*Session, error) {
	panic("soon")
}
func (st *Store) Delete(ctx context.Context, id string, opts ...WriteOption) (deleted bool, err error) {
	panic("soon")
}
func (st *Store) Exists(ctx context.Context, id string, opts ...ReadOption) (bool, error) {
	panic("soon")
}

type ListOptions struct {
	Prefix string
	Labels map[string]string
	After  string
	Limit  int
}
type Page struct {
	Sessions []*Session
	Next     string
}

func (st *Store) List(ctx context.Context, opts ListOptions) (Page, error)             { panic("soon") }
func (st *Store) All(ctx context.Context, opts ListOptions) iter.Seq2[*Session, error] { panic("soon") }
func (st *Store) Count(ctx context.Context, opts ListOptions) (int, error)             { panic("soon") }

type ProgramOptions struct{ ContentType string }

func (st *Store) PutProgram(ctx context.Context, id, name string, r io.Reader, opts *ProgramOptions) (Program, error) {
	panic("soon")
}
func (st *Store) OpenProgram(ctx context.Context, id, name string) (*ProgramReader, error) {
	panic("soon")
}
func (st *Store) Programs(ctx context.Context, id string) ([]Program, error) { panic("soon") }
func (st *Store) DeleteProgram(ctx context.Context, id, name string) (bool, error) {
	panic("soon")
}

type ProgramReader struct{}

func (r *ProgramReader) Program() Program                           { panic("soon") }
func (r *ProgramReader) Read(p []byte) (int, error)                 { panic("soon") }
func (r *ProgramReader) ReadAt(p []byte, offset int64) (int, error) { panic("soon") }
func (r *ProgramReader) Close() error                               { panic("soon") }

type Stats struct {
	Driver                            string
	Sessions                          int
	MaxSessions                       int // negative: no limit
	Created, Deleted, Expired, Sweeps uint64
}
type SweepResult struct {
	Expired int
	Items   int
	Corrupt int
}

func (st *Store) Stats(ctx context.Context) (Stats, error)       { panic("soon") }
func (st *Store) Sweep(ctx context.Context) (SweepResult, error) { panic("soon") }
func (st *Store) Ping(ctx context.Context) error                 { panic("soon") }
func (st *Store) Driver() driver.Info                            { panic("soon") }
func (st *Store) Close() error                                   { panic("soon") }

func (st *Store) Claim(ctx context.Context, id string, owner Owner) (*Session, error) { panic("soon") }
func (st *Store) StageProgram(ctx context.Context, base *Session, name, contentType string) (*StagedProgram, error) {
	panic("soon")
}

type StagedProgram struct{}

func (p *StagedProgram) Write(b []byte) (int, error)                { panic("soon") }
func (p *StagedProgram) Close() error                               { panic("soon") }
func (p *StagedProgram) Program() Program                           { panic("soon") }
func (p *StagedProgram) ReadAt(b []byte, offset int64) (int, error) { panic("soon") }
func (p *StagedProgram) Abort() error                               { panic("soon") }

type Commit struct {
	Fence        Fence
	Op           OpID
	Set          map[string]json.RawMessage
	Unset        []string
	Programs     []*StagedProgram
	DropPrograms []string
	WorkerHint   string
}

func (st *Store) Commit(ctx context.Context, id string, c Commit) (*Session, error) { panic("soon") }
