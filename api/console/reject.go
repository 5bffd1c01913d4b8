package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	rejectsShown = 20
	rawShown     = 2000 // bytes of a row in a list
	maxReason    = 1000 // bytes
	rejectsPath  = "/console/rejects"
	conflictWord = "conflict"
)

// MaxChange bounds the rows of one change, so that it ends within the time of a request. The
// command line has no bound.
const MaxChange = 100_000

// rejectsPage lists rejects by their fault.
type rejectsPage struct {
	Groups  []rejectGroup
	Filter  rejectFilter
	Rejects []shownReject
	Next    string // the path of the next page, if there is one
}

type rejectGroup struct {
	ledger.OpenGroup
	Setting, Advice string
	Link            string
}

// rejectFilter is what a page shows, as a query.
type rejectFilter struct {
	Source, Fault, State string
	File                 int64
}

func (f rejectFilter) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"source": f.Source, "fault": f.Fault, "state": f.State} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if f.File != 0 {
		v.Set("file", fmt.Sprint(f.File))
	}
	return v
}

// path is that of the page. A template would escape a query that it is given without its path.
func (f rejectFilter) path() string { return rejectsPath + "?" + f.values().Encode() }

// Set reports whether the filter selects less than everything that is open.
func (f rejectFilter) Set() bool { return f != rejectFilter{} }

// Open reports whether it selects open ones.
func (f rejectFilter) Open() bool { return f.State == "" }

// Conflicts reports whether it selects conflicts, which are not replayed.
func (f rejectFilter) Conflicts() bool { return f.Fault == conflictWord }

func (f rejectFilter) of() ledger.RejectFilter {
	filter := ledger.RejectFilter{FileID: f.File, Source: f.Source, Fault: f.Fault, State: f.State}
	if f.Conflicts() {
		filter.Fault, filter.Outcome = "", reject.OutcomeConflict
	}
	return filter
}

// shownReject is a reject with its text in three parts.
type shownReject struct {
	ledger.ListedReject
	Before, Marked, After string
	IsMarked, Cut         bool
}

func newShownReject(r ledger.ListedReject) shownReject {
	s := shownReject{ListedReject: r, Before: r.Raw}
	if r.Cell != nil && r.Cell.Offset >= 0 && r.Cell.Offset+len(r.Cell.Text) <= len(r.Raw) {
		at := r.Cell.Offset
		s.Before, s.Marked, s.After, s.IsMarked = r.Raw[:at], r.Raw[at:at+len(r.Cell.Text)], r.Raw[at+len(r.Cell.Text):], true
	}
	for _, part := range []*string{&s.Before, &s.Marked, &s.After} {
		if len(*part) > rawShown {
			*part, s.Cut = strings.ToValidUTF8((*part)[:rawShown], "")+"…", true
		}
	}
	return s
}

// Name is the first fault of a reject, or its outcome.
func (s shownReject) Name() string {
	if len(s.Faults) > 0 && s.Outcome == reject.OutcomeRejected {
		return s.Faults[0]
	}
	return s.Outcome
}

// IsOpen reports whether something can be done about it.
func (s shownReject) IsOpen() bool {
	return s.State == reject.StateOpen && s.Outcome != reject.OutcomeDuplicate && s.FileStatus != "failed" && !s.Reverted
}

// LoadedID is the id of the transaction that the row was loaded as, if it was.
func (s shownReject) LoadedID() string {
	switch {
	case s.Outcome != reject.OutcomeLoaded:
		return ""
	case s.Values != nil:
		return s.Values.TransactionID
	default:
		return s.TransactionID
	}
}

// Compared are the values of a conflict, each in both versions.
func (s shownReject) Compared(currency string) []comparedValue {
	if s.Values == nil || s.Stored == nil {
		return nil
	}
	v, o := s.Values, s.Stored
	return []comparedValue{
		{"user_id", fmt.Sprint(o.UserID), fmt.Sprint(v.UserID)}, {"amount", amountText(o.Amount, currency), amountText(v.Amount, currency)},
		{"transaction_date", o.Date.String(), v.Date.String()},
	}
}

type comparedValue struct{ Name, Stored, New string }

// Differs reports whether the versions have other values.
func (c comparedValue) Differs() bool { return c.Stored != c.New }

func readFilter(r *http.Request) (f rejectFilter) {
	f = rejectFilter{Source: text(r, "source", 200), Fault: text(r, "fault", 50), State: text(r, "state", 20), File: idOf(r.FormValue("file"))}
	switch f.State {
	case reject.StateReplayed, reject.StateFixed, reject.StateSettled, reject.StateDiscarded:
	default:
		f.State = ""
	}
	return f
}

// text is a field of a form or a query, cut to a length; what is not UTF-8 counts as empty.
func text(r *http.Request, name string, limit int) string {
	value := strings.TrimSpace(r.FormValue(name))
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		return ""
	}
	return strings.ToValidUTF8(value[:min(len(value), limit)], "")
}

