package summaries

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	deferTrigger    = "SET LOCAL tally.announced = 'yes'"
	announceChannel = "tally_summaries"
	// maxNamedUsers bounds the users that an announcement names: 600 numbers of ten
	// digits fit in the 8000 bytes of a notification.
	maxNamedUsers = 600
)

// announcement says that a commit has changed summaries.
type announcement struct {
	epoch int64   // summary_epoch as of that commit
	file  int64   // 0: not a load
	users []int32 // nil: any
}

// deferAnnouncement keeps the trigger of user_summary from announcing every statement: the
// caller will announce them together.
func deferAnnouncement(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, deferTrigger); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// announce tells the caches, when tx commits, that these users' summaries have
// changed. It locks the epoch until then, so it comes late. One notification a load:
// committing one takes a lock of the whole server.
func announce(ctx context.Context, tx pgx.Tx, fileID int64, users []int32) error {
	if len(users) == 0 {
		return nil
	}
	if len(users) > maxNamedUsers {
		users = nil
	}
	if _, err := tx.Exec(ctx, "SELECT tally_announce($1, $2)", fileID, users); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// parseAnnouncement reads what tally_announce writes.
func parseAnnouncement(payload string) (a announcement, err error) {
	epoch, rest, _ := strings.Cut(payload, " ")
	file, users, _ := strings.Cut(rest, " ")
	if a.epoch, err = strconv.ParseInt(epoch, 10, 64); err != nil {
		return a, fmt.Errorf("announcement: epoch: %w", err)
	}
	if a.file, err = strconv.ParseInt(file, 10, 64); err != nil {
		return a, fmt.Errorf("announcement: file: %w", err)
	}
	if users == "*" {
		return a, nil
	}
	for text := range strings.SplitSeq(users, ",") {
		user, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return a, fmt.Errorf("announcement: user: %w", err)
		}
		a.users = append(a.users, int32(user))
	}
	return a, nil
}
