package load_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// rowsOf is a file of one user's rows: id, amount and date, in this order.
func rowsOf(rows ...string) string {
	var b strings.Builder
	b.WriteString("transaction_id;user_id;amount;transaction_date\n")
	for _, row := range rows {
		id, rest, _ := strings.Cut(row, " ")
		amount, date, _ := strings.Cut(rest, " ")
		fmt.Fprintf(&b, "%s;7;%s;%s\n", id, amount, date)
	}
	return b.String()
}

func (f *fixture) stored() string {
	f.t.Helper()
	return one[string](f, `SELECT coalesce(string_agg(concat_ws(' ', transaction_id, amount, transaction_date), ', ' ORDER BY transaction_id), '') FROM transactions`)
}

// learning asks for a file of a source whose files have conventions in common.
func (f *fixture) learning(name, content string, again bool) load.Result {
	f.t.Helper()
	request := f.request(f.write(name, content))
	request.Learns, request.Again = true, again
	result, err := f.loader.Load(f.t.Context(), request)
	require.NoError(f.t, err)
	return result
}

// What a file shows holds for all of it, also for rows before the proof.
func TestConventionsOfAFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	result := f.load("a.csv", rowsOf("A 1.250 03/04/2024", "B 75,30 24/10/2024", "C 2 05/05/2024"))
	assert.Equal(t, "A 1250 2024-04-03, B 75.3 2024-10-24, C 2 2024-05-05", f.stored())
	assert.Empty(t, result.Hints)
	assert.Empty(t, result.Warnings)
	assert.Equal(t, "dmy file 3 comma file 1", one[string](f, `SELECT concat_ws(' ', conventions #>> '{slash,choice}', conventions #>> '{slash,origin}',
		conventions #>> '{slash,second,line}', conventions #>> '{decimal,choice}', conventions #>> '{decimal,origin}', conventions #>> '{decimal,ambiguous,cells}') FROM etl_files`))
	f.verify()
}

// What nothing decides is rejected, with the setting that would decide it and a cell in
// both readings: in the result, and with the row.
func TestAmbiguousValuesNameTheirSetting(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	result := f.load("a.csv", rowsOf("A 5 03/04/2024", "B 5 2024-01-02", "C 1.250 2024-01-02", "D 5 2024-01-02"))
	assert.Equal(t, "B 5 2024-01-02, D 5 2024-01-02", f.stored())
	require.Len(t, result.Hints, 2)
	assert.Contains(t, result.Hints[0], "slash: 1 row with ambiguous_date, first line 2: 03/04/2024 is 2024-03-04 ")
	assert.Contains(t, result.Hints[1], "decimal: 1 row with ambiguous_amount, first line 4: 1.250 is 1.25 ")
	assert.Equal(t, fmt.Sprint(result.Hints), one[string](f, "SELECT '[' || array_to_string(hints, ' ') || ']' FROM etl_files"))
	hint := one[string](f, "SELECT hints[1] FROM etl_rejects WHERE line = 2")
	assert.Contains(t, hint, "slash: 03/04/2024 is 2024-03-04 ")
	assert.Contains(t, hint, "2024-04-03")
}

// What a source's loaded files have proven is used for its next file, and for no other
// source; a file that fails proves nothing.
func TestConventionsOfASource(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "0"
	failed := f.learning("failed.csv", rowsOf("X 5 10/24/2024", "Y 5 never"), false)
	require.Equal(t, load.StatusFailed, failed.Status)
	f.rules.RejectLimit = ""
	first := f.learning("1.csv", rowsOf("A 12,50 24/10/2024"), false)
	second := f.learning("2.csv", rowsOf("B 1.250 03/04/2024"), false)
	assert.Equal(t, load.StatusLoaded, second.Status, second)
	assert.Equal(t, "A 12.5 2024-10-24, B 1250 2024-04-03", f.stored())
	assert.Equal(t, fmt.Sprintf("decimal comma %[1]d 2, slash dmy %[1]d 2", first.FileID),
		one[string](f, "SELECT string_agg(concat_ws(' ', convention, value, file_id, line), ', ' ORDER BY convention) FROM etl_conventions WHERE source = 'test'"))

	request := f.request(f.write("other.csv", rowsOf("C 1.250 03/04/2024")))
	request.Source, request.Learns = "other", true
	other, err := f.loader.Load(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, load.StatusFailed, other.Status)
	unnamed := f.load("unnamed.csv", rowsOf("D 1.251 03/04/2024"))
	assert.Equal(t, load.StatusFailed, unnamed.Status)
}

