package execution

import (
	"context"

	"github.com/snakepit-go/snakepit/session"
)

// Directory says which process owns a session. Ownership is claimed once
// before the first dispatch and holds as long as the process does; its epoch
// fences what an earlier owner might still try to commit.
type Directory interface {
	// Self is this process as an owner, for sessions it creates.
	Self() session.Owner
	// Claim returns the session owned by this process, claiming it if it is
	// not. It costs nothing if it is.
	Claim(ctx context.Context, sess *session.Session) (*session.Session, error)
}

// Local is the directory of a process that has its store to itself: every
// other owner in a record is an earlier process that has ended, so that a
// claim always succeeds.
type Local struct {
	sessions *session.Store
	self     session.Owner
}

// NewLocal returns the directory of this process. Node is its name for people;
// every call makes a new process incarnation.
func NewLocal(sessions *session.Store, node string) *Local {
	return &Local{sessions: sessions, self: session.Owner{Node: node, Process: session.NewID()}}
}

// Self implements Directory.
func (d *Local) Self() session.Owner { return d.self }

// Claim implements Directory.
func (d *Local) Claim(ctx context.Context, sess *session.Session) (*session.Session, error) {
	if owner, ok := sess.Owner(); ok && owner.Process == d.self.Process {
		return sess, nil
	}
	return d.sessions.Claim(ctx, sess.ID(), d.self)
}
