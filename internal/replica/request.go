package replica

import (
	"context"
	"sync"
)

// Request is what a caller asks of the answers to one request, and who gave them.
type Request struct {
	MinEpoch int64 // each answer must include this commit

	mu     sync.Mutex
	source Source
	known  bool
}

// Source is where an answer came from.
type Source struct {
	Epoch   int64 // the last data-changing commit that the answer includes
	Replica bool  // not the primary
}

type requestKey struct{}

// With makes a request the one of a context.
func With(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

func of(ctx context.Context) *Request {
	r, _ := ctx.Value(requestKey{}).(*Request)
	return r
}

// MinEpoch is that of a context's request; 0 without one.
func MinEpoch(ctx context.Context) int64 {
	if r := of(ctx); r != nil {
		return r.MinEpoch
	}
	return 0
}

// Record notes the source of a part of the request's answer. Of several parts the oldest
// counts. Without a request it does nothing.
func Record(ctx context.Context, s Source) {
	r := of(ctx)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known {
		s = Source{Epoch: min(s.Epoch, r.source.Epoch), Replica: s.Replica || r.source.Replica}
	}
	r.source, r.known = s, true
}

// Source is where the answer came from; false if no server gave one.
func (r *Request) Source() (Source, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source, r.known
}
