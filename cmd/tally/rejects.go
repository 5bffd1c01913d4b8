package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	rejectsLimit = 100 // rejects that are printed unless --limit says more
	rejectsBatch = 200 // rejects that are read at once: the text of one is up to 64 KiB
	rejectWidth  = 100 // characters of a row's text in a list for people, if there is no terminal
	rejectIndent = "      "
)

// rejectFlags select rejects.
type rejectFlags struct {
	File   int64       `placeholder:"N" help:"Only rows of this file."`
	Fault  string      `placeholder:"NAME" help:"Only rows with this fault, such as missing_amount."`
	Source string      `placeholder:"NAME" help:"Only rows of this source's files."`
	Date   *civil.Date `placeholder:"D" help:"Only rows of files of this logical date, YYYY-MM-DD."`
}

func (f rejectFlags) filter() ledger.RejectFilter {
	return ledger.RejectFilter{FileID: f.File, Fault: f.Fault, Source: f.Source, Date: f.Date}
}

type rejectsCmd struct {
	rejectFlags
	State   string `enum:"open,replayed,fixed,settled,discarded" default:"open" help:"What became of them: open, replayed, fixed, settled or discarded."`
	Outcome string `enum:",rejected,conflict,duplicate" default:"" placeholder:"WHAT" help:"Only rejected, conflict or duplicate. Default: rejected and conflict."`
	After   string `placeholder:"ID" help:"Start after this one."`
	Limit   int    `placeholder:"N" help:"How many at most. Default: 100; with --csv all."`
	JSON    bool   `help:"Print one JSON document; its next is for --after." xor:"form"`
	CSV     bool   `name:"csv" help:"Print CSV for a spreadsheet." xor:"form"`
}

// rejectPage is the JSON of a list.
type rejectPage struct {
	Rejects []ledger.ListedReject `json:"rejects"`
	Next    string                `json:"next,omitempty"` // for --after; empty: there are no more
}

func (cmd rejectsCmd) Run(ctx context.Context, env *environment) error {
	f := cmd.filter()
	f.State, f.Outcome = cmd.State, cmd.Outcome
	if cmd.Limit < 0 {
		return usageError{errors.New("--limit: want a number from 1 on")}
	}
	if cmd.After != "" {
		var err error
		if f.After, err = reject.ParseID(cmd.After); err != nil {
			return usageError{fmt.Errorf("--after: %w", err)}
		}
	}
	return env.withService(ctx, func(service *jobs.Service) error {
		switch {
		case cmd.CSV:
			if _, err := io.WriteString(env.stdout, ledger.CSVHead); err != nil {
				return err
			}
			_, err := eachReject(ctx, service, f, cmd.Limit, func(batch []ledger.ListedReject) error { return ledger.WriteCSV(env.stdout, batch) })
			return err
		case cmd.JSON:
			page := rejectPage{Rejects: []ledger.ListedReject{}}
			var err error
			page.Next, err = eachReject(ctx, service, f, orDefault(cmd.Limit), func(batch []ledger.ListedReject) error {
				page.Rejects = append(page.Rejects, batch...)
				return nil
			})
			if err != nil {
				return err
			}
			return writeJSON(env.stdout, page)
		default:
			return cmd.print(ctx, env, service, f)
		}
	})
}

func orDefault(limit int) int {
	if limit == 0 {
		return rejectsLimit
	}
	return limit
}

// eachReject reads rejects in batches, limit 0 meaning all, and returns the id of the last
// one if there are more.
func eachReject(ctx context.Context, service *jobs.Service, f ledger.RejectFilter, limit int, yield func([]ledger.ListedReject) error) (next string, err error) {
	for left := limit; ; {
		f.Limit = rejectsBatch + 1
		if limit > 0 {
			f.Limit = min(f.Limit, left+1)
		}
		batch, err := service.Rejects(ctx, f)
		if err != nil {
			return "", err
		}
		more := len(batch) == f.Limit
		if more {
			batch = batch[:len(batch)-1]
		}
		if err := yield(batch); err != nil || !more {
			return "", err
		}
		last := batch[len(batch)-1]
		if left -= len(batch); limit > 0 && left == 0 {
			return last.ID, nil
		}
		f.After = reject.ID{FileID: last.FileID, Line: last.Line}
	}
}

// print writes the list for people: the file where it changes, then a row and what is known
// of it.
func (cmd rejectsCmd) print(ctx context.Context, env *environment, service *jobs.Service, f ledger.RejectFilter) error {
	file := int64(0)
	next, err := eachReject(ctx, service, f, orDefault(cmd.Limit), func(batch []ledger.ListedReject) error {
		var b strings.Builder
		for i := range batch {
			r := &batch[i]
			if r.FileID != file {
				file = r.FileID
				fmt.Fprintf(&b, "file %d: %s (%s, %s)\n", r.FileID, printable(r.Path), r.Source, r.LogicalDate)
			}
			env.terminal.writeReject(&b, r)
		}
		_, err := io.WriteString(env.stdout, b.String())
		return err
	})
	if err == nil && file == 0 {
		_, err = fmt.Fprintln(env.stdout, "none")
	}
	if err == nil && next != "" {
		_, err = fmt.Fprintf(env.stdout, "There are more: --after %s\n", next)
	}
	return err
}

func (t terminal) writeReject(b *strings.Builder, r *ledger.ListedReject) {
	state := r.Outcome
	if r.State != reject.StateOpen {
		state = r.State + ", " + r.Outcome
	}
	if len(r.Faults) > 0 {
		state += ": " + strings.Join(r.Faults, ", ")
	}
	fmt.Fprintf(b, "  %s  %s\n%s%s\n", t.paint(bold, r.ID), t.paint(colorOf(r.Outcome), state), rejectIndent, t.clipped(r.Raw))
	if r.Cell != nil {
		fmt.Fprintf(b, "%s%s: %q\n", rejectIndent, r.Cell.Column, t.clipped(r.Cell.Text))
	}
	if s := r.Stored; s != nil {
		fmt.Fprintf(b, rejectIndent+"stored: %s, of line %d of %s (file %d)\n", valuesText(&s.RowValues), s.Line, printable(s.Path), s.FileID)
	}
	if v := r.Values; v != nil && r.Outcome == reject.OutcomeConflict {
		fmt.Fprintf(b, rejectIndent+"this:   %s\n", valuesText(v))
	}
	for _, hint := range r.Hints {
		fmt.Fprintf(b, rejectIndent+"hint: %s\n", printable(hint))
	}
}

func valuesText(v *ledger.RowValues) string {
	return fmt.Sprintf("user %d, %s on %s", v.UserID, v.Amount, v.Date)
}

// clipped is the start of a text, printable, which fits behind the indentation.
func (t terminal) clipped(text string) string {
	width := rejectWidth
	if t.width > 0 {
		width = max(t.width-len(rejectIndent), minText)
	}
	if utf8.RuneCountInString(text) > width {
		text = string([]rune(text)[:width-1]) + "…"
	}
	return printable(text)
}

// printable replaces what a terminal could take for a command.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsGraphic(r):
			return '\uFFFD'
		}
		return r
	}, text)
}
