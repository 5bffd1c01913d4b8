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
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/replica"
	"github.com/opentax/tally/jobs/ledger"
)

// A Role is what a token allows.
type Role string

// The roles there are.
const (
	RoleReader   Role = "reader"   // to read
	RoleOperator Role = "operator" // to read and make changes
)

const (
	secretPrefix = "tally_" // lets scanners find published secrets
	secretBytes  = 32
	// After refreshAfter one request at a time reloads the tokens while the others use the
	// cached ones; after staleAfter none does.
	refreshAfter = 500 * time.Millisecond
	staleAfter   = RevokedWithin
	tokenTimeout = 5 * time.Second // of a request's query for the tokens
	// RevokedWithin is how long another process may accept a revoked token.
	RevokedWithin = time.Second

	// Changes bind their arguments on pgx, not Bun: they share a transaction with their audit
	// events.
	insertToken = `INSERT INTO api_tokens (name, role, secret_sha256, created_by) VALUES ($1, $2, $3, $4)`
	revokeToken = `UPDATE api_tokens SET revoked_at = now(), revoked_by = $2 WHERE name = $1 AND revoked_at IS NULL`
)

// Errors that callers of [Tokens] branch on.
var (
	ErrTokenName = errors.New("a token's name must have 1 to 63 letters, digits, dots, dashes, underscores and @, " +
		"and must begin with a letter or digit")
	ErrTokenRole     = errors.New("a token's role must be reader or operator")
	ErrTokenExists   = errors.New("a token of this name already exists")
	ErrTokenNotFound = errors.New("no token of this name exists")
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// Token is a token without its secret.
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

// Caller is the origin of a change of tokens, for the audit trail.
type Caller struct {
	Actor  string // such as "cli:ann"
	Origin string // a process or a network address
}

// Tokens are the API's tokens. The database has the SHA-256 of each secret: for 256 random bits
// that is as safe as a slow hash. Changes are in the audit trail, in the same transaction.
// Requests use a copy of the whole table that is at most a second old; without the database
// none is authorized. Without a primary the copy is of a replica; see [Tokens.ReadFrom].
type Tokens struct {
	pool     *pgxpool.Pool
	db       *bun.DB
	replicas *replica.Set // or nil
	now      func() time.Time
	cached   atomic.Pointer[tokenSet]
	loading  chan struct{} // a mutex that a context can give up on
}

type tokenSet struct {
	asOf     time.Time // before the query
	bySecret map[[sha256.Size]byte]Token
}

// NewTokens returns the tokens of a database.
func NewTokens(pool *pgxpool.Pool) *Tokens {
	return &Tokens{pool: pool, db: postgres.Bun(pool), now: time.Now, loading: make(chan struct{}, 1)}
}

// Add creates a token and returns its secret, which cannot be shown again.
func (t *Tokens) Add(ctx context.Context, name string, role Role, by Caller) (secret string, err error) {
	if !tokenName.MatchString(name) {
		return "", ErrTokenName
	}
	if role != RoleReader && role != RoleOperator {
		return "", ErrTokenRole
	}
	secret = newSecret()
	hash := sha256.Sum256([]byte(secret))
	event := ledger.Event{Actor: by.Actor, Action: ledger.ActionTokenAdded, Subject: name, Origin: by.Origin}
	event.Detail = map[string]any{"role": role}
	err = t.change(ctx, event, insertToken, name, string(role), hash[:], by.Actor)
	if postgres.Constraint(err) == "api_tokens_one_a_name" {
		return "", ErrTokenExists
	}
	if err != nil {
		return "", fmt.Errorf("add a token: %w", err)
	}
	return secret, nil
}

// Revoke revokes a token: at once in this process, within [RevokedWithin] in others.
func (t *Tokens) Revoke(ctx context.Context, name string, by Caller) error {
	event := ledger.Event{Actor: by.Actor, Action: ledger.ActionTokenRevoked, Subject: name, Origin: by.Origin}
	err := t.change(ctx, event, revokeToken, name, by.Actor)
	if err != nil && !errors.Is(err, ErrTokenNotFound) {
		return fmt.Errorf("revoke a token: %w", err)
	}
	return err
}

// change executes a change with its audit event, then drops the cached tokens: after the commit,
// and not during a load, which may have read before it.
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
	t.loading <- struct{}{} // also after an error: the commit may have succeeded
	t.cached.Store(nil)
	<-t.loading
	return err
}