// A file that contradicts what earlier ones have proven has its ambiguous values
// rejected, and so have all files after it until the source says what holds.
func TestContradictionsOfASource(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.learning("1.csv", rowsOf("A 5 24/10/2024"), false)
	second := f.learning("2.csv", rowsOf("B 5 10/24/2024", "C 5 03/04/2024"), false)
	assert.Equal(t, map[string]int64{"ambiguous_date": 1}, second.Faults)
	require.Len(t, second.Warnings, 1)
	assert.Contains(t, second.Warnings[0], "slash: ")
	assert.Contains(t, second.Warnings[0], "1.csv proves dmy (line 2), and line 2 has \"10/24/2024\"")
	third := f.learning("3.csv", rowsOf("D 5 03/04/2024"), false)
	assert.Equal(t, load.StatusFailed, third.Status)
	f.rules.Slash = "mdy"
	fourth := f.learning("4.csv", rowsOf("D 5 03/04/2024"), false)
	assert.Equal(t, load.StatusLoaded, fourth.Status)
	fifth := f.learning("5.csv", rowsOf("E 5 24/10/2024", "F 5 03/05/2024"), false)
	assert.Equal(t, map[string]int64{"ambiguous_date": 1}, fifth.Faults)
	f.rules.Trust = true
	f.learning("6.csv", rowsOf("E2 5 24/10/2024", "F 5 03/05/2024"), false)
	assert.Equal(t, "A 5 2024-10-24, B 5 2024-10-24, D 5 2024-03-04, E 5 2024-10-24, E2 5 2024-10-24, F 5 2024-03-05", f.stored())
	assert.Equal(t, "true", one[string](f, "SELECT rules ->> 'trust_rules' FROM etl_files ORDER BY id DESC LIMIT 1"))
}

// Content is known only if it would be read in the same way. Read again, its stored rows
// are duplicates, and rows that were rejected may load.
func TestReadAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	content := rowsOf("A 5 03/04/2024", "B 5 2024-01-02")
	first := f.learning("a.csv", content, false)
	assert.EqualValues(t, 1, first.Rejected)
	assert.Equal(t, load.StatusUnchanged, f.learning("b.csv", content, false).Status)
	f.learning("proof.csv", rowsOf("P 5 24/10/2024"), false)
	assert.Equal(t, load.StatusUnchanged, f.learning("b.csv", content, false).Status, "reading it again was not requested")
	again := f.learning("b.csv", content, true)
	assert.Equal(t, load.StatusLoaded, again.Status)
	assert.EqualValues(t, 1, again.Loaded)
	assert.EqualValues(t, 1, again.Duplicate)
	assert.Equal(t, load.StatusUnchanged, f.learning("b.csv", content, true).Status)
	assert.Equal(t, "A 5 2024-04-03, B 5 2024-01-02, P 5 2024-10-24", f.stored())

	f.rules.Slash = "dmy"
	other := f.learning("b.csv", content, false)
	assert.Equal(t, "loaded 0 2", fmt.Sprint(other.Status, " ", other.Loaded, " ", other.Duplicate), "by other rules")
	f.exec("ALTER TABLE etl_files DISABLE TRIGGER append_only; UPDATE etl_files SET reading = 1; ALTER TABLE etl_files ENABLE TRIGGER append_only")
	other = f.learning("b.csv", content, false)
	assert.Equal(t, "loaded 0 2", fmt.Sprint(other.Status, " ", other.Loaded, " ", other.Duplicate), "by an earlier version of the program")
	f.verify()
}

// Where corrections replace rows, content that comes back takes its place again. A file
// that merely lies where it was loaded from does not.
func TestContentThatComesBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.Corrections = transform.CorrectionsReplace
	a, b := rowsOf("T 1 2024-01-02", "U 5 2024-01-02"), rowsOf("T 2 2024-01-02")
	f.learning("a.csv", a, false)
	f.learning("b.csv", b, false)
	assert.Equal(t, load.StatusUnchanged, f.learning("a.csv", a, false).Status, "it has not moved")
	assert.Equal(t, "T 2 2024-01-02, U 5 2024-01-02", f.stored())
	back := f.learning("c.csv", a, false)
	assert.Equal(t, "loaded 1 1", fmt.Sprint(back.Status, " ", back.Loaded, " ", back.Duplicate))
	assert.Equal(t, "T 1 2024-01-02, U 5 2024-01-02", f.stored())
	assert.Equal(t, load.StatusUnchanged, f.learning("b.csv", b, false).Status)
	asked := f.learning("b.csv", b, true)
	assert.Equal(t, load.StatusLoaded, asked.Status)
	assert.Equal(t, "T 2 2024-01-02, U 5 2024-01-02", f.stored())
	f.verify()
}

