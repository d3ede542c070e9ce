package execution

import (
	"context"
	"fmt"
	"time"

	"github.com/snakepit-go/snakepit/session"
)

const (
	// holdSlack is how much longer a session is held than its call may take:
	// for the commit, and for whatever is slow.
	holdSlack = commitTimeout + 5*time.Second
	// longestHold is for calls without a deadline.
	longestHold = 24 * time.Hour
)

// inSession opens the session of a call and makes an attempt in it. From the
// opening to the end the session does not expire, except by its absolute
// deadline: that ends the call, too, whose changes could not be kept.
//
// Usually the time to live is longer than the call may take, and nothing is
// written for it. Otherwise the deadline is moved before the attempt, and set
// right by its commit, or afterwards.
func (x *Executor) inSession(ctx context.Context, c *sessionCall) (*Result, error) {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(longestHold)
	}
	c.hold = x.sessions.Hold(c.Session, end.Add(holdSlack))
	var sess *session.Session
	defer func() { x.release(ctx, c, sess) }()
	sess, err := x.open(ctx, &c.Request)
	if err != nil {
		return nil, err
	}
	if sess, err = c.hold.Extend(ctx, sess); err != nil {
		return nil, err
	}
	if end, ok := sess.AbsoluteDeadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, end, fmt.Errorf(
			"%w: session %q reached its absolute deadline during the call; what the call changed is not kept", session.ErrNotFound, c.Session))
		defer cancel()
	}
	res, err := x.attempt(ctx, c, sess)
	if err == nil {
		sess = res.Session
	}
	return res, err
}

// release ends the hold of an attempt; sess is nil if there was no session.
// Also a call whose caller has gone counts as use.
func (x *Executor) release(ctx context.Context, c *sessionCall, sess *session.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := c.hold.Release(ctx, sess); err != nil {
		x.logger.WarnContext(ctx, "the end of a call did not count as use of its session", "session", c.Session, "tool", c.Call.Tool, "error", err)
	}
}
