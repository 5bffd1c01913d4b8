package summaries

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

const (
	defaultEntries     = 100_000
	defaultFillTimeout = 10 * time.Second
)

// CacheConfig is what a Cache is made of. Store and Connect are required.
type CacheConfig struct {
	// Store reads what the cache does not have.
	Store Reader
	// Connect opens the listener's own connection, to the primary: a session of its
	// own, not one of a pooler's.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	// Entries bounds how many users the cache remembers, those without a summary
	// included; 0 means 100,000, some 70 MB.
	Entries int
	// Logger logs when the listener is lost and found; nil discards that.
	Logger *slog.Logger
}

func (c CacheConfig) check() error {
	switch {
	case c.Store == nil:
		return errors.New("summaries: CacheConfig.Store is missing")
	case c.Connect == nil:
		return errors.New("summaries: CacheConfig.Connect is missing")
	case c.Entries < 0:
		return errors.New("summaries: CacheConfig.Entries is negative")
	}
	return nil
}

// Reader is what a cache reads from. [Store] is one.
type Reader interface {
	// Get returns a user's summary, or [ErrNotFound].
	Get(ctx context.Context, userID int32) (Summary, error)
	// Read is Get with the epoch, which the cache needs to store the answer.
	Read(ctx context.Context, userID int32) (Reading, error)
}

// Reading is what one statement saw.
type Reading struct {
	Summary Summary
	Found   bool
	// Epoch counts the commits that the statement saw. The summary has in it every
	// announcement up to Epoch, and none after.
	Epoch int64
}

func (r Reading) answer() (Summary, error) {
	if !r.Found {
		return Summary{}, ErrNotFound
	}
	return r.Summary, nil
}

// Cache remembers summaries, and that users have none. It answers from memory only
// while its listener receives every notification ([Cache.Listen]), and then never from
// before a commit whose notification has been applied; at any other time it answers from
// the database and stores nothing. It is safe for concurrent use.
//
// Each commit that changes a summary moves summary_epoch and announces the epoch, in
// the order of commits. A reading carries the epoch that its statement saw, so that
// it is stored only if it includes everything that has been announced: a reading that
// was overtaken by a commit while it was in flight, or that came from a replica which
// lags behind, is answered and not stored.
type Cache struct {
	reader   Reader
	connect  func(context.Context) (*pgx.Conn, error)
	logger   *slog.Logger
	entries  *otter.Cache[int32, *entry]
	inFlight singleflight.Group
	session  atomic.Pointer[session] // nil while there is no listener
	numbers  atomic.Int64            // of sessions
	hits     atomic.Int64
	misses   atomic.Int64
	past     atomic.Int64
}

// session is the time in which one connection receives every notification.
type session struct {
	number  int64
	applied atomic.Int64 // the last epoch whose announcement was applied
	all     atomic.Int64 // the last one that was announced for all users
}

// raise raises a mark, which never falls: announcements come in order, but the first
// ones may be older than the epoch that the session began with.
func raise(mark *atomic.Int64, epoch int64) {
	if epoch > mark.Load() { // only the listener writes it
		mark.Store(epoch)
	}
}

// entry is a stored reading.
type entry struct {
	Reading
	session *session
	memo    Memo
}

func (e *entry) current(s *session) bool { return e.session == s && e.Epoch >= s.all.Load() }

