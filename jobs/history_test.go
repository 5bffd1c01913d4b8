package jobs

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

// past is a database that changes at random, with a copy of its rows after each change.
type past struct {
	t      *testing.T
	pool   *pgxpool.Pool
	loader *load.Loader
	rules  transform.Rules
	random *rand.Rand
	files  []int64
	states []pastState
}

// pastState is what was stored from one change on.
type pastState struct {
	at   time.Time
	kind seal.Kind
	rows map[string]ledger.Version // by transaction id; without times and cause
}

func newPast(t *testing.T, corrections string, seed uint64) *past {
	t.Helper()
	pool := newPool(t)
	_, err := pool.Exec(t.Context(), `INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-06-30', 'test');
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'test', 'test')`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	rules := transform.Rules{Corrections: corrections, RejectLimit: "100%"}
	return &past{t: t, pool: pool, loader: load.New(pool, nil), rules: rules, random: rand.New(rand.NewPCG(seed, 16))}
}

func (p *past) load(content string) {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), fmt.Sprintf("%d.csv", len(p.states)))
	require.NoError(p.t, os.WriteFile(path, []byte("transaction_id,user_id,amount,transaction_date\n"+content), 0o600))
	r, err := p.loader.Load(p.t.Context(), load.Request{RunID: 1, Attempt: 1, Source: "test", Path: bucket.Path(path),
		Rules: p.rules, LogicalDate: civil.MustParse("2024-06-30"), CodeVersion: "test"})
	require.NoError(p.t, err)
	require.Equal(p.t, load.StatusLoaded, r.Status)
	p.files = append(p.files, r.FileID)
}

// change makes one change at random: a load of rows of which some are ambiguous, a replay of
// some of these, a fix, a settlement, a discard or a revert.
func (p *past) change() error {
	by := audit.By{Actor: "test", Reason: "because"}
	settings := func(string, transform.Rules) (transform.Rules, bool) {
		rules := p.rules
		rules.Slash = "dmy"
		return rules, false
	}
	one := func(outcome string) (reject.ID, bool) {
		ids := p.open(outcome)
		if len(ids) == 0 {
			return reject.ID{}, false
		}
		return ids[p.random.IntN(len(ids))], true
	}
	ctx := p.t.Context()
	switch p.random.IntN(11) {
	case 0, 6, 7:
		if ids := p.open("rejected"); len(ids) > 0 {
			_, err := p.loader.Replay(ctx, ids[:1+p.random.IntN(len(ids))], settings, by, false)
			return err
		}
	case 1:
		if id, ok := one("rejected"); ok {
			_, err := p.loader.Fix(ctx, id, transform.Fix{Amount: fmt.Sprint(p.random.IntN(9)), Date: "2024-02-02"}, settings, by)
			return err
		}
	case 2:
		if id, ok := one("conflict"); ok {
			_, err := p.loader.Take(ctx, id, settings, by)
			return err
		}
	case 3:
		if id, ok := one("conflict"); ok {
			return p.loader.Keep(ctx, id, by)
		}
	case 4, 5:
		if len(p.files) > 2 {
			i := p.random.IntN(len(p.files))
			file := p.files[i]
			p.files = slices.Delete(p.files, i, i+1)
			_, err := p.loader.Revert(ctx, []int64{file}, settings, by, false)
			return err
		}
	}
	var content strings.Builder
	for range 1 + p.random.IntN(6) {
		date := []string{"2024-01-05", "2024-02-03", "03/04/2024"}[p.random.IntN(3)]
		fmt.Fprintf(&content, "%c,%d,%d.5,%s\n", 'A'+rune(p.random.IntN(8)), 1+p.random.IntN(3), p.random.IntN(3), date)
	}
	p.load(content.String() + fmt.Sprintf("Z%d,9,1,2024-01-01\n", len(p.states)))
	return nil
}

// open are the open rejects with an outcome.
func (p *past) open(outcome string) []reject.ID {
	rows, err := p.pool.Query(p.t.Context(), `SELECT j.file_id, j.line FROM etl_rejects j
		LEFT JOIN LATERAL (SELECT * FROM etl_reject_states s WHERE s.file_id = j.file_id AND s.line = j.line ORDER BY change DESC LIMIT 1) s ON true
		WHERE coalesce(s.state, 'open') = 'open' AND coalesce(s.outcome, j.outcome) = $1 AND j.file_id NOT IN (SELECT file_id FROM etl_reverts)
		ORDER BY 1, 2`, outcome)
	require.NoError(p.t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowToStructByPos[reject.ID])
	require.NoError(p.t, err)
	return ids
}

