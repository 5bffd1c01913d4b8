package api

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/api/console"
)

// receiptLimit is [console.MaxReceiptRows], for texts.
var receiptLimit = strconv.Itoa(console.MaxReceiptRows)

// Receipt is a receipt as tally prove writes it, which tally prove --check reads.
type Receipt json.RawMessage

// MarshalJSON passes it on.
func (r Receipt) MarshalJSON() ([]byte, error) { return r, nil }

// Schema describes the receipt's frame. A client that checks one uses tally prove --check.
func (Receipt) Schema(registry huma.Registry) *huma.Schema {
	integer := func(description string, example int) *huma.Schema {
		return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Description: description, Examples: []any{example}}
	}
	object := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: description}
	}
	list := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeArray, Items: object(""), Description: description}
	}
	total := sumSchema{}.Schema(registry)
	total.Description = "The exact sum of the rows."
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Properties: map[string]*huma.Schema{
			"format": integer("The version of the form.", 1), "user_id": integer("The user's id.", 123),
			"total_transactions": integer("The number of the rows.", 50), "total_amount": total,
			"rows":      list("The user's transactions, each with its file and line and the change that brought it."),
			"uncounted": list("Lines of the files that may be rows of the user and are not counted."),
			"entries":   list("The entries of the audit chain that the rows name."),
			"chain":     object("The links of the audit chain from the first of these entries to the head."),
			"head":      object("The head of the audit chain, as of GET /audit/head."),
		},
		Required: []string{"format", "user_id", "total_transactions", "total_amount", "rows", "uncounted", "entries", "chain", "head"},
	}
}

type receiptOutput struct{ Body Receipt }

func (s *service) getReceipt(ctx context.Context, in *UserPath) (*receiptOutput, error) {
	summary, err := s.Summaries.Get(ctx, in.UserID)
	if err != nil {
		return nil, err
	}
	if summary.Transactions > console.MaxReceiptRows {
		return nil, console.ErrLargeReceipt
	}
	var body bytes.Buffer
	err = s.Proofs.Receipt(ctx, &body, in.UserID)
	return &receiptOutput{body.Bytes()}, err
}
