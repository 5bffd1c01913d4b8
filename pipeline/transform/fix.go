package transform

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
)

// Fix has values that a person gives a row, in place of its cells. What is empty is as the
// row has it.
type Fix struct {
	TransactionID string `json:"transaction_id,omitempty"`
	UserID        string `json:"user_id,omitempty"`          // an integer
	Amount        string `json:"amount,omitempty"`           // plain: digits, at most one point, a minus for a negative amount
	Date          string `json:"transaction_date,omitempty"` // YYYY-MM-DD
}

var plainNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// Check names the value that is wrong.
func (f Fix) Check() error {
	if _, faults := cleanID([]byte(f.TransactionID)); f.TransactionID != "" && faults != 0 {
		return fmt.Errorf("transaction id %q: %s", f.TransactionID, faults.First())
	}
	if n, err := strconv.ParseInt(f.UserID, 10, 32); f.UserID != "" && (err != nil || n < 1) {
		return fmt.Errorf("user id %q: want an integer from 1 to 2147483647", f.UserID)
	}
	if a := f.amount(); f.Amount != "" && a.fault != 0 {
		return fmt.Errorf("amount %q: want a number such as -1250.50, of at most 15 digits and 4 decimals", f.Amount)
	}
	if f.Date != "" {
		if _, err := civil.Parse(f.Date); err != nil {
			return fmt.Errorf("date: %w", err)
		}
	}
	return nil
}

func (f Fix) amount() amountCell {
	if !plainNumber.MatchString(f.Amount) {
		return amountCell{fault: FaultInvalidAmount}
	}
	return (&parser{choices: [conventionCount]Choice{Decimal: DecimalPoint}}).parseAmount([]byte(f.Amount))
}

// Over is the fix, with the values of an earlier one where it has none.
func (f Fix) Over(earlier Fix) Fix {
	return Fix{
		TransactionID: cmp.Or(f.TransactionID, earlier.TransactionID), UserID: cmp.Or(f.UserID, earlier.UserID),
		Amount: cmp.Or(f.Amount, earlier.Amount), Date: cmp.Or(f.Date, earlier.Date),
	}
}

// complete reports whether none of the row's cells is needed.
func (f Fix) complete() bool {
	return f.TransactionID != "" && f.UserID != "" && f.Amount != "" && f.Date != ""
}

// CleanFixed makes a row of a record, with the values of a fix in place of its cells. The
// fix was checked.
func (c *Cleaner) CleanFixed(rec *extract.Record, row *Row, fix Fix) {
	if fix == (Fix{}) || rec.Fault != 0 && !fix.complete() {
		c.Clean(rec, row)
		return
	}
	*row = Row{Line: rec.Line, Raw: rec.Raw(), RawLength: rec.Length, Hints: row.Hints[:0]}
	id, user := []byte(fix.TransactionID), []byte(fix.UserID)
	if len(id) == 0 {
		id = rec.Cell(columnTransactionID)
	}
	if len(user) == 0 {
		user = rec.Cell(columnUserID)
	}
	row.ID, row.Faults = cleanID(id)
	var fault Fault
	row.UserID, fault = parseUserID(user)
	row.Faults = row.Faults.With(fault)
	var mark *markSeen
	if fix.Amount == "" {
		mark = c.cleanAmount(rec, row)
	} else {
		row.Amount = fix.amount().amount
	}
	if fix.Date == "" {
		c.cleanDate(rec, row)
	} else {
		row.Date, _ = civil.Parse(fix.Date) // as checked
	}
	if row.Faults == 0 && mark != nil {
		c.noteMark(rec, mark)
	}
}