// remember copies the rows, unless nothing was changed.
func (p *past) remember() {
	p.t.Helper()
	state := pastState{rows: map[string]ledger.Version{}}
	require.NoError(p.t, p.pool.QueryRow(p.t.Context(), "SELECT at, kind FROM audit_chain ORDER BY number DESC LIMIT 1").Scan(&state.at, &state.kind))
	if len(p.states) > 0 && p.states[len(p.states)-1].at.Equal(state.at) {
		return
	}
	rows, err := p.pool.Query(p.t.Context(), "SELECT transaction_id, amount::numeric, transaction_date, user_id, file_id, line FROM transactions")
	require.NoError(p.t, err)
	var id string
	var v ledger.Version
	_, err = pgx.ForEachRow(rows, []any{&id, &v.Amount, &v.Date, &v.UserID, &v.FileID, &v.Line}, func() error {
		state.rows[id] = v
		return nil
	})
	require.NoError(p.t, err)
	p.states = append(p.states, state)
}

// history tells the states of a transaction by the copies.
func (p *past) history(id string) (versions []ledger.Version) {
	var present *ledger.Version
	for _, state := range p.states {
		row, stored := state.rows[id]
		if present != nil && stored && present.FileID == row.FileID && present.Line == row.Line {
			continue
		}
		replaced := present != nil
		if replaced {
			at := state.at
			present.To, present = &at, nil
		}
		if stored {
			row.From, row.Cause = state.at, string(state.kind)
			if replaced && state.kind == seal.Load {
				row.Cause = "correction"
			}
			versions = append(versions, row)
			present = &versions[len(versions)-1]
		}
	}
	return versions
}

// summary adds up the copy of a user's rows.
func (s pastState) summary(user int32, days summaries.Days) (n int64, total money.Sum) {
	for _, row := range s.rows {
		if row.UserID == user && row.Date >= days.From && row.Date <= days.To {
			n, total = n+1, total.Plus(row.Amount)
		}
	}
	return n, total
}

// Whatever is loaded, corrected, replayed, decided and reverted: the history of each
// transaction and every former summary are those that were seen then.
func TestThePastIsAsItWasSeen(t *testing.T) {
	t.Parallel()
	for _, corrections := range []string{transform.CorrectionsKeep, transform.CorrectionsReplace} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(corrections, seed), func(t *testing.T) {
				t.Parallel()
				p := newPast(t, corrections, seed)
				for range 60 {
					require.NoError(t, p.change())
					p.remember()
				}
				v, err := seal.Verify(t.Context(), p.pool, audit.Head{})
				require.NoError(t, err)
				require.Nil(t, v.Broken)
				p.compareHistories()
				p.compareSummaries()
			})
		}
	}
}

func (p *past) compareHistories() {
	p.t.Helper()
	store, causes := ledger.NewStore(p.pool), map[string]bool{}
	for c := range 8 {
		id := string(rune('A' + c))
		want := p.history(id)
		history, err := store.History(p.t.Context(), id)
		if len(want) == 0 {
			require.ErrorIs(p.t, err, ledger.ErrTransactionNotFound)
			continue
		}
		require.NoError(p.t, err)
		assert.Nil(p.t, history.Retired)
		got := history.Versions
		for i := range got {
			assert.NotEmpty(p.t, got[i].Path)
			got[i].Path = ""
			causes[got[i].Cause] = true
			assert.True(p.t, got[i].From.Equal(want[i].From))
			got[i].From = want[i].From
			if got[i].To != nil && want[i].To != nil && got[i].To.Equal(*want[i].To) {
				got[i].To = want[i].To
			}
		}
		require.Equal(p.t, want, got, id)
	}
	for _, cause := range []string{"load", "replay", "revert"} {
		assert.True(p.t, causes[cause], "no state has the cause %s", cause)
	}
}

func (p *past) compareSummaries() {
	p.t.Helper()
	store := summaries.NewStore(p.pool)
	compare := func(moment time.Time, state pastState, user int32, days summaries.Days) {
		n, total := state.summary(user, days)
		got, err := store.AsOf(p.t.Context(), user, moment, days)
		if n == 0 {
			require.ErrorIs(p.t, err, summaries.ErrNotFound)
			return
		}
		require.NoError(p.t, err)
		require.Equal(p.t, summaries.Past{UserID: user, Transactions: n, Total: total, Change: got.Change}, got, moment)
	}
	january := summaries.Days{From: civil.MustParse("2024-01-01"), To: civil.MustParse("2024-02-02")}
	for i, state := range p.states {
		before := pastState{}
		if i > 0 {
			before = p.states[i-1]
		}
		for user := range int32(4) {
			compare(state.at, state, user, summaries.AllDays())
			compare(state.at.Add(-time.Microsecond), before, user, january)
		}
	}
	last := slices.MaxFunc(p.states, func(a, b pastState) int { return cmp.Compare(a.at.UnixMicro(), b.at.UnixMicro()) })
	_, err := store.AsOf(p.t.Context(), 1, last.at.Add(time.Hour), summaries.AllDays())
	require.ErrorIs(p.t, err, summaries.ErrFuture)
}
