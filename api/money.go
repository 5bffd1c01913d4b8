package api

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shopspring/decimal"
)

// moneyPlaces is how many decimals money has at least.
const moneyPlaces = 2

// Money is an exact amount. As JSON it is a number with at least two decimals,
// and with more only where the amount has more: 10240.50, -3.00, 0.125. It never
// passes through a float and never has an exponent.
type Money decimal.Decimal

// MarshalJSON writes the digits as they are.
func (m Money) MarshalJSON() ([]byte, error) { return appendMoney(nil, decimal.Decimal(m)), nil }

func appendMoney(out []byte, amount decimal.Decimal) []byte {
	digits := amount.String() // without trailing zeros
	out = append(out, digits...)
	places := 0
	if point := strings.IndexByte(digits, '.'); point >= 0 {
		places = len(digits) - point - 1
	} else {
		out = append(out, '.')
	}
	for ; places < moneyPlaces; places++ {
		out = append(out, '0')
	}
	return out
}

// Schema describes an amount to huma.
func (Money) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:        huma.TypeNumber,
		Format:      "decimal",
		Description: "An exact decimal with at least two decimals, more only where the data has more. Read it as a decimal where digits beyond a float's 15 matter.",
		Examples:    []any{json.Number("10240.50")},
		// oapi-codegen takes a number of an unknown format for a float32, which has
		// not even the digits of most sums.
		Extensions: map[string]any{"x-go-type": "json.Number"},
	}
}

// Date is a day without a time. As JSON it is 2024-01-31.
type Date time.Time

// MarshalJSON writes the day as the time's own zone has it.
func (d Date) MarshalJSON() ([]byte, error) {
	return []byte(time.Time(d).Format(`"` + time.DateOnly + `"`)), nil
}

// Schema describes a day to huma.
func (Date) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date", Examples: []any{"2024-01-31"}}
}

// Object is a JSON object that is passed on as it is stored.
type Object json.RawMessage

// MarshalJSON writes the object; an empty one is {}.
func (o Object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("{}"), nil
	}
	return o, nil
}

// Schema describes an object to huma.
func (Object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}
