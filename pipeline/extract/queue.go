package extract

import (
	"cmp"
	"context"
	"sync/atomic"
)

const (
	// maxWaiting bounds the blocks that are read ahead, and what was made of them, in
	// bytes. It does not grow with the cores: on sixteen of them, files of nothing but
	// rejected rows took a gigabyte.
	maxWaiting = 16 << 20
	// expected is the size of a block's result before there is one. Most have an eighth;
	// a block of short rejected rows has ten times its own bytes.
	expected = 4 << 20
)

// queue counts the blocks on their way. As many may enter as there is room for if the
// result of each is as large as the largest so far.
type queue struct {
	count   atomic.Int64
	largest atomic.Int64
	left    chan struct{}
}

func newQueue() *queue {
	return &queue{left: make(chan struct{}, 1)}
}

// enter waits until there is room for another block. One alone always has it.
func (q *queue) enter(ctx context.Context) error {
	for q.count.Load() > 0 && (q.count.Load()+1)*(blockBytes+cmp.Or(q.largest.Load(), expected)) > maxWaiting {
		select {
		case <-q.left:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	q.count.Add(1)
	return nil
}

// note takes the size of a result.
func (q *queue) note(result any) {
	sized, ok := result.(interface{ Size() int })
	if !ok {
		return
	}
	for size := int64(sized.Size()); ; {
		known := q.largest.Load()
		if size <= known || q.largest.CompareAndSwap(known, size) {
			return
		}
	}
}

// leave makes room.
func (q *queue) leave() {
	q.count.Add(-1)
	select {
	case q.left <- struct{}{}:
	default:
	}
}
