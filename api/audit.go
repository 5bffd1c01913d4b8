package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/panics"
)

const (
	// verifiedAge is the longest that a verification is served: what is stored may have been changed
	// without an entry.
	verifiedAge = 10 * time.Minute
	// awaitedAge is how long it is served at least, if a caller was told to come again for it.
	awaitedAge = 30 * time.Second
	maxNoted   = 8 // heads whose verifications are kept
)

// errVerifying reports that a verification of the audit chain takes longer than a request waits.
var errVerifying = errors.New("the audit chain is being verified")

// chain verifies the audit chain for all requests together: once at a time, and again after the next
// entry only. A verification of a large database takes minutes. It goes on when its callers leave,
// and is there when they come again.
type chain struct {
	verify Proofs

	mu      sync.Mutex
	running *verification                // nil: none
	kept    map[audit.Head]*verification // by the head that was noted
}

// verification is one replay. The fields after ended are written before it is closed.
type verification struct {
	noted   audit.Head
	head    int64 // number of the last entry before it began
	awaited bool  // a caller was told to come again
	ended   chan struct{}
	at      time.Time
	value   audit.Verification
	err     error
}

// get returns a verification of a chain that ends with an entry, or errVerifying when ctx ends.
func (c *chain) get(ctx context.Context, noted audit.Head, head int64) (audit.Verification, error) {
	for {
		v, ended := c.look(noted, head)
		if ended {
			return v.value, v.err
		}
		select {
		case <-v.ended:
			if v.noted == noted && (v.err != nil || v.head >= head) {
				return v.value, v.err
			}
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			v.awaited = true
			return audit.Verification{}, errVerifying
		}
	}
}

// look is the verification that answers, or the one under way, which it starts if there is none.
func (c *chain) look(noted audit.Head, head int64) (v *verification, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.kept[noted]; v != nil {
		age := time.Since(v.at)
		if v.head >= head && age < verifiedAge || v.awaited && age < awaitedAge {
			return v, true
		}
	}
	if c.running == nil {
		c.running = &verification{noted: noted, head: head, ended: make(chan struct{})}
		go c.run(c.running)
	}
	return c.running, false
}

// run belongs to no caller: the first one may leave.
func (c *chain) run(v *verification) {
	defer close(v.ended)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running, v.at = nil, time.Now()
		if v.err != nil {
			return
		}
		if c.kept == nil || len(c.kept) == maxNoted {
			c.kept = map[audit.Head]*verification{}
		}
		c.kept[v.noted] = v
	}()
	defer panics.Recover(&v.err)
	v.value, v.err = c.verify.VerifyChain(context.Background(), v.noted)
}

const (
	notedPattern = "^[1-9][0-9]{0,17}:[0-9a-f]{64}$"
	notedMessage = "must be NUMBER:HASH, as tally audit head prints it"
)

type (
	headOutput       struct{ Body audit.Head }
	verifyChainInput struct {
		Head string `query:"head" minLength:"66" maxLength:"83" pattern:"^[1-9][0-9]{0,17}:[0-9a-f]{64}$" doc:"Number and hash of a head that was noted before, with a colon in between: the chain must still have it."`
	}
	verificationOutput struct{ Body audit.Verification }
)

func (s *service) getAuditHead(ctx context.Context, _ *struct{}) (*headOutput, error) {
	head, err := s.Runs.Head(ctx)
	return &headOutput{head}, err
}

func (s *service) verifyChain(ctx context.Context, in *verifyChainInput) (*verificationOutput, error) {
	var noted audit.Head
	if in.Head != "" {
		var err error
		if noted, err = audit.ParseHead(in.Head); err != nil {
			return nil, invalid(ProblemError{Location: "query.head", Message: notedMessage})
		}
	}
	head, err := s.Runs.Head(ctx)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, s.RequestTimeout/2)
	defer cancel()
	v, err := s.chain.get(waiting, noted, head.Number)
	return &verificationOutput{v}, err
}