// What becomes of content that comes back does not depend on corrections of other rows: it is
// known while its rows are stored, and loaded again where they lost their place, or never got it.
func TestContentThatComesBackAmongCorrections(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.Corrections = transform.CorrectionsReplace
	content, late := rowsOf("A 1 2024-01-02", "A 1 2024-01-02"), rowsOf("B 1 2024-01-02", "C 1 2024-01-02", "C 2 2024-01-02")
	f.late("a.csv", content, "2024-01-10")
	f.late("b.csv", rowsOf("B 2 2024-01-02"), "2024-01-12")
	f.late("late.csv", late, "2024-01-11")
	repeated := rowsOf("A 1 2024-01-02", "D 1 2024-01-02")
	f.late("repeated.csv", repeated, "2024-01-13")
	replace := func(id string) {
		f.late(id+"1.csv", rowsOf(id+" 1 2024-01-03"), "2024-01-14")
		f.late(id+"2.csv", rowsOf(id+" 2 2024-01-03"), "2024-01-14")
	}
	replace("X")
	assert.Equal(t, load.StatusUnchanged, f.learning("again.csv", content, true).Status)
	assert.Equal(t, load.StatusUnchanged, f.learning("repeated again.csv", repeated, true).Status)
	assert.Equal(t, load.StatusUnchanged, f.late("late again.csv", late, "2024-01-11").Status, "it would lose again")
	assert.Equal(t, load.StatusLoaded, f.learning("late again 2.csv", late, true).Status)
	assert.Equal(t, "A 1 2024-01-02, B 1 2024-01-02, C 1 2024-01-02, D 1 2024-01-02, X 2 2024-01-03", f.stored())
	replace("A")
	assert.Equal(t, load.StatusLoaded, f.learning("repeated again.csv", repeated, true).Status, "the row that it repeated is gone")
	assert.Equal(t, load.StatusLoaded, f.learning("again.csv", content, true).Status)
	assert.Equal(t, "A 1 2024-01-02, B 1 2024-01-02, C 1 2024-01-02, D 1 2024-01-02, X 2 2024-01-03", f.stored())
	f.holds()
}

// A database has one currency: that of the setting, or of the first mark that is loaded.
func TestOneCurrency(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mixed := f.load("mixed.csv", rowsOf("A USD12 2024-01-02", "B EUR12 2024-01-02"))
	assert.Equal(t, "mixed_currencies", mixed.ErrorCode)
	assert.Contains(t, mixed.Error, `"USD" (line 2), "EUR" (line 3)`)
	assert.Contains(t, mixed.Error, "currency: EUR")
	f.load("dollars.csv", rowsOf("A $12 2024-01-02", "B 12 2024-01-02"))
	f.load("canadian.csv", rowsOf("C CA$12 2024-01-02"))
	other := f.load("other.csv", rowsOf("D USD12 2024-01-02", "E $12 2024-01-02", "F 1 2024-01-02"))
	assert.Equal(t, map[string]int64{"other_currency": 1}, other.Faults)
	require.Len(t, other.Hints, 1)
	assert.Contains(t, other.Hints[0], "amounts are loaded in CAD")
	f.rules.Currency = "EUR"
	assert.Equal(t, "mixed_currencies", f.load("euro.csv", rowsOf("G 12 2024-01-02")).ErrorCode)
	assert.Equal(t, "A B C E F", one[string](f, "SELECT string_agg(transaction_id, ' ' ORDER BY transaction_id) FROM transactions"))
}

// late asks for a file of an earlier logical date than the others.
func (f *fixture) late(name, content, date string) load.Result {
	f.t.Helper()
	var run int64
	require.NoError(f.t, f.pool.QueryRow(f.t.Context(), `INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', $1, 'test') RETURNING id`, date).Scan(&run))
	f.exec(`INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES ($1, 1, 'test', 'test')`, run)
	request := f.request(f.write(name, content))
	request.RunID, request.LogicalDate = run, civil.MustParse(date)
	result, err := f.loader.Load(f.t.Context(), request)
	require.NoError(f.t, err)
	return result
}

