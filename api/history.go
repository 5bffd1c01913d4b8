package api

import (
	"context"

	"github.com/opentax/tally/jobs/ledger"
)

type (
	historyInput struct {
		TransactionID string `path:"transaction_id" minLength:"1" maxLength:"50" example:"TXN186490" doc:"The source's id of the transaction, percent-encoded."`
	}
	historyOutput struct{ Body ledger.History }
)

func (s *service) getHistory(ctx context.Context, in *historyInput) (*historyOutput, error) {
	history, err := s.Runs.History(ctx, in.TransactionID)
	return &historyOutput{history}, err
}
