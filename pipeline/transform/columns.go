package transform

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opentax/tally/pipeline/extract"
)

// Places of the columns' cells in a record.
const (
	columnTransactionID = iota
	columnUserID
	columnAmount // of debits, where credits have their own
	columnDate
	columnSign // of sign markers, or of credits; only where the rules name it
)

// Columns are a source's names for the columns, or their positions from 1 on if there is
// no header. Empty ones have our names.
type Columns struct {
	TransactionID   string        `json:"transaction_id,omitempty" yaml:"transaction_id,omitempty"`
	UserID          string        `json:"user_id,omitempty" yaml:"user_id,omitempty"`
	Amount          AmountColumns `json:"amount,omitzero" yaml:"amount,omitempty"`
	TransactionDate string        `json:"transaction_date,omitempty" yaml:"transaction_date,omitempty"`
}

// AmountColumns are one column, one of debits and one of credits, or one beside a column of
// sign markers. In a settings file just a name stands for Value.
type AmountColumns struct {
	Value    string   `json:"value,omitempty" yaml:"value,omitempty"`
	Debit    string   `json:"debit,omitempty" yaml:"debit,omitempty"`       // of amounts that are negative
	Credit   string   `json:"credit,omitempty" yaml:"credit,omitempty"`     // of amounts that are positive
	Sign     string   `json:"sign,omitempty" yaml:"sign,omitempty"`         // of markers
	Negative []string `json:"negative,omitempty" yaml:"negative,omitempty"` // markers of negative amounts
	Positive []string `json:"positive,omitempty" yaml:"positive,omitempty"` // default: what is usual beside the negative ones, as H beside S
}

// UnmarshalYAML takes a name, too, instead of a list of settings.
func (a *AmountColumns) UnmarshalYAML(unmarshal func(any) error) error {
	type whole AmountColumns
	if err := unmarshal((*whole)(a)); err == nil {
		return nil
	} else if nameErr := unmarshal(&a.Value); nameErr != nil {
		return err
	}
	return nil
}

// MarshalYAML writes only a name where there is no more.
func (a AmountColumns) MarshalYAML() (any, error) {
	type whole AmountColumns
	if a.Debit+a.Credit+a.Sign == "" {
		return a.Value, nil
	}
	return whole(a), nil
}

// amountKind is how the amount's sign is written.
type amountKind uint8

const (
	signInAmount amountKind = iota
	signBeside              // in a column of markers
	debitCredit             // in columns of their own
)

func (a AmountColumns) kind() amountKind {
	switch {
	case a.Debit != "":
		return debitCredit
	case a.Sign != "":
		return signBeside
	default:
		return signInAmount
	}
}

// Wanted are the columns that a file must have, in the order of their cells.
func (r Rules) Wanted() []extract.Column {
	c, amount := r.Columns, r.Columns.Amount
	wanted := []extract.Column{
		{Name: "transaction_id", Header: cmp.Or(c.TransactionID, "transaction_id")},
		{Name: "user_id", Header: cmp.Or(c.UserID, "user_id")},
		{Name: "amount", Header: cmp.Or(amount.Value, "amount")},
		{Name: "transaction_date", Header: cmp.Or(c.TransactionDate, "transaction_date")},
	}
	switch amount.kind() {
	case debitCredit:
		wanted[columnAmount] = extract.Column{Name: "amount.debit", Header: amount.Debit}
		return append(wanted, extract.Column{Name: "amount.credit", Header: amount.Credit})
	case signBeside:
		return append(wanted, extract.Column{Name: "amount.sign", Header: amount.Sign})
	default:
		return wanted
	}
}

func (c Columns) check(positions bool) error {
	a := c.Amount
	switch {
	case (a.Debit == "") != (a.Credit == ""):
		return errors.New("amount: debit and credit go together")
	case a.Debit != "" && a.Value+a.Sign != "":
		return errors.New("amount: debit and credit leave no room for value and sign")
	case a.Sign != "" && len(a.Negative) == 0:
		return errors.New("amount: sign needs negative, the markers of negative amounts, such as negative: [S]")
	case a.Sign == "" && len(a.Negative)+len(a.Positive) > 0:
		return errors.New("amount: negative and positive need sign, the column that has them")
	}
	for _, marker := range a.Positive {
		if a.signs()[extract.Marker(marker)] {
			return fmt.Errorf("amount: %q is both negative and positive", marker)
		}
	}
	taken := map[string]string{}
	for _, column := range (Rules{Columns: c}).Wanted() {
		if n, err := strconv.Atoi(column.Header); positions && (err != nil || n < 1) {
			return fmt.Errorf("%s is %q, want a position from 1 on, as there is no header", column.Name, column.Header)
		}
		header := strings.ToLower(strings.TrimSpace(column.Header))
		if header == "" {
			return fmt.Errorf("%s is blank", column.Name)
		}
		if other := taken[header]; other != "" {
			return fmt.Errorf("%s and %s are both %q", other, column.Name, column.Header)
		}
		taken[header] = column.Name
	}
	return nil
}

// signs says of each marker, as [extract.Marker] has it, whether it makes an amount
// negative. What is usual beside a marker of one sign has the other, unless the settings
// say more.
func (a AmountColumns) signs() map[string]bool {
	signs := map[string]bool{}
	for _, marker := range a.Positive {
		signs[extract.Marker(marker)] = false
	}
	for _, pair := range extract.OppositeSigns() {
		for _, marker := range a.Negative {
			marker = extract.Marker(marker)
			switch {
			case len(a.Positive) > 0:
			case marker == pair[0]:
				signs[pair[1]] = false
			case marker == pair[1]: // a bank's view: what it has to pay
				signs[pair[0]] = false
			}
		}
	}
	for _, marker := range a.Negative {
		signs[extract.Marker(marker)] = true
	}
	return signs
}
