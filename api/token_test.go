package api

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
)

var ann = Caller{Actor: "cli:ann", Origin: "here:1"}

func newTokens(t *testing.T) (*Tokens, *pgxpool.Pool) {
	t.Helper()
	pool := testdb.New(t, migrations.Schema{})
	return NewTokens(pool), pool
}

func add(t *testing.T, tokens *Tokens, name string, role Role) string {
	t.Helper()
	secret, err := tokens.Add(t.Context(), name, role, ann)
	require.NoError(t, err)
	return secret
}

// events are the audit trail's lines of an action.
func events(t *testing.T, pool *pgxpool.Pool, action string) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT actor || ' ' || subject || ' ' || origin || ' ' || detail::text FROM audit_events WHERE action = $1 ORDER BY id`, action)
	require.NoError(t, err)
	defer rows.Close()
	var list []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		list = append(list, line)
	}
	require.NoError(t, rows.Err())
	return list
}

// known asks as a request does.
func known(t *testing.T, tokens *Tokens, secret string) bool {
	t.Helper()
	set, err := tokens.recent(t.Context())
	require.NoError(t, err)
	token, ok := set.lookUp(secret)
	return ok && token.RevokedAt.IsZero()
}

func TestTokensAreStoredHashed(t *testing.T) {
	t.Parallel()
	tokens, pool := newTokens(t)
	secret := add(t, tokens, "ann", RoleOperator)
	random, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(secret, "tally_"))
	require.NoError(t, err)
	assert.Len(t, random, 32)
	assert.True(t, plausible(secret))
	assert.NotEqual(t, secret, add(t, tokens, "bob", RoleReader))

	var everything string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT (SELECT string_agg(t::text, '') FROM api_tokens t) || (SELECT string_agg(a::text, '') FROM audit_events a)`).Scan(&everything))
	assert.NotContains(t, everything, secret)
	assert.NotContains(t, everything, strings.TrimPrefix(secret, "tally_"))
	var hashed bool
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT secret_sha256 = sha256($1::text::bytea) FROM api_tokens WHERE name = 'ann'`, secret).Scan(&hashed))
	assert.True(t, hashed)
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	tokens, pool := newTokens(t)
	for _, name := range []string{"", " ", "a b", "-a", "ann\n", strings.Repeat("a", 64), "ännchen"} {
		_, err := tokens.Add(t.Context(), name, RoleReader, ann)
		require.ErrorIs(t, err, ErrTokenName, name)
	}
	_, err := tokens.Add(t.Context(), "ann", "admin", ann)
	require.ErrorIs(t, err, ErrTokenRole)
	require.ErrorIs(t, tokens.Revoke(t.Context(), "ann", ann), ErrTokenNotFound)
	assert.Empty(t, events(t, pool, ledger.ActionTokenRevoked), "nothing was done")

	add(t, tokens, "ann", RoleReader)
	_, err = tokens.Add(t.Context(), "ann", RoleReader, ann)
	require.ErrorIs(t, err, ErrTokenExists)
	require.NoError(t, tokens.Revoke(t.Context(), "ann", ann))
	require.ErrorIs(t, tokens.Revoke(t.Context(), "ann", ann), ErrTokenNotFound)
	add(t, tokens, "ann", RoleOperator)

	assert.Equal(t, []string{`cli:ann ann here:1 {"role": "reader"}`, `cli:ann ann here:1 {"role": "operator"}`}, events(t, pool, ledger.ActionTokenAdded))
	assert.Len(t, events(t, pool, ledger.ActionTokenRevoked), 1)
	list, err := tokens.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	assert.Equal(t, "cli:ann", list[0].RevokedBy)
	assert.Zero(t, list[1].RevokedAt)
}

// What cannot be audited is not done.
func TestTokenChangesGoWithTheirAudit(t *testing.T) {
	t.Parallel()
	tokens, pool := newTokens(t)
	secret := add(t, tokens, "ann", RoleReader)
	_, err := pool.Exec(t.Context(), `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON audit_events EXECUTE FUNCTION refuse()`)
	require.NoError(t, err)
	_, err = tokens.Add(t.Context(), "bob", RoleReader, ann)
	require.ErrorContains(t, err, "no room")
	require.ErrorContains(t, tokens.Revoke(t.Context(), "ann", ann), "no room")
	assert.True(t, known(t, tokens, secret))
	list, err := tokens.List(t.Context())
	require.NoError(t, err)
	assert.Len(t, list, 1)
}

func TestARevokedTokenEndsAtOnceInItsProcess(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t)
	tokens.now = func() time.Time { return time.Unix(0, 0) } // what is held never ages
	secret := add(t, tokens, "ann", RoleReader)
	require.True(t, known(t, tokens, secret))
	require.NoError(t, tokens.Revoke(t.Context(), "ann", ann))
	assert.False(t, known(t, tokens, secret))
}

func TestARevokedTokenEndsWithinASecondInOtherProcesses(t *testing.T) {
	t.Parallel()
	here, pool := newTokens(t)
	there := NewTokens(pool)
	now := time.Unix(1000, 0)
	there.now = func() time.Time { return now }
	secret := add(t, here, "ann", RoleReader)
	require.True(t, known(t, there, secret))
	require.NoError(t, here.Revoke(t.Context(), "ann", ann))

	now = now.Add(refreshAfter - 1)
	assert.True(t, known(t, there, secret), "the test means nothing if what is held is not gone by")
	there.loading <- struct{}{} // somebody fetches the tokens, and takes long
	now = now.Add(staleAfter - refreshAfter)
	assert.True(t, known(t, there, secret))
	now = now.Add(1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := there.recent(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "tokens a second old are not used")
	<-there.loading
	assert.False(t, known(t, there, secret))
	assert.LessOrEqual(t, staleAfter, time.Second)
}

func TestTokensAreRenewedBeforeTheyAreStale(t *testing.T) {
	t.Parallel()
	here, pool := newTokens(t)
	there := NewTokens(pool)
	now := time.Unix(1000, 0)
	there.now = func() time.Time { return now }
	secret := add(t, here, "ann", RoleReader)
	require.True(t, known(t, there, secret))
	require.NoError(t, here.Revoke(t.Context(), "ann", ann))
	now = now.Add(refreshAfter)
	assert.False(t, known(t, there, secret))
}

// Fetching that began before a revocation and ends after it must not bring the
// token back.
func TestARevocationDuringAFetch(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t)
	secret := add(t, tokens, "ann", RoleReader)
	before, err := tokens.recent(t.Context())
	require.NoError(t, err)
	tokens.loading <- struct{}{} // the fetch goes on
	revoked := make(chan error, 1)
	go func() { revoked <- tokens.Revoke(context.WithoutCancel(t.Context()), "ann", ann) }()
	require.Eventually(t, func() bool {
		list, err := tokens.List(t.Context())
		return err == nil && !list[0].RevokedAt.IsZero()
	}, testdb.Patience, time.Millisecond)
	tokens.cached.Store(before) // the fetch ends
	<-tokens.loading
	require.NoError(t, <-revoked)
	assert.False(t, known(t, tokens, secret))
}

func TestTokensWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	tokens, pool := newTokens(t)
	secret := add(t, tokens, "ann", RoleReader)
	now := time.Unix(1000, 0)
	tokens.now = func() time.Time { return now }
	require.True(t, known(t, tokens, secret))
	pool.Close()
	now = now.Add(staleAfter - 1)
	assert.True(t, known(t, tokens, secret))
	tokens.now = func() time.Time { now = now.Add(1); return now.Add(-1) }
	_, err := tokens.recent(t.Context())
	require.Error(t, err, "the tokens become stale while the database does not answer")
	_, err = tokens.recent(t.Context())
	require.Error(t, err)
	_, err = tokens.Any(t.Context())
	require.Error(t, err)
}

func TestAnyToken(t *testing.T) {
	t.Parallel()
	tokens, _ := newTokens(t)
	holds := func(want bool) {
		any, err := tokens.Any(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, any)
	}
	holds(false)
	add(t, tokens, "ann", RoleReader)
	holds(true)
	require.NoError(t, tokens.Revoke(t.Context(), "ann", ann))
	holds(false)
}
