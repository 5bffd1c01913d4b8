package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
)

// A Role is what a token allows.
type Role string

// The roles there are.
const (
	RoleReader   Role = "reader"   // to read
	RoleOperator Role = "operator" // to change something as well
)

const (
	secretPrefix = "tally_" // by which scanners find secrets that were published by mistake
	secretBytes  = 32
	// renewAfter is the age at which one request at a time fetches the tokens
	// anew, while the others go by what is held; staleAfter is the age at which
	// nobody does any more. So a token that another process revokes works for at
	// most staleAfter.
	renewAfter = 500 * time.Millisecond
	staleAfter = RevokedWithin
	// tokenTimeout bounds the look at the database that a request waits for.
	tokenTimeout = 5 * time.Second
)

// Errors that callers of [Tokens] branch on.
var (
	ErrTokenName     = errors.New("a token's name must have 1 to 63 letters, digits, dots, dashes, underscores and @, and must begin with a letter or digit")
	ErrTokenRole     = errors.New("a token's role must be reader or operator")
	ErrTokenExists   = errors.New("a token of this name already exists")
	ErrTokenNotFound = errors.New("no token of this name exists")
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// Token is what is known of a token; its secret is not.
type Token struct {
	bun.BaseModel `bun:"table:api_tokens,alias:token"`

	ID        int64     `bun:"id" json:"id"`
	Name      string    `bun:"name" json:"name"`
	Role      Role      `bun:"role" json:"role"`
	Hash      []byte    `bun:"secret_sha256" json:"-"`
	CreatedAt time.Time `bun:"created_at" json:"created_at"`
	CreatedBy string    `bun:"created_by" json:"created_by"`
	RevokedAt time.Time `bun:"revoked_at" json:"revoked_at,omitzero"`
	RevokedBy string    `bun:"revoked_by" json:"revoked_by,omitempty"`
}

// Caller is who changes tokens, for the audit trail.
type Caller struct {
	Actor  string // such as "cli:ann"
	Origin string // a process or a network address
}

// Tokens are the API's tokens. The database has the SHA-256 of each secret: of 256
// random bits, which no trying finds, that is as good as a slow hash. Adding and
// revoking are in the audit trail, in the transaction of the change. Requests go
// by a copy of the whole table that is at most a second old; without the database
// nobody is let in.
type Tokens struct {
	pool    *pgxpool.Pool
	db      *bun.DB
	now     func() time.Time
	cached  atomic.Pointer[tokenSet]
	loading chan struct{} // holds one: whoever fetches the tokens
}

// tokenSet is every token there was at a time, revoked ones included.
type tokenSet struct {
	asOf     time.Time // before the tokens were asked for
	bySecret map[[sha256.Size]byte]Token
}

// NewTokens is the tokens of a database.
func NewTokens(pool *pgxpool.Pool) *Tokens {
	return &Tokens{pool: pool, db: postgres.Bun(pool), now: time.Now, loading: make(chan struct{}, 1)}
}

// Add makes a token and returns its secret, which nobody can be shown again.
func (t *Tokens) Add(ctx context.Context, name string, role Role, by Caller) (secret string, err error) {
	if !tokenName.MatchString(name) {
		return "", ErrTokenName
	}
	if role != RoleReader && role != RoleOperator {
		return "", ErrTokenRole
	}
	secret = newSecret()
	hash := sha256.Sum256([]byte(secret))
	err = t.change(ctx, ledger.Event{Actor: by.Actor, Action: ledger.ActionTokenAdded, Subject: name, Origin: by.Origin, Detail: map[string]any{"role": role}},
		insertToken, name, string(role), hash[:], by.Actor)
	if postgres.Constraint(err) == "api_tokens_one_a_name" {
		return "", ErrTokenExists
	}
	if err != nil {
		return "", fmt.Errorf("add a token: %w", err)
	}
	return secret, nil
}

// RevokedWithin is how long another process may go on taking a token that was revoked.
const RevokedWithin = time.Second

// Revoke ends a token: in this process for every request that comes after, in
// others within [RevokedWithin].
func (t *Tokens) Revoke(ctx context.Context, name string, by Caller) error {
	err := t.change(ctx, ledger.Event{Actor: by.Actor, Action: ledger.ActionTokenRevoked, Subject: name, Origin: by.Origin},
		revokeToken, name, by.Actor)
	if err != nil && !errors.Is(err, ErrTokenNotFound) {
		return fmt.Errorf("revoke a token: %w", err)
	}
	return err
}

// change carries a change of one token out together with its audit event, and
// forgets what is held. Not before the change is committed, and not while somebody
// fetches the tokens, who might have looked before it was.
func (t *Tokens) change(ctx context.Context, e ledger.Event, sql string, args ...any) error {
	err := pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, sql, args...)
		if err != nil {
			return err
		}
		if done.RowsAffected() == 0 {
			return ErrTokenNotFound
		}
		return ledger.Record(ctx, tx, e)
	})
	t.loading <- struct{}{} // also after an error: a commit may have been carried out all the same
	t.cached.Store(nil)
	<-t.loading
	return err
}

// List is every token, revoked ones included, the oldest first.
func (t *Tokens) List(ctx context.Context) ([]Token, error) {
	list := []Token{}
	if err := selectTokens(t.db).Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	return list, nil
}

// Any reports whether there is a token with which somebody could get in.
func (t *Tokens) Any(ctx context.Context) (bool, error) {
	set, err := t.recent(ctx)
	if err != nil {
		return false, err
	}
	for _, token := range set.bySecret {
		if token.RevokedAt.IsZero() {
			return true, nil
		}
	}
	return false, nil
}

// recent is the tokens as they were at most a second ago.
func (t *Tokens) recent(ctx context.Context) (*tokenSet, error) {
	now, set := t.now(), t.cached.Load()
	if set == nil || now.Sub(set.asOf) >= staleAfter {
		return t.since(ctx, now.Add(-staleAfter))
	}
	if now.Sub(set.asOf) < renewAfter {
		return set, nil
	}
	select {
	case t.loading <- struct{}{}:
		defer func() { <-t.loading }()
		if newer, err := t.load(ctx); err == nil {
			return newer, nil
		}
		return set, nil // still young enough; when it is not, the error shows
	default:
		return set, nil
	}
}

// since is the tokens as they were at a time or later.
func (t *Tokens) since(ctx context.Context, at time.Time) (*tokenSet, error) {
	select {
	case t.loading <- struct{}{}:
		defer func() { <-t.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if set := t.cached.Load(); set != nil && set.asOf.After(at) {
		return set, nil
	}
	return t.load(ctx)
}

// load fetches the tokens. The caller holds loading.
func (t *Tokens) load(ctx context.Context) (*tokenSet, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	set := &tokenSet{asOf: t.now(), bySecret: map[[sha256.Size]byte]Token{}}
	list, err := t.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, token := range list {
		set.bySecret[[sha256.Size]byte(token.Hash)] = token
	}
	t.cached.Store(set)
	return set, nil
}

// find is the token of a secret.
func (s *tokenSet) lookUp(secret string) (Token, bool) {
	token, ok := s.bySecret[sha256.Sum256([]byte(secret))]
	return token, ok
}

func newSecret() string {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the process instead
	return secretPrefix + base64.RawURLEncoding.EncodeToString(random[:])
}

// plausible reports whether a text could be a secret of ours. What could not costs no
// look at the database.
func plausible(secret string) bool {
	return strings.HasPrefix(secret, secretPrefix) && len(secret) == len(secretPrefix)+base64.RawURLEncoding.EncodedLen(secretBytes)
}
