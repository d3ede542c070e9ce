package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/execution"
)

type callShowOptions struct {
	remote
	output  output
	id      string
	session string
	close   bool
}

func newCallShow(e env) *cobra.Command {
	var opts callShowOptions
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Tell what became of the call that was given an id",
		Long: `Tell what became of the call that was given an id with --call-id:

  committed      it was, and its answer is shown if it is kept
  running        it runs, or waits for its turn
  not_committed  none of this id was committed; one that is still on its way
                 would run
  closed         none of this id was committed, nor will be while ids are kept
  not_kept       ids had to make room: one of this id was never committed, or
                 before the time that is shown as KEPT SINCE

Of a call in a session this is true of its effect on the session. Without
--session it is about calls without a session, which are recorded after they
ran: one that is not recorded may have run.

--close makes certain: unless it was committed, or runs, the id is closed, and a
call of it that arrives later is refused. Ids are kept with their session, for
24 hours and in 4 MiB a session, unless the server is set otherwise
(sessions.call_retention, sessions.max_call_bytes).`,
		Example: `  snakepit call remember '{"text": "milk"}' --session alice --call-id order-17
  snakepit call show order-17 --session alice`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.id = args[0]
			return runCallShow(cmd.Context(), opts, e.stdout)
		},
	}
	opts.remote.register(cmd.Flags(), e)
	opts.output.register(cmd.Flags(), e)
	cmd.Flags().StringVar(&opts.session, "session", "", "`ID` of the session of the call")
	cmd.Flags().BoolVar(&opts.close, "close", false, "make sure that the call is not committed later, if it was not yet")
	return cmd
}

// shownCall is a call's status as it is printed.
type shownCall struct {
	ID           string          `json:"id"`
	State        string          `json:"state"`
	At           *time.Time      `json:"at,omitempty"`
	Answer       json.RawMessage `json:"answer,omitempty"`
	AnswerBytes  int64           `json:"answer_bytes,omitempty"`
	AnswerSHA256 string          `json:"answer_sha256,omitempty"`
	KeptSince    time.Time       `json:"kept_since"`
}

func runCallShow(ctx context.Context, opts callShowOptions, out io.Writer) error {
	return opts.ask(ctx, func(ctx context.Context, c *client.Client) error {
		ask := c.CallStatus
		if opts.close {
			ask = c.CloseCall
		}
		status, err := ask(ctx, opts.session, opts.id)
		if err != nil {
			return err
		}
		shown := shownCall{
			ID: opts.id, State: status.State.String(), AnswerBytes: status.AnswerSize, AnswerSHA256: status.AnswerSHA256,
			KeptSince: status.KeptSince,
		}
		if !status.At.IsZero() {
			shown.At = &status.At
		}
		if a := status.Answer; a != nil {
			if shown.Answer, err = complete(a.Value, a.Attachments); err != nil {
				return err
			}
		}
		return opts.output.write(out, shown, func(t *table) {
			t.row("STATE", "AT", "KEPT SINCE", "ANSWER")
			at := ""
			if shown.At != nil {
				at = shown.At.Local().Format(time.DateTime)
			}
			t.row(shown.State, dash(at), shown.KeptSince.Local().Format(time.DateTime), answerCell(status, bytes.TrimSpace(shown.Answer)))
		})
	})
}

func answerCell(status *client.CallStatus, answer json.RawMessage) string {
	switch {
	case answer != nil:
		return shorten(string(answer))
	case status.State == execution.CallCommitted:
		return fmt.Sprintf("not kept (%s, SHA-256 %s)", size(status.AnswerSize), status.AnswerSHA256)
	default:
		return "-"
	}
}