// NewCache makes an empty cache, which is of use once [Cache.Listen] runs.
func NewCache(c CacheConfig) (*Cache, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Entries == 0 {
		c.Entries = defaultEntries
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	entries, err := otter.New(&otter.Options[int32, *entry]{MaximumSize: c.Entries})
	if err != nil {
		return nil, fmt.Errorf("summaries: cache: %w", err)
	}
	return &Cache{reader: c.Store, connect: c.Connect, logger: c.Logger, entries: entries}, nil
}

// Get returns a user's summary, or [ErrNotFound]. Concurrent callers of the same user
// share one read of the database.
func (c *Cache) Get(ctx context.Context, userID int32) (Summary, error) {
	s := c.session.Load()
	if s == nil {
		c.past.Add(1)
		return c.reader.Get(ctx, userID)
	}
	if e, ok := c.entries.GetIfPresent(userID); ok && e.current(s) {
		c.hits.Add(1)
		return e.answer()
	}
	c.misses.Add(1)
	r, err := c.fill(ctx, s, userID)
	if err != nil {
		return Summary{}, err
	}
	return r.answer()
}

// fill reads, sharing the reading with other callers of the same user. A reading that was
// in flight already may be older than what had been announced when this caller came: then
// another one is made, which began later. Its result is the answer, even if it comes from
// a replica that lags behind.
func (c *Cache) fill(ctx context.Context, s *session, userID int32) (Reading, error) {
	applied := s.applied.Load()
	r, err := c.share(ctx, s, userID)
	if err == nil && r.Epoch < applied {
		return c.share(ctx, s, userID)
	}
	return r, err
}

// share reads, or waits for the reading of the user that is in flight.
func (c *Cache) share(ctx context.Context, s *session, userID int32) (Reading, error) {
	key := strconv.FormatInt(s.number, 36) + "/" + strconv.FormatInt(int64(userID), 36)
	flight := c.inFlight.DoChan(key, func() (any, error) {
		// Not with the first caller's context: the others still need the answer when
		// that one is cancelled.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultFillTimeout)
		defer cancel()
		r, err := c.reader.Read(ctx, userID)
		if err == nil {
			c.store(s, userID, r)
		}
		return r, err
	})
	select {
	case done := <-flight:
		r, _ := done.Val.(Reading) // the zero value beside an error
		return r, done.Err
	case <-ctx.Done():
		return Reading{}, fmt.Errorf("look up a summary: %w", ctx.Err())
	}
}

// store stores a reading that includes everything that was announced. The check is
// made under the lock of the entry, and apply raises the mark before it drops entries:
// either the check sees the mark, or the drop sees the entry.
func (c *Cache) store(s *session, userID int32, r Reading) {
	c.entries.Compute(userID, func(old *entry, found bool) (*entry, otter.ComputeOp) {
		if c.session.Load() != s || r.Epoch < s.applied.Load() {
			return old, otter.CancelOp
		}
		if found && old.session == s && old.Epoch > r.Epoch {
			return old, otter.CancelOp
		}
		stored := &entry{Reading: r, session: s}
		stored.Summary.Memo = &stored.memo
		return stored, otter.WriteOp
	})
}

// apply drops what an announcement has overtaken.
func (c *Cache) apply(s *session, a announcement) {
	raise(&s.applied, a.epoch)
	if a.users == nil {
		raise(&s.all, a.epoch)
		return
	}
	for _, user := range a.users {
		c.entries.Compute(user, func(old *entry, found bool) (*entry, otter.ComputeOp) {
			if found && (old.session != s || old.Epoch < a.epoch) {
				return nil, otter.InvalidateOp
			}
			return old, otter.CancelOp
		})
	}
}

// activate begins to answer from memory, which is empty. The epoch was read after the
// connection began to listen.
func (c *Cache) activate(epoch int64) *session {
	c.entries.InvalidateAll()
	s := &session{number: c.numbers.Add(1)}
	s.applied.Store(epoch)
	s.all.Store(epoch)
	c.session.Store(s)
	return s
}

// deactivate sends all callers to the database, before anything else is done about a
// listener that is lost.
func (c *Cache) deactivate() {
	c.session.Store(nil)
	c.entries.InvalidateAll()
}

// CacheStats counts since the start.
type CacheStats struct {
	Hits      int64 // answered from memory
	Misses    int64 // answered from the database, and stored
	Past      int64 // answered from the database, as there was no listener
	Entries   int   // now, about
	Listening bool  // now
}

// Stats are the counts so far.
func (c *Cache) Stats() CacheStats {
	return CacheStats{
		Hits: c.hits.Load(), Misses: c.misses.Load(), Past: c.past.Load(),
		Entries: c.entries.EstimatedSize(), Listening: c.session.Load() != nil,
	}
}
