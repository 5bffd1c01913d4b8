package summaries

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	// deferTrigger keeps the trigger of user_summary from announcing every statement of a
	// transaction that announces its changes itself.
	deferTrigger    = "SET LOCAL tally.announced = 'yes'"
	announceChannel = "tally_summaries"
	// maxNamedUsers bounds the users that an announcement names: 600 numbers of ten digits fit
	// in the 8000 bytes of a notification.
	maxNamedUsers = 600
)

// announcement is the notification of a commit that changed data.
type announcement struct {
	epoch int64   // summary_epoch as of that commit
	file  int64   // 0: not a load
	users []int32 // nil: any; empty: none, as other data changed
}

// announce notifies the caches, when tx commits, that these users' summaries changed. It locks the
// epoch until then, so it comes last. A load sends one notification: committing one takes a lock
// of the whole server.
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

// parseAnnouncement parses what tally_announce sends.
func parseAnnouncement(payload string) (a announcement, err error) {
	var users string
	if _, err := fmt.Sscanf(payload, "%d %d %s", &a.epoch, &a.file, &users); err != nil {
		return a, fmt.Errorf("announcement %q: %w", payload, err)
	}
	switch users {
	case "*":
		return a, nil
	case "-":
		a.users = []int32{}
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
