package transform

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/extract"
)

func TestRulesCheck(t *testing.T) {
	t.Parallel()
	require.NoError(t, Rules{}.Check())
	require.NoError(t, Rules{}.WithDefaults().Check())
	require.NoError(t, Rules{TwoDigitYears: 1970, TimeZone: "Europe/Berlin", Currency: "EUR", To: "2000-01-01"}.Check())
	require.NoError(t, Rules{Slash: "dmy", Dash: "mdy", Dot: "dmy", Decimal: "comma", From: "2024-01-01", To: "2024-01-01",
		RejectLimit: "0.25%", Corrections: "replace"}.Check())
	for field, r := range map[string]Rules{
		"slash":        {Slash: "ymd"},
		"dash":         {Dash: "MDY"},
		"dot":          {Dot: "x"},
		"decimal":      {Decimal: ","},
		"from":         {From: "2024-02-30"},
		"to":           {To: "31.12.2024"},
		"from ":        {From: "2024-01-02", To: "2024-01-01"},
		"reject_limit": {RejectLimit: "half"},
		"corrections":  {Corrections: "merge"},

		"two_digit_years": {TwoDigitYears: 70},
		"time_zone":       {TimeZone: "Mars/Olympus"},
		"time_zone ":      {TimeZone: "Local"},
		"currency":        {Currency: "eur"},
		"currency ":       {Currency: "€"},
		"max_amount":      {MaxAmount: -1},
		"new_months":      {NewMonths: -1},
		"max_amount ":     {MaxAmount: MaxAmount + 1},
		"delimiter":       {Dialect: extract.Dialect{Delimiter: "ab"}},
		"columns":         {Columns: Columns{Amount: AmountColumns{Debit: "Soll"}}},
	} {
		require.ErrorContains(t, r.Check(), "rules: "+field)
	}
}

func TestRejectLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit          string
		rejected, read int64
		want           bool
	}{
		{"", 50, 100, false},
		{"", 51, 100, true},
		{"", 0, 0, false},
		{"", 1, 1, true},
		{"0", 0, 10, false},
		{"0", 1, 10, true},
		{"1000", 1000, 1000, false},
		{"1000", 1001, 1 << 40, true},
		{"100%", 7, 7, false},
		{"0%", 1, 1 << 40, true},
		{"12.5%", 125, 1000, false},
		{"12.5%", 126, 1000, true},
		{"0.01%", 1, 10_000, false},
		{"0.01%", 2, 10_000, true},
		{"50%", math.MaxInt64, math.MaxInt64, true}, // the product needs more than 64 bits
		{"nonsense", 0, 10, true},
	} {
		assert.Equal(t, c.want, Rules{RejectLimit: c.limit}.Exceeded(c.rejected, c.read), "%+v", c)
	}
	for _, s := range []string{"%", "-1", "-1%", "101%", "100.01%", "1.%", ".5%", "1.234%", "1e2", "1 %", "+5", "0x10", " 5", "50%%"} {
		assert.Error(t, Rules{RejectLimit: s}.Check(), s)
	}
}

func TestRulesAsJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Rules{})
	require.NoError(t, err)
	assert.JSONEq(t, `{}`, string(b))
	b, err = json.Marshal(Rules{RejectLimit: "10"}.WithDefaults())
	require.NoError(t, err)
	assert.JSONEq(t, `{"from":"1900-01-01","max_amount":9999999999999,"new_months":36,"reject_limit":"10","corrections":"keep"}`, string(b))
}

func TestFaultNames(t *testing.T) {
	t.Parallel()
	want := []string{
		"unclosed_quote", "bad_quote", "row_too_long", "nul_byte", "invalid_utf8", "too_few_fields", "too_many_fields",
		"missing_transaction_id", "transaction_id_too_long", "invalid_transaction_id", "damaged_transaction_id",
		"missing_user_id", "invalid_user_id", "user_id_out_of_range",
		"missing_amount", "invalid_amount", "ambiguous_amount", "amount_precision", "amount_out_of_range", "invalid_sign", "other_currency",
		"missing_date", "invalid_date", "impossible_date", "ambiguous_date", "date_out_of_window",
		"orphan_key", "retired_month",
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
