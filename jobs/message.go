package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/jobs/notify"
)

const (
	notifyQueue    = "notify"
	notifyKind     = "notify"
	notifyWorkers  = 4           // so that a channel that hangs does not hold up another
	notifyTimeout  = time.Minute // of one try, more than a channel takes
	notifyOrphaned = 2 * time.Minute
	notifyFor      = 24 * time.Hour // a message that cannot be delivered within it has failed
	notifyAttempts = 100            // more than fit in that time
	minNotifyWait  = 5 * time.Second
	maxNotifyWait  = time.Hour
	orderSnooze    = 10 * time.Second
)

const (
	stateOpen = "open"
	stateOver = "over"
)

// notifyArgs are the arguments of a message's River job.
type notifyArgs struct {
	MessageID string `json:"message_id"`
}

func (notifyArgs) Kind() string { return notifyKind }

func (notifyArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: notifyQueue, MaxAttempts: notifyAttempts}
}

// queueMessages adds the messages that are due, and gives River those that it does not have.
func (s *Service) queueMessages(ctx context.Context, tx pgx.Tx) error {
	if len(s.channels) == 0 {
		return nil
	}
	var names []string
	for _, c := range s.channels {
		names = append(names, c.Name)
	}
	if _, err := tx.Exec(ctx, s.alerts.Get("add_messages"), names); err != nil {
		return fmt.Errorf("add messages: %w", err)
	}
	rows, _ := tx.Query(ctx, s.alerts.Get("unqueued_messages"), names, notifyKind, notifyOrphaned.Seconds()) // CollectRows returns its error
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(ids) == 0 {
		return err
	}
	var params []river.InsertManyParams
	for _, id := range ids {
		params = append(params, river.InsertManyParams{Args: notifyArgs{id}})
	}
	if _, err := s.river.InsertManyTx(ctx, tx, params); err != nil {
		return fmt.Errorf("queue messages: %w", err)
	}
	return nil
}

// message is a message about an alert; its fields are the statement's columns.
type message struct {
	AlertID        int64
	State, Channel string
	CreatedAt      time.Time
	Finished       bool
	Waits          bool
}

type notifyWorker struct {
	river.WorkerDefaults[notifyArgs]
	service *Service
}

func (*notifyWorker) Timeout(*river.Job[notifyArgs]) time.Duration { return notifyTimeout }

// NextRetry doubles from five seconds to an hour.
func (*notifyWorker) NextRetry(job *river.Job[notifyArgs]) time.Time {
	const doublings = 10 // 5120 s is more than maxNotifyWait
	return time.Now().Add(min(maxNotifyWait, minNotifyWait<<min(len(job.Errors), doublings)))
}

// Work delivers a message. What the receiver got before the worker was killed is delivered
// again, with the same id.
func (w *notifyWorker) Work(ctx context.Context, job *river.Job[notifyArgs]) error {
	s, id := w.service, job.Args.MessageID
	rows, _ := s.pool.Query(ctx, s.alerts.Get("message"), id) // CollectExactlyOneRow returns its error
	m, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[message])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return river.JobCancel(err)
	case err != nil:
		return fmt.Errorf("read message %s: %w", id, err)
	case m.Finished:
		return nil
	case m.Waits:
		return river.JobSnooze(orderSnooze)
	}
	i := slices.IndexFunc(s.channels, func(c notify.Channel) bool { return c.Name == m.Channel })
	if i < 0 { // another process may have it, or it is no longer configured
		return s.outcomeOf(ctx, id, m, fmt.Errorf("channel %s is not configured", m.Channel))
	}
	alert, err := s.ledger.Alert(ctx, m.AlertID)
	if err != nil {
		return err
	}
	return s.outcomeOf(ctx, id, m, s.channels[i].Send(ctx, newMessage(id, m, alert)))
}

// outcomeOf records how a try at a message ended, and returns the answer to River.
func (s *Service) outcomeOf(ctx context.Context, id string, m message, err error) error {
	logger := withRiverLog(ctx, s.logger).With("message", id, "alert", m.AlertID, "channel", m.Channel)
	stopped := stopCause(ctx)
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	switch {
	case err == nil:
		logger.InfoContext(ctx, "message delivered")
		_, err := s.pool.Exec(recording, s.alerts.Get("message_delivered"), id)
		return err
	case stopped.status == ledger.StatusInterrupted:
		return river.JobSnooze(0)
	case errors.Is(err, notify.ErrGone), time.Since(m.CreatedAt) > notifyFor:
		logger.ErrorContext(ctx, "message not delivered", "error", err)
		if _, err := s.pool.Exec(recording, s.alerts.Get("message_failed"), id, postgres.Text(err.Error())); err != nil {
			return err
		}
		return river.JobCancel(err)
	}
	logger.WarnContext(ctx, "message not delivered yet", "error", err)
	return err
}

// newMessage is the same at each try, also if the alert has closed meanwhile.
func newMessage(id string, m message, a ledger.Alert) notify.Message {
	at, title := a.OpenedAt, a.Cause+": "+a.Subject
	if m.State == stateOpen {
		a.ClosedAt = time.Time{}
	} else {
		at, title = a.ClosedAt, "over: "+title
	}
	return notify.Message{
		ID: id, Type: a.Cause, Time: at, Subject: title, Text: messageText(m.State, a),
		Data: struct {
			State string `json:"state"`
			ledger.Alert
		}{m.State, a},
	}
}

// messageText is the body of a mail.
func messageText(state string, a ledger.Alert) string {
	var b strings.Builder
	if state == stateOver {
		fmt.Fprintf(&b, "This is over since %s. It began at %s:\n\n", a.ClosedAt.UTC().Format(time.RFC3339), a.OpenedAt.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "%s\n\n", a.What)
	if state == stateOpen {
		fmt.Fprintf(&b, "Next step: %s\n\n", a.NextStep)
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-13s %s\n", name+":", value)
		}
	}
	line("cause", a.Cause)
	line("subject", a.Subject)
	line("logical date", a.LogicalDate.String())
	line("source", a.Source)
	line("path", a.Path)
	line("code", a.Code)
	if a.RunID != 0 {
		line("run", fmt.Sprint(a.RunID))
	}
	line("since", a.OpenedAt.UTC().Format(time.RFC3339))
	return b.String()
}
