package summaries

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// turnWait is the longest wait for a turn. Short reads end within it, however many there are.
const turnWait = time.Second

// ErrBusy reports that as many costly reads as may run at once did not end for a second.
var ErrBusy = errors.New("too many costly reads at once")

// turns bounds the reads whose cost grows with users, days or a user's rows, so that look-ups by
// key always get a connection.
type turns chan struct{}

// Turn waits for a turn, which leave gives back, or returns [ErrBusy].
func (t turns) Turn(ctx context.Context) (leave func(), err error) {
	leave = func() { <-t }
	select {
	case t <- struct{}{}:
		return leave, nil
	default:
	}
	wait := time.NewTimer(turnWait)
	defer wait.Stop()
	select {
	case t <- struct{}{}:
		return leave, nil
	case <-wait.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a turn: %w", ctx.Err())
	}
}
