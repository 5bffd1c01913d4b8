package load_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/transform"
)

// model is what a database must hold after a history of operations, by a simple program: maps
// of rows, and loops over all of them.
type model struct {
	replace  bool // corrections
	files    map[int64]*modelFile
	stored   map[string]modelRow // by transaction id
	versions []modelVersion
	rejects  map[reject.ID]*modelReject
	chain    []modelEntry
}

type modelFile struct {
	id       int64
	date     int // logical
	name     string
	content  string
	reverted bool
	rows     []modelRow // with values, also those that were not loaded at first, in order of their lines
}

// modelRow is a row of a file, or a state of a transaction.
type modelRow struct {
	id        string
	user      int
	amount    decimal.Decimal
	date      string
	place     reject.ID // file and line
	ambiguous bool      // its date, until a setting decides
	blank     bool      // it has no amount
	from      int       // the entry of the chain that stored it
}

func (r modelRow) same(as modelRow) bool {
	return r.user == as.user && r.amount.Equal(as.amount) && r.date == as.date
}

func (r modelRow) String() string { return fmt.Sprint(r.id, " ", r.user, " ", r.amount, " ", r.date) }

type modelVersion struct {
	modelRow
	to int
}

type modelReject struct {
	modelRow
	state, outcome string
	kept           reject.ID
	change         int       // the last one
	fixed          [2]string // amount and date, by hand
}

type modelEntry struct {
	kind   string
	rows   int
	amount decimal.Decimal
}

const (
	rejected  = "rejected"
	duplicate = "duplicate"
	conflict  = "conflict"
	loaded    = "loaded"
)

func newModel(corrections string) *model {
	return &model{replace: corrections == transform.CorrectionsReplace, files: map[int64]*modelFile{}, stored: map[string]modelRow{}, rejects: map[reject.ID]*modelReject{}}
}

// commit does something as the next entry of the chain.
func (m *model) commit(kind string, do func(change int)) {
	rows, amount := m.total()
	do(len(m.chain) + 1)
	rowsNow, amountNow := m.total()
	m.chain = append(m.chain, modelEntry{kind, rowsNow - rows, amountNow.Sub(amount)})
}

func (m *model) total() (rows int, amount decimal.Decimal) {
	for _, row := range m.stored {
		amount = amount.Add(row.amount)
	}
	return len(m.stored), amount
}

// load loads a file.
func (m *model) load(f *modelFile) {
	m.files[f.id] = f
	m.commit("load", func(change int) {
		var valid []modelRow
		for _, row := range f.rows {
			if row.place.FileID = f.id; row.ambiguous || row.blank {
				m.rejects[row.place] = &modelReject{modelRow: row, state: "open", outcome: rejected}
			} else {
				valid = append(valid, row)
			}
		}
		for place, lost := range m.store(f, valid, change, false) {
			if lost.outcome != loaded {
				m.rejects[place] = &modelReject{modelRow: lost.row, state: "open", outcome: lost.outcome, kept: lost.kept}
			}
		}
	})
}

// fate is what became of a valid row.
type fate struct {
	row     modelRow
	outcome string
	kept    reject.ID
}

// store decides on valid rows of a file, and stores those that are accepted.
func (m *model) store(f *modelFile, rows []modelRow, change int, takes bool) map[reject.ID]fate {
	fates, first := map[reject.ID]fate{}, map[string]modelRow{}
	for _, row := range rows {
		row.from = change
		before, known := m.stored[row.id]
		leader, again := first[row.id]
		replaces := known && (takes || m.replace && m.arrivesLater(f, before)) && !row.same(before)
		if !again && (!known || replaces) {
			if known {
				m.versions = append(m.versions, modelVersion{before, change})
			}
			m.stored[row.id], first[row.id] = row, row
			fates[row.place] = fate{row: row, outcome: loaded}
			continue
		}
		if !again {
			first[row.id], leader = before, before // what the id has kept
		}
		outcome := conflict
		if row.same(leader) {
			outcome = duplicate
		}
		fates[row.place] = fate{row, outcome, leader.place}
	}
	return fates
}

// arrivesLater reports whether a file came no earlier than a stored row.
func (m *model) arrivesLater(f *modelFile, stored modelRow) bool {
	of := m.files[stored.place.FileID]
	return cmp.Or(cmp.Compare(of.date, f.date), cmp.Compare(of.id, f.id)) <= 0
}

// again reads rejects again, which pass now, and gives them a state. Those of several files
// go in the order of the files.
func (m *model) again(ids []reject.ID, state string, change int, takes bool) {
	for len(ids) > 0 {
		n := slices.IndexFunc(ids, func(id reject.ID) bool { return id.FileID != ids[0].FileID })
		if n < 0 {
			n = len(ids)
		}
		var rows []modelRow
		for _, id := range ids[:n] {
			rows = append(rows, m.rejects[id].modelRow)
		}
		for place, fate := range m.store(m.files[ids[0].FileID], rows, change, takes) {
			r := m.rejects[place]
			r.outcome, r.kept, r.change, r.state = fate.outcome, fate.kept, change, state
			if fate.outcome == conflict {
				r.state = "open"
			}
		}
		ids = ids[n:]
	}
}

