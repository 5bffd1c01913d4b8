package ledger

import (
	"context"
	"database/sql"
	_ "embed" // for tonight.sql
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed tonight.sql
var tonightSQL string

// The verdicts on a night.
const (
	NightLoaded     = "loaded"     // its run succeeded
	NightFailed     = "failed"     // its run failed, maybe only because of some of its files
	NightUnfinished = "unfinished" // its run is due, running, or to be tried again
	NightMissing    = "missing"    // the schedule has not decided the date, or skipped it
	NightNone       = "none"       // before the first night
)

const (
	maxOpenAlerts = 100
	// maxChanged bounds the rejects that were dealt with and are read to count the open ones.
	maxChanged = 5000
)

// Tonight is the state of the last night, and what needs action.
type Tonight struct {
	Now      time.Time  `json:"now"`
	TimeZone string     `json:"time_zone"`    // of the midnights
	Date     civil.Date `json:"logical_date"` // the last that ended
	Verdict  string     `json:"verdict"`      // loaded, failed, unfinished, missing or none
	Run      *Run       `json:"run"`          // of the date; nil if there is none
	Counts   Counts     `json:"counts"`       // of the run's files
	// Data is the last change of the data: the summaries have it since the same commit. Its
	// number is 0 before the first one.
	Data     audit.Head `json:"data"`
	Next     Next       `json:"next"`
	Verified Verified   `json:"verified"`
	Needs    []Need     `json:"needs"`
}

// Counts add up: read = loaded + duplicate + conflict + rejected.
type Counts struct {
	bun.BaseModel `bun:"alias:counts"`

	Files       int64     `bun:"files" json:"files"`   // loaded
	Failed      int64     `bun:"failed" json:"failed"` // files
	Read        int64     `bun:"read" json:"read"`
	Loaded      int64     `bun:"loaded" json:"loaded"`
	Duplicate   int64     `bun:"duplicate" json:"duplicate"`
	Conflict    int64     `bun:"conflict" json:"conflict"`
	Rejected    int64     `bun:"rejected" json:"rejected"`
	Replaced    int64     `bun:"replaced" json:"replaced"` // those of loaded that took a stored row's place
	TotalAmount money.Sum `bun:"total_amount" json:"total_amount"`
}

// Next is what is due next.
type Next struct {
	Date     civil.Date `json:"logical_date"`
	At       time.Time  `json:"at"`       // the midnight that ends it
	Expected []Expected `json:"expected"` // the sources with a time by which a file is expected, by name
}

// Expected is the next file of a source that has a time for it.
type Expected struct {
	Source string     `json:"source"`
	Date   civil.Date `json:"logical_date"`
	By     time.Time  `json:"by"`
}

// Verified is the last verification that ended; its status is empty before the first one.
type Verified struct {
	At          time.Time `json:"at,omitzero"`
	Status      string    `json:"status"` // clean, drift or failed
	Differences int64     `json:"differences"`
}

// Need is something that a person has to do.
type Need struct {
	Cause    string    `json:"cause"` // of an alert; or rejects, of open rejects of one source and fault
	What     string    `json:"what"`
	NextStep string    `json:"next_step"`
	Since    time.Time `json:"since,omitzero"` // of an alert
	RunID    int64     `json:"run_id,omitempty"`
	Source   string    `json:"source,omitempty"`
	Path     string    `json:"path,omitempty"`
	Fault    string    `json:"fault,omitempty"` // of rejects; conflict is one
}

// CauseRejects is the cause of a [Need] that is not an alert.
const CauseRejects = "rejects"

// OpenGroup counts open rejects of a source by their first fault, where conflict counts as one.
type OpenGroup struct {
	bun.BaseModel `bun:"alias:open_group"`

	Source string `bun:"source"`
	Fault  string `bun:"fault"`
	Rows   int64  `bun:"rows"`
	AtMost bool   `bun:"at_most"` // some of Rows may have been dealt with
	Hint   string `bun:"hint"`    // of the newest file that names a setting; may be empty
}

// Tonight reads the state of the last night as of now, by the midnights of zone. What comes
// from the settings (Next.Expected) is left out.
func (s *Store) Tonight(ctx context.Context, now time.Time, zone *time.Location) (t Tonight, err error) {
	today := civil.Of(now.In(zone))
	t = Tonight{Now: now.UTC(), TimeZone: zone.String(), Date: today - 1, Verdict: NightNone, Needs: []Need{}}
	t.Next = Next{Date: today, At: (today + 1).Start(zone), Expected: []Expected{}}
	if t.Data, err = s.Head(ctx); err != nil {
		return t, err
	}
	if err := s.addNight(ctx, &t); err != nil {
		return t, err
	}
	if t.Verified, err = s.lastVerified(ctx); err != nil {
		return t, err
	}
	return t, s.addNeeds(ctx, &t)
}

func (s *Store) addNight(ctx context.Context, t *Tonight) error {
	runs, err := s.RunsOfDates(ctx, t.Date, t.Date)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		any, err := list[int64](ctx, s.selectAnyNight(), "a run of a date")
		if len(any) > 0 {
			t.Verdict = NightMissing
		}
		return err
	}
	t.Run = &runs[0]
	switch t.Run.Status {
	case StatusSucceeded:
		t.Verdict = NightLoaded
	case StatusFailed:
		t.Verdict = NightFailed
	default:
		t.Verdict = NightUnfinished
	}
	t.Counts, err = s.RunCounts(ctx, t.Run.ID)
	return err
}