// Which row wins is decided by logical date and file, and not by what is loaded last.
func TestOlderDatesReplaceNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.Corrections = transform.CorrectionsReplace
	f.late("b.csv", rowsOf("T 2 2024-01-02"), "2024-01-11")
	older := f.late("a.csv", rowsOf("T 1 2024-01-02"), "2024-01-10")
	assert.Equal(t, "0 1", fmt.Sprint(older.Loaded, " ", older.Conflict))
	assert.Equal(t, "T 2 2024-01-02", f.stored())
	f.late("c.csv", rowsOf("T 3 2024-01-02"), "2024-01-11")
	assert.Equal(t, "T 3 2024-01-02", f.stored(), "on one date the later file wins")
	f.verify()
}

// Content that is only read again, by other settings or another version of the program,
// keeps its place among the files that came after it.
func TestReadingAgainReplacesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.Corrections = transform.CorrectionsReplace
	old := rowsOf("T 1 2024-01-02", "U 1 03/04/2024", "V 1 2024-01-02")
	f.late("z.csv", old, "2024-01-10")
	f.late("copy.csv", old, "2024-01-10")
	f.late("a.csv", rowsOf("T 2 2024-01-02"), "2024-01-11")
	for _, name := range []string{"z.csv", "copy.csv"} {
		assert.Equal(t, load.StatusUnchanged, f.late(name, old, "2024-01-12").Status, "nothing has come")
	}
	f.rules.Slash = "dmy"
	again := f.late("z.csv", old, "2024-01-12")
	assert.Equal(t, "1 1 1", fmt.Sprint(again.Loaded, " ", again.Duplicate, " ", again.Conflict))
	assert.Equal(t, "T 2 2024-01-02, U 1 2024-04-03, V 1 2024-01-02", f.stored())
	f.rules.RejectLimit = "40%"
	f.late("z.csv", old, "2024-01-13")
	assert.Equal(t, "T 2 2024-01-02, U 1 2024-04-03, V 1 2024-01-02", f.stored())
	f.late("a.csv", rowsOf("T 3 2024-01-02"), "2024-01-14")
	assert.Equal(t, "T 3 2024-01-02, U 1 2024-04-03, V 1 2024-01-02", f.stored())
	f.verify()
}

// What one source could not read, another one may.
func TestSameContentOfAnotherSource(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	content := rowsOf("T 1 05/06/2024", "U 1 2024-06-01")
	f.learning("a.csv", content, false)
	request := f.request(f.write("proof.csv", rowsOf("P 1 24/06/2024")))
	request.Source, request.Learns = "other", true
	_, err := f.loader.Load(t.Context(), request)
	require.NoError(t, err)
	for range 2 {
		request.Path = at(t, f.write("b.csv", content))
		_, err = f.loader.Load(t.Context(), request)
		require.NoError(t, err)
		assert.Equal(t, load.StatusUnchanged, f.learning("a.csv", content, false).Status)
	}
	assert.Equal(t, "P 1 2024-06-24, T 1 2024-06-05, U 1 2024-06-01", f.stored())
	assert.EqualValues(t, 3, one[int64](f, "SELECT count(*) FROM etl_files"))
}

// The default window moves with the logical date; by hand, what lay behind its end is
// read again.
func TestWindowOfALaterDate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	content := rowsOf("T 1 2031-06-01", "U 1 2024-06-01")
	assert.Equal(t, map[string]int64{"date_out_of_window": 1}, f.learning("a.csv", content, false).Faults)
	request := f.request(f.write("a.csv", content))
	request.LogicalDate, request.Again = civil.MustParse("2031-01-01"), true
	result, err := f.loader.Load(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, "1 1", fmt.Sprint(result.Loaded, " ", result.Duplicate))
}

// Only the marks of rows that are loaded say which currency the database has.
func TestMarksOfDuplicatesDecideNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("a.csv", rowsOf("A 5 2024-01-02"))
	f.load("b.csv", rowsOf("A €6 2024-01-02"))
	assert.EqualValues(t, 1, f.load("c.csv", rowsOf("B USD6 2024-01-02")).Loaded)
}