// replay reads rejects again; those without an amount do not pass.
func (m *model) replay(ids []reject.ID) {
	ids = slices.DeleteFunc(ids, func(id reject.ID) bool { return m.rejects[id].blank })
	if len(ids) > 0 {
		m.commit("replay", func(change int) { m.again(ids, "replayed", change, false) })
	}
}

// fix corrects amount and date, and loads the row.
func (m *model) fix(id reject.ID, amount, date string) {
	r := m.rejects[id]
	repeats := r.fixed == [2]string{amount, date}
	r.fixed = [2]string{amount, date}
	r.amount, r.date, r.blank, r.ambiguous = decimal.RequireFromString(amount), date, false, false
	if repeats && m.stillConflicts(r) {
		return // it was fixed so before
	}
	m.commit("fix", func(change int) { m.again([]reject.ID{id}, "fixed", change, false) })
}

// stillConflicts reports whether a row would not be stored if it were decided on now.
func (m *model) stillConflicts(r *modelReject) bool {
	before, known := m.stored[r.id]
	replaces := known && m.replace && m.arrivesLater(m.files[r.place.FileID], before)
	return known && !replaces && !r.same(before)
}

func (m *model) take(id reject.ID) {
	m.commit("settle", func(change int) { m.again([]reject.ID{id}, "settled", change, true) })
}

// close closes rejects without loading them.
func (m *model) close(kind, state string, ids ...reject.ID) {
	m.commit(kind, func(change int) {
		for _, id := range ids {
			m.rejects[id].state, m.rejects[id].change = state, change
		}
	})
}

// revert takes files out: former states come back, and rows that had lost take part again.
func (m *model) revert(files ...int64) {
	m.commit("revert", func(change int) {
		for _, file := range files {
			m.files[file].reverted = true
		}
		for _, id := range slices.Sorted(maps.Keys(m.stored)) {
			row := m.stored[id]
			if !slices.Contains(files, row.place.FileID) {
				continue
			}
			m.versions = append(m.versions, modelVersion{row, change})
			delete(m.stored, id)
			if former, found := m.former(id); found {
				former.from = change
				m.stored[id] = former
			}
		}
		m.again(m.losers(files), "replayed", change, false)
	})
}

// former is the newest former state of an id whose file is not reverted.
func (m *model) former(id string) (row modelRow, found bool) {
	newest := modelVersion{}
	for _, v := range m.versions {
		order := cmp.Or(cmp.Compare(v.to, newest.to), cmp.Compare(v.place.FileID, newest.place.FileID), cmp.Compare(v.place.Line, newest.place.Line))
		if v.id == id && !m.files[v.place.FileID].reverted && order > 0 {
			newest, found = v, true
		}
	}
	return newest.modelRow, found
}

// losers are the rows of other files that had lost against those of files.
func (m *model) losers(files []int64) []reject.ID {
	return m.selected(func(r *modelReject) bool {
		return slices.Contains(files, r.kept.FileID) && (r.outcome == duplicate || r.outcome == conflict) && r.state != "settled" && r.state != "discarded"
	})
}

// open are the open rejects with an outcome.
func (m *model) open(outcome string) []reject.ID {
	return m.selected(func(r *modelReject) bool { return r.state == "open" && r.outcome == outcome })
}

// selected are rejects of files that are loaded, in their order.
func (m *model) selected(by func(*modelReject) bool) []reject.ID {
	return m.selectedOfAll(func(id reject.ID, r *modelReject) bool { return !m.files[id.FileID].reverted && by(r) })
}

func (m *model) selectedOfAll(by func(reject.ID, *modelReject) bool) (ids []reject.ID) {
	for id, r := range m.rejects {
		if by(id, r) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, byPlace)
	return ids
}

// declared are the rows that the files which are left say, if no one decided on rejects: of
// each id that of the first file, or of the last one by logical date and file.
func (m *model) declared() string {
	want := map[string]modelRow{}
	for _, id := range slices.Sorted(maps.Keys(m.files)) {
		f := m.files[id]
		own := map[string]bool{}
		for _, row := range f.rows {
			row.place.FileID = id
			if f.reverted || row.ambiguous || row.blank || own[row.id] {
				continue
			}
			own[row.id] = true
			if before, found := want[row.id]; !found || m.replace && m.arrivesLater(f, before) {
				want[row.id] = row
			}
		}
	}
	return lines(maps.Values(want))
}

// lines are texts, sorted.
func lines[T fmt.Stringer](values func(func(T) bool)) string {
	var list []string
	for v := range values {
		list = append(list, v.String())
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}
