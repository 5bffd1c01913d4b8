package summaries

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/opentax/tally/internal/replica"
)

const (
	defaultEntries     = 100_000
	defaultFillTimeout = 10 * time.Second
)

// CacheConfig is the configuration of a Cache. Store and Connect are required.
type CacheConfig struct {
	Store Reader // of what the cache does not have
	// Connect opens the listener's connection, to the primary and not through a pooler.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	// Announced is called with the epoch of each commit that was announced, and of each session's
	// beginning; nil is allowed.
	Announced func(epoch int64)
	// Heartbeat is the time until an idle connection of the listener is pinged, and the timeout of
	// the ping: a network that drops packets can hide a commit for twice this. 0 means 5 s.
	Heartbeat time.Duration
	Entries   int          // maximum number, of users without a summary too; 0 means 100,000, some 70 MB
	Logger    *slog.Logger // of the loss and return of the listener; nil discards that
}

// Reader reads summaries for a cache. [Store] is one.
type Reader interface {
	// Get returns a user's summary, or [ErrNotFound].
	Get(ctx context.Context, userID int32) (Summary, error)
	// Read is Get with the epoch, which the cache needs to store the answer.
	Read(ctx context.Context, userID int32) (Reading, error)
	// ReadTop returns the first users in an order, with the epoch.
	ReadTop(ctx context.Context, by Order) (TopReading, error)
}

// Reading is the result of one statement.
type Reading struct {
	Summary Summary
	Found   bool
	// Epoch counts the commits that the statement saw: the summary includes every announcement
	// up to Epoch, and none after.
	Epoch   int64
	Replica bool // read from a replica
}

// Answer is the summary, or [ErrNotFound].
func (r Reading) Answer() (Summary, error) {
	if !r.Found {
		return Summary{}, ErrNotFound
	}
	return r.Summary, nil
}

// Cache stores summaries, and that users have none. It answers from memory only while its listener
// receives every notification ([Cache.Listen]), and then never from before a commit whose
// notification was applied; otherwise it answers from the database and stores nothing. It is safe for
// concurrent use.
//
// Each commit that changes data increments summary_epoch and announces it, in the order of
// commits. A reading is stored only if its epoch includes every announcement so far: one that a commit
// overtook in flight, or that comes from a lagging replica, is answered and not stored.
type Cache struct {
	config   CacheConfig
	entries  *otter.Cache[int32, *entry]
	tops     sync.Map // by order: topEntry, the last one stored
	inFlight singleflight.Group
	session  atomic.Pointer[session] // nil without a listener
	numbers  atomic.Int64            // of sessions
	hits     atomic.Int64
	misses   atomic.Int64
	past     atomic.Int64
}

// session is the time in which one connection receives every notification.
type session struct {
	number  int64
	applied atomic.Int64 // the last epoch whose announcement was applied
	dropped atomic.Int64 // the last one of which no older entry is left
	all     atomic.Int64 // the last one that was announced for all users
}

// raise raises a mark, and never lowers it: announcements come in order, but the first ones may be
// older than the session's first epoch.
func raise(mark *atomic.Int64, epoch int64) {
	if epoch > mark.Load() { // only the listener writes it
		mark.Store(epoch)
	}
}

type entry struct {
	Reading
	session *session
	memo    atomic.Value
}

// NewCache makes an empty cache, which is inactive without [Cache.Listen].
func NewCache(c CacheConfig) (*Cache, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("summaries: CacheConfig.Store is missing")
	case c.Connect == nil:
		return nil, errors.New("summaries: CacheConfig.Connect is missing")
	case c.Entries < 0:
		return nil, errors.New("summaries: CacheConfig.Entries is negative")
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Heartbeat = cmp.Or(c.Heartbeat, defaultHeartbeat)
	entries, err := otter.New(&otter.Options[int32, *entry]{MaximumSize: cmp.Or(c.Entries, defaultEntries)})
	if err != nil {
		return nil, fmt.Errorf("summaries: cache: %w", err)
	}
	return &Cache{config: c, entries: entries}, nil
}

