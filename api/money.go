package api

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"
)

// sumSchema describes a [money.Sum] to huma.
type sumSchema struct{}

// Schema is a number without a bound on its digits.
func (sumSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:        huma.TypeNumber,
		Format:      "decimal",
		Description: "An exact decimal with at least two decimals, more only where the data has more. Parse it as a decimal if you need more than the 15 digits of a float.",
		Examples:    []any{json.Number("10240.50")},
		// oapi-codegen takes a number of an unknown format for a float32, which has
		// not even the digits of most sums.
		Extensions: map[string]any{"x-go-type": "json.Number"},
	}
}

// dateSchema describes a [civil.Date] to huma.
type dateSchema struct{}

// Schema is YYYY-MM-DD.
func (dateSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date", Examples: []any{"2024-01-31"}}
}

// objectSchema describes a JSON object that is passed on as it is stored, a
// json.RawMessage, to huma.
type objectSchema struct{}

// Schema is an object of anything.
func (objectSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}
