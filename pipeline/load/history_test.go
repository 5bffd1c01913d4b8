package load_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

var operations = flag.Int("operations", 60, "operations of each random history")

// compareAllEvery is how often all tables are compared, instead of what an operation wrote.
const compareAllEvery = 500

// Files are loaded, their rejects replayed, fixed, settled and discarded, and files reverted and
// loaded again, at random: rows, keys, rollups, former rows, rejects, counts and chain are always
// those of a simple model. Where no one decides on rejects, the stored rows are those that the
// files which are left say, as if the others had never been loaded.
//
//	go test ./pipeline/load -run TestHistories -operations 10000 -timeout 2h
func TestHistories(t *testing.T) {
	t.Parallel()
	for _, corrections := range []string{transform.CorrectionsKeep, transform.CorrectionsReplace} {
		for _, plain := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, plain=%v", corrections, plain), func(t *testing.T) {
				t.Parallel()
				h := newHistory(t, corrections, plain)
				for step := range *operations {
					what := h.operate(step)
					h.compare(step, what)
					if step%compareAllEvery == compareAllEvery-1 || step == *operations-1 {
						h.compareAll(step)
					}
				}
			})
		}
	}
}

// history is a database, and the model of it.
type history struct {
	*fixture
	model  *model
	random *rand.Rand
	plain  bool    // only loads and reverts
	runs   []int64 // of three logical dates
}

func newHistory(t *testing.T, corrections string, plain bool) *history {
	t.Helper()
	h := &history{fixture: newFixture(t), model: newModel(corrections), random: rand.New(rand.NewPCG(15, 16)), plain: plain}
	h.rules = transform.Rules{Corrections: corrections, RejectLimit: "100%"}
	for day := range 3 {
		run := one[int64](h.fixture, `INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', DATE '2024-07-01' + $1::int, 'test') RETURNING id`, day)
		h.exec("INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES ($1, 1, 'test', 'test')", run)
		h.runs = append(h.runs, run)
	}
	return h
}

// decided are the settings under which rejects are read again.
func (h *history) decided(string, transform.Rules) (transform.Rules, bool) {
	rules := h.rules
	rules.Slash = "dmy"
	return rules, false
}

// operate does one thing at random, in the database and in the model.
func (h *history) operate(step int) string {
	h.t.Helper()
	kinds := strings.Fields("load load load load revert revert reload replay replay fix fix take keep discard")
	if h.plain {
		kinds = kinds[:7]
	}
	kind, ctx := kinds[h.random.IntN(len(kinds))], h.t.Context()
	open, conflicts := h.model.open(rejected), h.model.open(conflict)
	var err error
	switch {
	case kind == "revert" && len(h.files(false)) > 0:
		files := h.files(false)
		files = files[max(0, len(files)-20):]
		h.random.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		files = files[:min(len(files), 1+h.random.IntN(2))]
		_, err = h.loader.Revert(ctx, files, h.decided, by(), false)
		h.model.revert(files...)
	case kind == "reload" && len(h.files(true)) > 0:
		h.reload(h.model.files[pick(h, h.files(true))])
	case kind == "replay" && len(open) > 0:
		some := open[max(0, len(open)-1-h.random.IntN(6)):]
		_, err = h.loader.Replay(ctx, some, h.decided, by(), false)
		h.model.replay(slices.Clone(some))
	case kind == "fix" && len(open)+len(conflicts) > 0:
		id, amount, date := pick(h, append(open, conflicts...)), strconv.Itoa(h.random.IntN(3)), h.date()
		_, err = h.loader.Fix(ctx, id, transform.Fix{Amount: amount, Date: date}, h.decided, by())
		h.model.fix(id, amount, date)
	case kind == "take" && len(conflicts) > 0:
		id := pick(h, conflicts)
		_, err = h.loader.Take(ctx, id, h.decided, by())
		h.model.take(id)
	case kind == "keep" && len(conflicts) > 0:
		id := pick(h, conflicts)
		err = h.loader.Keep(ctx, id, by())
		h.model.close("settle", "settled", id)
	case kind == "discard" && len(open)+len(conflicts) > 0:
		id := pick(h, append(open, conflicts...))
		_, err = h.loader.Discard(ctx, []reject.ID{id}, by())
		h.model.close("discard", "discarded", id)
	default:
		kind = "load"
		h.loadNew(step)
	}
	require.NoError(h.t, err, "step %d: %s", step, kind)
	return kind
}