func (c *console) rejects(w http.ResponseWriter, r *http.Request) error {
	p := rejectsPage{Filter: readFilter(r)}
	groups, err := c.Ledger.OpenGroups(r.Context())
	if err != nil {
		return err
	}
	for _, g := range groups {
		setting, advice := g.Advice()
		p.Groups = append(p.Groups, rejectGroup{g, setting, advice, rejectFilter{Source: g.Source, Fault: g.Fault}.path()})
	}
	if err := c.readRejects(r.Context(), &p, r.FormValue("after")); err != nil {
		return err
	}
	return c.show(w, r, "rejects.html", "Rejects and conflicts", rejectsPath, p)
}

func (c *console) readRejects(ctx context.Context, p *rejectsPage, after string) error {
	filter := p.Filter.of()
	filter.After, _ = reject.ParseID(after) // without one: from the first
	filter.Limit = rejectsShown + 1
	rejects, err := c.Changes.Rejects(ctx, filter)
	for i, reject := range rejects {
		if i == rejectsShown {
			next := p.Filter.values()
			next.Set("after", rejects[i-1].ID)
			p.Next = rejectsPath + "?" + next.Encode()
			break
		}
		p.Rejects = append(p.Rejects, newShownReject(reject))
	}
	return err
}

func (c *console) reject(w http.ResponseWriter, r *http.Request) error {
	id, err := reject.ParseID(r.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrRejectNotFound, err)
	}
	reject, err := c.Changes.Reject(r.Context(), id)
	if err != nil {
		return err
	}
	return c.show(w, r, "reject.html", "Reject "+reject.ID, rejectsPath, newShownReject(reject))
}

// by is who makes a change, with the form's reason.
func (c *console) by(r *http.Request) audit.By {
	return audit.By{Actor: c.Viewer(r).Name, Reason: text(r, "reason", maxReason)}
}

// decide carries a change of a reject out, and leads back to its page.
func (c *console) decide(w http.ResponseWriter, r *http.Request) error {
	id, err := reject.ParseID(r.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrRejectNotFound, err)
	}
	done := ""
	var after ledger.ListedReject
	by, change := c.by(r), r.PathValue("change")
	if by.Reason == "" && (change == "fix" || change == "discard") {
		return &invalidError{"A reason is missing: it is kept in the audit chain."}
	}
	switch change {
	case "fix":
		after, err = c.Changes.Fix(r.Context(), ledger.FixRequest{
			ID: id, TransactionID: text(r, "transaction_id", 200), UserID: text(r, "user_id", 20),
			Amount: text(r, "amount", 40), Date: text(r, "date", 10), By: by,
		})
		if done = "fixed"; after.Outcome == reject.OutcomeConflict {
			done = "conflict"
		}
	case "keep":
		_, err = c.Changes.Settle(r.Context(), id, false, by)
		done = "kept"
	case "take":
		_, err = c.Changes.Settle(r.Context(), id, true, by)
		done = "taken"
	case "discard":
		_, err = c.Changes.Discard(r.Context(), id, by)
		done = "discarded"
	default:
		err = ledger.ErrRejectNotFound
	}
	if errors.Is(err, ledger.ErrInvalidFix) {
		return &invalidError{err.Error()}
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, rejectsPath+"/"+id.String()+"?done="+done, http.StatusSeeOther)
	return nil
}

// replayPage is what a replay does, or did.
type replayPage struct {
	Filter rejectFilter
	ID     string // of one reject, instead of a filter
	Result reject.ReplayResult
	Done   bool
	Back   string
	Loaded string // the path to the rows that were loaded
}

// Counts is the result as those of a bar.
func (p replayPage) Counts() ledger.Counts {
	r := p.Result
	return ledger.Counts{Read: r.Read, Loaded: r.Loaded, Duplicate: r.Duplicate, Conflict: r.Conflict, Rejected: r.Rejected}
}

// replay shows what a replay would do; a second form carries it out.
func (c *console) replay(w http.ResponseWriter, r *http.Request) error {
	p := replayPage{Filter: readFilter(r), ID: text(r, "id", 40), Done: r.FormValue("confirm") == "yes"}
	p.Back = p.Filter.path()
	request := ledger.ReplayRequest{Filter: p.Filter.of(), DryRun: !p.Done, MaxRows: MaxChange, By: c.by(r)}
	if p.ID != "" {
		id, err := reject.ParseID(p.ID)
		if err != nil {
			return fmt.Errorf("%w: %w", ledger.ErrRejectNotFound, err)
		}
		request.IDs, request.Filter = []reject.ID{id}, ledger.RejectFilter{}
		p.Back = rejectsPath + "/" + p.ID
	}
	loaded := p.Filter
	loaded.State = reject.StateReplayed
	p.Loaded = loaded.path()
	var err error
	if p.Result, err = c.Changes.Replay(r.Context(), request); err != nil {
		return err
	}
	return c.show(w, r, "replay.html", "Replay", rejectsPath, p)
}
