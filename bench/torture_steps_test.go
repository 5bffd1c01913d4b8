//go:build unix

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
)

const (
	csvHead     = "transaction_id,user_id,amount,transaction_date\n"
	firstMonth  = 2015 * 12 // of the rows of the first phase; each phase has the next three
	retireEvery = 3         // phases
	bulkEvery   = 4         // phases: a file whose months become partitions of their own
	bulkRows    = 55_000
	usersOfAll  = 30
)

// firstDate is the logical date of the first files.
func firstDate() civil.Date { return civil.MustParse("2024-01-01") }

// command is the command of a step, nil if there is nothing that it could be about. Files
// and rows are named by path and line, and looked up only now, since numbers differ between
// the two databases.
func (s *step) command(ctx context.Context, w *world) ([]string, error) {
	switch s.kind {
	case "load":
		path, err := s.write(w, s.lane, fmt.Sprintf("%04d.csv", s.number), s.rows(s.lane))
		return s.runFile(path), err
	case "again", "reload", "revert":
		return s.ofFile(ctx, w)
	case "fix", "settle", "discard":
		return s.ofReject(ctx, w)
	case "replay":
		return []string{"replay", "--source", s.lane, "--config", w.path("dmy.yaml")}, nil
	case "export":
		return []string{"export", "--to", w.path("lake")}, nil
	case "retire":
		return s.retire(w), nil
	default:
		return []string{s.kind}, nil
	}
}

func (s *step) runFile(path string) []string {
	date := firstDate() + civil.Date(s.random.IntN(s.number+1))
	return []string{"run", path, "--date", date.String(), "--json"}
}

// ofFile is an operation on a file that is loaded: one of the last, or any that was reverted.
func (s *step) ofFile(ctx context.Context, w *world) ([]string, error) {
	state := "NOT"
	if s.kind == "reload" {
		state = ""
	}
	files, err := w.list(ctx, `SELECT concat_ws(' ', id, path) FROM (SELECT DISTINCT ON (path) id, path FROM etl_files
		WHERE source = $1 AND status = 'loaded' ORDER BY path, id DESC) f
		WHERE `+state+` EXISTS (SELECT FROM etl_reverts v WHERE v.file_id = f.id) ORDER BY path DESC LIMIT 8`, s.lane)
	if len(files) == 0 || err != nil {
		return nil, err
	}
	id, path, _ := strings.Cut(files[s.random.IntN(len(files))], " ")
	switch s.kind {
	case "revert":
		return []string{"revert", id, "--reason", s.String()}, nil
	case "again":
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if path, err = s.write(w, s.lane, fmt.Sprintf("%04d-again.csv", s.number), string(content)); err != nil {
			return nil, err
		}
	}
	return s.runFile(path), nil
}

// ofReject is an operation on an open reject.
func (s *step) ofReject(ctx context.Context, w *world) ([]string, error) {
	outcome := "rejected"
	if s.kind == "settle" {
		outcome = "conflict"
	}
	open, err := w.list(ctx, openRejects, s.lane, outcome)
	if len(open) == 0 || err != nil {
		return nil, err
	}
	id := open[s.random.IntN(len(open))]
	switch s.kind {
	case "settle":
		return []string{"settle", id, []string{"keep", "take"}[s.random.IntN(2)], "--reason", s.String()}, nil
	case "discard":
		return []string{"discard", id, "--reason", s.String()}, nil
	}
	return []string{
		"fix", id, "--amount", strconv.Itoa(1 + s.random.IntN(100)), "--date", s.day(s.random.IntN(3)).String(),
		"--user-id", strconv.Itoa(1 + s.random.IntN(usersOfAll)), "--reason", s.String(),
	}, nil
}

// retire takes out the months that no later phase writes to.
func (s *step) retire(w *world) []string {
	month := max(0, s.phase-1)
	if s.phase%retireEvery != retireEvery-1 {
		month = 0 // nothing is that old
	}
	args := []string{"partitions", "retire", "--before", monthAt(month).String()[:7], "--reason", s.String()}
	switch s.phase / retireEvery % 3 {
	case 0:
		return append(args, "--keep-totals", "--export-to", w.path("archive"))
	case 1:
		return append(args, "--drop-totals", "--drop")
	default:
		return append(args, "--keep-totals", "--keep-tables")
	}
}

// monthAt is the first day of a month, counted from that of the first phase.
func monthAt(n int) civil.Date {
	n += firstMonth
	return civil.Of(time.Date(n/12, time.Month(n%12+1), 1, 0, 0, 0, 0, time.UTC))
}

// day is one of the phase's, in its first, second or third month.
func (s *step) day(month int) civil.Date {
	return monthAt(s.phase+month) + civil.Date(s.random.IntN(28))
}

// rows are those of a file: new ones, repeated ones with the same and with other values,
// ambiguous dates and faults.
func (s *step) rows(prefix string) string {
	var b strings.Builder
	b.WriteString(csvHead)
	if s.lane == laneFresh {
		rows := 20
		if s.phase%bulkEvery == bulkEvery-1 {
			rows = bulkRows
		}
		for i := range rows {
			fmt.Fprintf(&b, "%s-%d-%d,%d,%d.25,%s\n", prefix, s.number, i, 1+s.random.IntN(usersOfAll), s.random.IntN(1000), s.day(3))
		}
		return b.String()
	}
	for range 5 + s.random.IntN(40) {
		id := s.random.IntN(40 + 15*s.number)
		variant := max(0, s.random.IntN(5)-2) // mostly the same values for the same id
		v := rand.New(rand.NewPCG(uint64(id), uint64(variant)))
		user, cents, date := strconv.Itoa(1+v.IntN(usersOfAll)), v.IntN(20_000)-5_000, monthAt(s.phase+v.IntN(3))+civil.Date(v.IntN(28))
		amount, day := fmt.Sprintf("%.2f", float64(cents)/100), date.String()
		switch s.random.IntN(20) {
		case 0, 1, 2: // ambiguous until slash is set
			day = time.Date(date.Time().Year(), date.Time().Month(), 1+v.IntN(12), 0, 0, 0, 0, time.UTC).Format("02/01/2006")
		case 3:
			amount = ""
		case 4:
			user = "nobody"
		case 5:
			day += ",more"
		}
		fmt.Fprintf(&b, "%s-%d,%s,%s,%s\n", prefix, id, user, amount, day)
	}
	return b.String()
}

// write writes a file whose writer has finished.
func (*step) write(w *world, folder, name, content string) (string, error) {
	path := w.path(folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return "", err
	}
	longAgo := time.Now().Add(-time.Hour)
	return path, os.Chtimes(path, longAgo, longAgo)
}
