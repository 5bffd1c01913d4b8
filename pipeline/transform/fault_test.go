package transform

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFaultNames(t *testing.T) {
	t.Parallel()
	want := []string{
		"unclosed_quote", "bad_quote", "row_too_long", "nul_byte", "invalid_utf8", "too_few_fields", "too_many_fields",
		"missing_transaction_id", "transaction_id_too_long", "invalid_transaction_id",
		"missing_user_id", "invalid_user_id", "user_id_out_of_range",
		"missing_amount", "invalid_amount", "ambiguous_amount", "amount_precision",
		"missing_date", "invalid_date", "impossible_date", "ambiguous_date", "date_out_of_window",
	}
	var all Faults
	for f := Fault(1); f <= LastFault; f++ {
		all = all.With(f)
	}
	assert.Equal(t, want, all.Strings(), "in the order in which they count")
	assert.Empty(t, Fault(0).String())
	assert.Equal(t, "fault_99", Fault(99).String())
}

func TestFaults(t *testing.T) {
	t.Parallel()
	var fs Faults
	assert.Equal(t, Fault(0), fs.First())
	assert.Equal(t, []string{}, fs.Strings())
	assert.Equal(t, fs, fs.With(0))
	fs = fs.With(FaultMissingDate).With(FaultMissingAmount)
	assert.Equal(t, FaultMissingAmount, fs.First())
	assert.True(t, fs.Has(FaultMissingDate))
	assert.False(t, fs.Has(FaultInvalidDate))
	assert.False(t, fs.Has(0))
	assert.Equal(t, []string{"missing_amount", "missing_date"}, fs.Strings())
}
