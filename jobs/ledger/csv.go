package ledger

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// CSVHead is the start of a list of rejects as CSV: a byte-order mark, without which
// spreadsheets take the text for another encoding, and the names of the columns.
const CSVHead = "\uFEFF" + `"id","file_id","path","source","logical_date","line","state","outcome","faults","column","cell","raw","hints",` +
	`"transaction_id","user_id","amount","transaction_date",` +
	`"stored_user_id","stored_amount","stored_date","stored_file_id","stored_path","stored_line"` + "\n"

// WriteCSV writes rejects as rows of CSV. Each cell is quoted, and one that a spreadsheet
// would take for a formula starts with an apostrophe (OWASP, CSV injection).
func WriteCSV(w io.Writer, rejects []ListedReject) error {
	out := bufio.NewWriter(w)
	for i := range rejects {
		for n, cell := range rejects[i].csv() {
			if n > 0 {
				_ = out.WriteByte(',') // Flush returns its error
			}
			_, _ = out.WriteString(csvCell(cell))
		}
		_ = out.WriteByte('\n')
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

func csvCell(text string) string {
	if text != "" && strings.Contains("=+-@\t\r", text[:1]) {
		text = "'" + text
	}
	return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
}

func (r *ListedReject) csv() []string {
	cells := []string{
		r.ID, fmt.Sprint(r.FileID), r.Path, r.Source, r.LogicalDate.String(), fmt.Sprint(r.Line), r.State, r.Outcome, strings.Join(r.Faults, " "),
	}
	cell := FaultyCell{}
	if r.Cell != nil {
		cell = *r.Cell
	}
	cells = append(cells, cell.Column, cell.Text, r.Raw, strings.Join(r.Hints, "\n"))
	values := []string{r.TransactionID, "", "", ""}
	if v := r.Values; v != nil {
		values = []string{v.TransactionID, fmt.Sprint(v.UserID), v.Amount.String(), v.Date.String()}
	}
	stored := make([]string, 6)
	if s := r.Stored; s != nil {
		stored = []string{fmt.Sprint(s.UserID), s.Amount.String(), s.Date.String(), fmt.Sprint(s.FileID), s.Path, fmt.Sprint(s.Line)}
	}
	return append(append(cells, values...), stored...)
}