func pick[T any](h *history, of []T) T { return of[h.random.IntN(len(of))] }

// files are those that are loaded, or those that were reverted and are not loaded again.
func (h *history) files(reverted bool) (ids []int64) {
	loadedNow := map[string]bool{}
	for _, f := range h.model.files {
		loadedNow[f.content] = loadedNow[f.content] || !f.reverted
	}
	for id, f := range h.model.files {
		if f.reverted == reverted && loadedNow[f.content] != reverted {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (h *history) date() string { return fmt.Sprintf("2024-0%d-01", 1+h.random.IntN(3)) }

// loadNew loads a new file of rows about few ids, some without an amount or with an ambiguous
// date. A column that is not used makes each content another one.
func (h *history) loadNew(step int) {
	h.t.Helper()
	f := &modelFile{date: h.random.IntN(3), name: fmt.Sprintf("%d.csv", step)}
	content := "note," + header
	for line := range 1 + h.random.IntN(6) {
		row := modelRow{id: string(rune('A' + h.random.IntN(20))), user: 1 + h.random.IntN(4), amount: decimal.NewFromInt(h.random.Int64N(3)), date: h.date()}
		row.place.Line = int64(line + 2)
		amount, date := row.amount.String(), row.date
		switch h.random.IntN(8) {
		case 0:
			row.ambiguous, date = true, "01/"+row.date[5:7]+"/2024"
			if row.date[5:7] == "01" { // January 1 is the same either way
				row.date, date = "2024-01-02", "02/01/2024"
			}
		case 1:
			row.blank, amount = true, ""
		}
		content += fmt.Sprintf("%d,%s,%d,%s,%s\n", step, row.id, row.user, amount, date)
		f.rows = append(f.rows, row)
	}
	f.content = content
	h.loadFile(f, false)
}

// reload loads content again that was reverted. A night does not do that.
func (h *history) reload(old *modelFile) {
	h.t.Helper()
	f := *old
	f.reverted, f.rows = false, slices.Clone(old.rows)
	night := h.request(h.write(f.name, f.content))
	r, err := h.loader.Load(h.t.Context(), night)
	require.NoError(h.t, err)
	require.Equal(h.t, load.StatusUnchanged, r.Status)
	h.loadFile(&f, true)
}

func (h *history) loadFile(f *modelFile, again bool) {
	h.t.Helper()
	request := h.request(h.write(f.name, f.content))
	request.RunID, request.LogicalDate, request.Again = h.runs[f.date], civil.MustParse("2024-07-01")+civil.Date(f.date), again
	r, err := h.loader.Load(h.t.Context(), request)
	require.NoError(h.t, err)
	require.Equal(h.t, load.StatusLoaded, r.Status, r.Error)
	f.id = r.FileID
	h.model.load(f)
	counts := map[string]int64{}
	for _, row := range f.rows {
		if reject := h.model.rejects[reject.ID{FileID: f.id, Line: row.place.Line}]; reject != nil {
			counts[reject.outcome]++
		} else {
			counts[loaded]++
		}
	}
	require.Equal(h.t, [5]int64{int64(len(f.rows)), counts[loaded], counts[duplicate], counts[conflict], counts[rejected]},
		[5]int64{r.Read, r.Loaded, r.Duplicate, r.Conflict, r.Rejected}, f.content)
}

// compare compares all rows, keys and rollups, and what the last entry of the chain wrote
// elsewhere.
func (h *history) compare(step int, what string) {
	h.t.Helper()
	m, change := h.model, len(h.model.chain)
	require.Equal(h.t, m.describe(change), h.describe(change), "step %d: %s", step, what)
	if h.plain {
		require.Equal(h.t, m.declared(), h.transactions(), "step %d: %s", step, what)
	}
}

// compareAll compares everything.
func (h *history) compareAll(step int) {
	h.t.Helper()
	require.Equal(h.t, h.model.describe(0), h.describe(0), "step %d", step)
	h.holds()
	assert.False(h.t, h.t.Failed(), "step %d", step)
}