// List returns all tokens, revoked ones included, oldest first.
func (t *Tokens) List(ctx context.Context) ([]Token, error) {
	list := []Token{}
	if err := selectTokens(t.db).Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	return list, nil
}

// ReadFrom has requests use the tokens of a replica while there is no primary, in which a token
// could be revoked. nil does nothing.
func (t *Tokens) ReadFrom(set *replica.Set) { t.replicas = set }

// listAnywhere is List, from a replica while there is no primary.
func (t *Tokens) listAnywhere(ctx context.Context) (list []Token, err error) {
	if t.replicas == nil {
		return t.List(ctx)
	}
	if t.replicas.HasPrimary() {
		primary, cancel := context.WithTimeout(ctx, tokenTimeout/2)
		defer cancel()
		if list, err = t.List(primary); err == nil {
			return list, nil
		}
	}
	err = t.replicas.Read(ctx, replica.PrimaryFirst, func(ctx context.Context, server *replica.Server) error {
		list = []Token{}
		return selectTokens(postgres.Bun(server.Pool)).Scan(ctx, &list)
	})
	return list, err
}

// Any reports whether there is a token that is not revoked.
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

// recent returns the tokens as of at most a second ago.
func (t *Tokens) recent(ctx context.Context) (*tokenSet, error) {
	now, set := t.now(), t.cached.Load()
	if set == nil || now.Sub(set.asOf) >= staleAfter {
		return t.since(ctx, now.Add(-staleAfter))
	}
	if now.Sub(set.asOf) < refreshAfter {
		return set, nil
	}
	select {
	case t.loading <- struct{}{}:
		defer func() { <-t.loading }()
		newer, err := t.load(ctx)
		if err == nil || t.now().Sub(set.asOf) >= staleAfter { // the load may have taken seconds
			return newer, err
		}
	default:
	}
	return set, nil
}

// since returns the tokens as of a time or later.
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

// load reads the tokens. The caller holds loading.
func (t *Tokens) load(ctx context.Context) (*tokenSet, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	set := &tokenSet{asOf: t.now(), bySecret: map[[sha256.Size]byte]Token{}}
	list, err := t.listAnywhere(ctx)
	if err != nil {
		return nil, err
	}
	for _, token := range list {
		set.bySecret[[sha256.Size]byte(token.Hash)] = token
	}
	t.cached.Store(set)
	return set, nil
}

func (s *tokenSet) lookUp(secret string) (Token, bool) {
	token, ok := s.bySecret[sha256.Sum256([]byte(secret))]
	return token, ok
}

func newSecret() string {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the process instead
	return secretPrefix + base64.RawURLEncoding.EncodeToString(random[:])
}

// plausible reports whether a text has the form of a secret. What has not costs no query.
func plausible(secret string) bool {
	return strings.HasPrefix(secret, secretPrefix) && len(secret) == len(secretPrefix)+base64.RawURLEncoding.EncodedLen(secretBytes)
}

func selectTokens(db *bun.DB) *bun.SelectQuery {
	return db.NewSelect().Model((*Token)(nil)).OrderExpr("id")
}

// Queries returns the statements that the API runs itself: those about tokens, of which there
// are few. All others are those of summaries and jobs.
func Queries(explain.Sample) []explain.Query {
	const name, by = "unknown", "cli"
	return []explain.Query{
		{Name: "api/list_tokens", Purpose: "at most once a second while requests arrive, and each tally token list",
			SQL: selectTokens(bun.NewDB(nil, pgdialect.New())).String(), Expect: explain.Expectation{WholeTable: true}},
		{Name: "api/insert_token", Purpose: "each tally token add", Writes: true,
			SQL: insertToken, Args: []any{name, string(RoleReader), make([]byte, 32), by}},
		{Name: "api/revoke_token", Purpose: "each tally token revoke", SQL: revokeToken, Args: []any{name, by}, Writes: true},
	}
}
