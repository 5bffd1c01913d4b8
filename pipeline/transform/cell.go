package transform

import "github.com/opentax/tally/pipeline/extract"

// FaultyCell is the cell that a fault, by its name, is about, and the name of its column;
// "" if the fault is about the row as a whole, or its cells cannot be told apart.
func (c *Cleaner) FaultyCell(rec *extract.Record, fault string) (column string, cell []byte) {
	if rec.Fault != 0 {
		return "", nil
	}
	for f := Fault(extract.LastFault) + 1; f <= LastFault; f++ {
		if f.String() != fault {
			continue
		}
		switch {
		case f <= FaultDamagedTransactionID, f == FaultOrphanKey:
			return "transaction_id", rec.Cell(columnTransactionID)
		case f <= FaultUserIDOutOfRange:
			return "user_id", rec.Cell(columnUserID)
		case f == FaultInvalidSign && c.amount == signBeside:
			return "amount.sign", rec.Cell(columnSign)
		case f <= FaultOtherCurrency:
			return "amount", c.amountCell(rec, f)
		default:
			return "transaction_date", rec.Cell(columnDate)
		}
	}
	return "", nil
}