func (s *Store) selectAnyNight() *bun.SelectQuery {
	return s.db.NewSelect().TableExpr("etl_runs").Column("id").Where("kind <> ?", KindManual).Limit(1)
}

// RunCounts sums the counts of a run's files.
func (s *Store) RunCounts(ctx context.Context, runID int64) (counts Counts, err error) {
	if err := s.selectNightCounts(runID).Scan(ctx, &counts); err != nil {
		return counts, fmt.Errorf("count the rows of run %d: %w", runID, err)
	}
	return counts, nil
}

func (s *Store) selectNightCounts(runID int64) *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(tonightSQL).Get("night_counts"), runID)
}

func (s *Store) lastVerified(ctx context.Context) (v Verified, err error) {
	var age int64
	err = s.db.QueryRowContext(ctx, sqlfile.Parse(statsSQL).Get("last_verification")).Scan(&v.At, &age, &v.Status, &v.Differences)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return v, fmt.Errorf("read the last verification: %w", err)
	}
	return v, nil
}

func (s *Store) addNeeds(ctx context.Context, t *Tonight) error {
	alerts, err := s.Alerts(ctx, true, 0, maxOpenAlerts)
	if err != nil {
		return err
	}
	for _, a := range alerts {
		if a.Open() {
			t.Needs = append(t.Needs, Need{Cause: a.Cause, What: a.What, NextStep: a.NextStep, Since: a.OpenedAt,
				RunID: a.RunID, Source: a.Source, Path: a.Path})
		}
	}
	groups, err := s.OpenGroups(ctx)
	for _, g := range groups {
		t.Needs = append(t.Needs, g.need())
	}
	return err
}

// need names the setting that decides, where one does.
func (g OpenGroup) need() Need {
	n := Need{Cause: CauseRejects, Source: g.Source, Fault: g.Fault}
	if g.Fault == reject.OutcomeConflict {
		n.What = fmt.Sprintf("%s of source %s: their ids are stored with other values", g.count("conflict"), g.Source)
		n.NextStep = fmt.Sprintf("See both versions: tally rejects --source '%s' --outcome conflict. Decide each: tally settle ID keep|take", g.Source)
		return n
	}
	n.What = fmt.Sprintf("%s of source %s with %s", g.count("row"), g.Source, g.Fault)
	setting, advice := g.Advice()
	if advice != "" {
		n.What += ": " + advice
	}
	filter := fmt.Sprintf("--source '%s' --fault %s", g.Source, g.Fault)
	n.NextStep = fmt.Sprintf("See them: tally rejects %s. Correct one: tally fix ID", filter)
	switch {
	case setting != "" && g.Source == SourceManual:
		n.NextStep = fmt.Sprintf("Read the file again with the setting: tally run --%s VALUE PATH", setting)
	case setting != "":
		n.NextStep = fmt.Sprintf("Set %s for source %s in tally.yaml, then: tally replay %s", setting, g.Source, filter)
	}
	return n
}

// Advice is the setting that would resolve the fault, and how; either may be empty.
func (g OpenGroup) Advice() (setting, advice string) {
	setting, _, _ = strings.Cut(g.Hint, ": ")
	if strings.Contains(setting, " ") { // a hint without one begins with the number of rows
		setting = ""
	}
	_, advice, _ = strings.Cut(g.Hint, ", first line ")
	_, advice, _ = strings.Cut(advice, ": ")
	return setting, advice
}

func (g OpenGroup) count(noun string) string {
	if g.Rows != 1 {
		noun += "s"
	}
	text := fmt.Sprint(g.Rows, " ", noun)
	if g.AtMost {
		text = "up to " + text
	}
	return text
}

// OpenGroups counts the open rejects by source and fault, the most first, 200 groups at most.
// Its cost grows with files that have open rejects, not with rows.
func (s *Store) OpenGroups(ctx context.Context) ([]OpenGroup, error) {
	groups := []OpenGroup{}
	if err := s.selectOpenGroups().Scan(ctx, &groups); err != nil {
		return nil, fmt.Errorf("count the open rejects: %w", err)
	}
	return groups, nil
}

func (s *Store) selectOpenGroups() *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(tonightSQL).Get("open_groups"), maxChanged)
}
