package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Claim makes owner's process the owner of a session under the next epoch, and
// returns the session with its Fence. If the process owns it already, nothing
// is written but, if that is due, the new deadline: a claim counts as use. It
// is no change of the content.
//
// Errors: ErrNotFound, ErrInvalid, ErrUnavailable, ErrUnknown, ErrCorrupt.
func (st *Store) Claim(ctx context.Context, id string, owner Owner) (*Session, error) {
	return st.write(ctx, OpClaim, id, change{
		unrecorded: true,
		prepare:    func() error { return checkOwner(owner) },
		apply: func(d *Draft) error {
			if string(d.head.process) != owner.Process {
				d.setOwner(owner)
			}
			return nil
		},
	})
}

// Commit is what a call changed in its session.
type Commit struct {
	// Fence is that of the session when the call began. It must still match.
	Fence Fence
	// Call, if not nil, is recorded with the commit, which requires that none
	// of its id is recorded yet.
	Call *NamedCall
	// Set holds a JSON text for each variable to be set. Variables that are
	// neither set nor unset keep their newest value.
	Set   map[string]json.RawMessage
	Unset []string
	// Programs are closed uploads that become visible with the commit.
	Programs     []*StagedProgram
	DropPrograms []string
	// Basis, if not nil, says what the call was based on.
	Basis *Basis
	// Hold, if not nil, is that of the call: the deadline of a session that was
	// moved for its sake becomes that of one used now.
	Hold *Hold
	// WorkerHint is saved for the choice of the next call's worker, unless it
	// is empty.
	WorkerHint string
}

func (c *Commit) changesState() bool {
	return len(c.Set)+len(c.Unset)+len(c.Programs)+len(c.DropPrograms) > 0
}

// Commit applies what a call changed to the newest state of its session, if
// the call's process still owns it. It counts as use, and has the durability
// of the driver when it returns.
//
// If the commit changes anything, the state version of the result is one more
// than that of the newest state before, even if values were equal. If not, a
// named call is only recorded, and without one nothing is written but, if that
// is due, the new deadline.
//
// Errors: *StateConflictError if its Basis refuses, ErrFenced (another process
// owns the session, or it is another session of that id), ErrAlreadyCommitted
// if a call of the same id is recorded (FindCall has it), ErrNotFound,
// ErrTooLarge, ErrInvalid, ErrUnavailable, ErrUnknown, ErrCorrupt.
func (st *Store) Commit(ctx context.Context, id string, c Commit) (*Session, error) {
	var mark *callMark
	var answer *Answer
	if c.Call != nil {
		mark, answer = c.Call.mark()
	}
	s, err := st.write(ctx, OpCommit, id, change{
		mark: mark, answer: answer,
		hold: c.Hold,
		prepare: func() (err error) {
			if c.Call != nil {
				if err = checkCallID(c.Call.ID); err != nil {
					return err
				}
			}
			if err = text("worker hint", c.WorkerHint, 0, maxHintSize); err != nil {
				return err
			}
			c.Set, err = prepareVars(c.Set)
			return err
		},
		guard: func(newest *Session) error {
			if err := c.Fence.check(newest); err != nil {
				return err
			}
			if c.Basis == nil {
				return nil
			}
			err := c.Basis.compare(newest, c.Set, c.Unset)
			if answer != nil {
				answer.Overwritten = c.Basis.Overwritten
			}
			return err
		},
		apply: func(d *Draft) error {
			d.patchVars(c.Set, c.Unset)
			for _, name := range c.DropPrograms {
				d.dropProgram(name)
			}
			for _, p := range c.Programs {
				if err := p.enter(d); err != nil {
					return err
				}
			}
			if c.WorkerHint != "" && (c.changesState() || mark != nil) {
				d.head.hint = []byte(c.WorkerHint)
			}
			d.state = c.changesState()
			return nil
		},
	})
	if err == nil && c.Basis != nil && len(c.Basis.Overwritten) > 0 {
		st.opts.Observer.overwritten(id, s.Incarnation(), c.Basis.Overwritten)
	}
	if err == nil || errors.Is(err, ErrUnknown) {
		for _, p := range c.Programs {
			p.keep()
		}
	}
	return s, err
}

// check compares the fence with the newest session.
func (f Fence) check(s *Session) error {
	h := s.head()
	if h.incarnation.String() != f.Incarnation {
		return fmt.Errorf("%w: the session was created anew since the call began", ErrFenced)
	}
	if h.epoch == f.Epoch {
		return nil
	}
	owner := h.owner()
	return fmt.Errorf("%w: owned by process %q on node %q under epoch %d, and this call began under epoch %d",
		ErrFenced, owner.Process, owner.Node, owner.Epoch, f.Epoch)
}

// itemsOf returns the keys of all items of programs.
func itemsOf(programs []Program) []string {
	var keys []string
	for _, p := range programs {
		keys = slices.Concat(keys, p.items())
	}
	return keys
}