// Get returns a user's summary, or [ErrNotFound]. Concurrent callers of the same user share one read of
// the database.
func (c *Cache) Get(ctx context.Context, userID int32) (Summary, error) {
	if c.session.Load() == nil {
		c.past.Add(1)
		return c.config.Store.Get(ctx, userID)
	}
	r, err := c.Look(ctx, userID, 0)
	if err != nil {
		return Summary{}, err
	}
	return r.Answer()
}

// Look is Get with the epoch of the answer, which is at least minEpoch if it comes from memory.
// Otherwise the Store's Read has to see to that.
func (c *Cache) Look(ctx context.Context, userID int32, minEpoch int64) (Reading, error) {
	s := c.session.Load()
	if s == nil {
		c.past.Add(1)
		return c.config.Store.Read(ctx, userID)
	}
	dropped := s.dropped.Load() // before the entry
	if e, ok := c.entries.GetIfPresent(userID); ok && e.session == s && e.Epoch >= s.all.Load() {
		r := e.Reading
		if r.Epoch = max(r.Epoch, dropped); r.Epoch >= minEpoch {
			c.hits.Add(1)
			return r, nil
		}
	}
	c.misses.Add(1)
	// A shared reading may have begun before an announcement that was applied before this call.
	// Another one begins later: its result is the answer, even from a lagging replica.
	applied := s.applied.Load()
	r, err := c.share(ctx, s, userID)
	if err == nil && r.Epoch < applied {
		r, err = c.share(ctx, s, userID)
	}
	if err == nil && r.Epoch < minEpoch { // it was read without a minimum
		r, err = c.config.Store.Read(ctx, userID)
	}
	return r, err
}

// share reads, or waits for the reading of the user that is in flight.
func (c *Cache) share(ctx context.Context, s *session, userID int32) (Reading, error) {
	key := strconv.FormatInt(s.number, 36) + "/" + strconv.FormatInt(int64(userID), 36)
	read, err := c.shared(ctx, key, func(ctx context.Context) (any, error) {
		r, err := c.config.Store.Read(ctx, userID)
		if err == nil {
			c.store(s, userID, r)
		}
		return r, err
	})
	r, _ := read.(Reading) // the zero value beside an error
	return r, err
}

// shared reads, or waits for the reading with that key that is in flight.
func (c *Cache) shared(ctx context.Context, key string, read func(context.Context) (any, error)) (any, error) {
	flight := c.inFlight.DoChan(key, func() (any, error) {
		// When the first caller is cancelled, the others still need the answer. Its minimum epoch
		// is not theirs: no server may have that one.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultFillTimeout)
		defer cancel()
		return read(replica.With(ctx, &replica.Request{}))
	})
	select {
	case done := <-flight:
		return done.Val, done.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("look up a summary: %w", ctx.Err())
	}
}

// store stores a reading that includes every announcement so far. It compares under the lock of the
// entry, and apply raises the mark before it drops entries: either store sees the mark, or apply
// sees the entry.
func (c *Cache) store(s *session, userID int32, r Reading) {
	c.entries.Compute(userID, func(old *entry, found bool) (*entry, otter.ComputeOp) {
		newer := found && old.session == s && old.Epoch > r.Epoch
		if newer || c.session.Load() != s || r.Epoch < s.applied.Load() {
			return old, otter.CancelOp
		}
		stored := &entry{Reading: r, session: s}
		stored.Summary.Memo = &stored.memo
		return stored, otter.WriteOp
	})
}

// apply drops entries that are older than an announcement.
func (c *Cache) apply(s *session, a announcement) {
	raise(&s.applied, a.epoch)
	defer c.announced(a.epoch)
	defer raise(&s.dropped, a.epoch)
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

func (c *Cache) announced(epoch int64) {
	if c.config.Announced != nil {
		c.config.Announced(epoch)
	}
}

// activate begins to answer from memory, which is empty. The epoch was read after LISTEN.
func (c *Cache) activate(epoch int64) *session {
	c.entries.InvalidateAll()
	s := &session{number: c.numbers.Add(1)}
	s.applied.Store(epoch)
	s.dropped.Store(epoch)
	s.all.Store(epoch)
	c.session.Store(s)
	c.announced(epoch)
	return s
}

// deactivate sends all callers to the database, at once when the listener is lost.
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
