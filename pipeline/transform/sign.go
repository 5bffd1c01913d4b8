package transform

import (
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/pipeline/extract"
)

// cleanAmount reads the amount with its sign, and gives its currency mark, if it has one.
func (c *Cleaner) cleanAmount(rec *extract.Record, row *Row) *markSeen {
	if c.amount == signInAmount {
		cell := rec.Cell(columnAmount)
		if len(cell) == 0 {
			row.Amount, row.Faults = money.Amount{}, row.Faults.With(FaultMissingAmount)
			return nil
		}
		if amount, form := plainAmount(cell); form != notPlain {
			if form&hasPoint != 0 {
				c.found.Evidence[Decimal].First.note(row.Line, cell)
			}
			if !c.takeAmount(row, amount) || form&hasDollar == 0 {
				return nil
			}
			return c.dollar.check(row)
		}
	}
	a := c.noteAmount(rec, columnAmount)
	switch c.amount {
	case signBeside:
		a = c.withMarker(a, rec.Cell(columnSign))
	case debitCredit:
		a = debitOrCredit(a, c.noteAmount(rec, columnSign))
	}
	if a.fault != 0 {
		row.Amount, row.Faults = money.Amount{}, row.Faults.With(a.fault)
		return nil
	}
	if !c.takeAmount(row, a.amount) || a.mark == nil {
		return nil
	}
	return c.markSeen(a.mark).check(row)
}

// takeAmount makes an amount that of the row, if it is in the source's range.
func (c *Cleaner) takeAmount(row *Row, a money.Amount) bool {
	if most := c.maxUnscaled[a.Scale]; a.Unscaled > most || a.Unscaled < -most {
		row.Amount, row.Faults = money.Amount{}, row.Faults.With(FaultAmountOutOfRange)
		return false
	}
	row.Amount = a
	return true
}

// noteAmount reads a cell, and notes what it shows of the decimal sign.
func (c *Cleaner) noteAmount(rec *extract.Record, column int) amountCell {
	a := c.amountIn(rec, column)
	c.found.Evidence.note(Decimal, a.shows, rec.Line, rec.Cell(column))
	return a
}

// amountIn reads a cell. Of two columns a dash by itself leaves one blank.
func (c *Cleaner) amountIn(rec *extract.Record, column int) amountCell {
	a := c.parseAmount(rec.Cell(column))
	if a.fault == FaultInvalidAmount && c.amount == debitCredit && isDash(rec.Cell(column)) {
		a.fault = FaultMissingAmount
	}
	return a
}

// isDash takes a dash or a minus by itself, which stands for nothing.
func isDash(cell []byte) bool {
	switch string(tidy(cell, invisible)) {
	case "-", "\u2010", "–", "—", "\u2212":
		return true
	default:
		return false
	}
}

// amountCell is the cell that has the amount, or its fault.
func (c *Cleaner) amountCell(rec *extract.Record, f Fault) []byte {
	if c.amount == debitCredit {
		debit, credit := c.amountIn(rec, columnAmount), c.amountIn(rec, columnSign)
		if credit.fault != FaultMissingAmount && (debit.fault != f || !debit.isAmount()) {
			return rec.Cell(columnSign)
		}
	}
	return rec.Cell(columnAmount)
}

// withMarker gives an amount the sign of its marker. A minus would be a second one.
func (p *parser) withMarker(a amountCell, marker []byte) amountCell {
	negative, known := p.signOf(marker)
	if a.fault == 0 && (!known || a.amount.Unscaled < 0) {
		a.fault = FaultInvalidSign
	}
	if negative {
		a.amount.Unscaled = -a.amount.Unscaled
	}
	return a
}

func (p *parser) signOf(marker []byte) (negative, known bool) {
	marker = tidy(marker, invisible)
	if negative, known = p.signs[string(marker)]; !known {
		negative, known = p.signs[extract.Marker(string(marker))]
	}
	return negative, known
}

// debitOrCredit is the amount in one of two columns, of which the other one is blank or
// zero. What cannot be read comes first: it may be anything. A minus is a second sign.
func debitOrCredit(debit, credit amountCell) amountCell {
	switch {
	case debit.isUnreadable():
		return debit
	case credit.isUnreadable():
		return credit
	case debit.isAmount() && credit.isAmount(), debit.amount.Unscaled < 0, credit.amount.Unscaled < 0:
		return amountCell{fault: FaultInvalidSign}
	case debit.isAmount() || credit.fault == FaultMissingAmount:
		debit.amount.Unscaled = -debit.amount.Unscaled
		return debit
	default:
		return credit
	}
}

func (a amountCell) isUnreadable() bool {
	return a.fault == FaultInvalidAmount || a.fault == FaultAmountPrecision
}

// isAmount reports whether there is an amount other than zero, or something that is none.
func (a amountCell) isAmount() bool {
	return a.fault != FaultMissingAmount && (a.fault != 0 || a.amount.Unscaled != 0)
}
