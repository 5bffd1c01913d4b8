package api

import (
	"context"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/jobs/ledger"
)

// History is every state of a transaction.
type History struct {
	Versions []ledger.Version `json:"versions" nullable:"false" doc:"The states, oldest first, at most 1000. If the last one has ended, the transaction is no longer stored."`
}

type (
	historyInput struct {
		TransactionID string `path:"transaction_id" minLength:"1" maxLength:"50" example:"TXN186490" doc:"The source's id of the transaction, percent-encoded."`
	}
	historyOutput struct{ Body History }
	headOutput    struct{ Body audit.Head }
)

func (s *service) getHistory(ctx context.Context, in *historyInput) (*historyOutput, error) {
	versions, err := s.Runs.History(ctx, in.TransactionID)
	return &historyOutput{History{versions}}, err
}

func (s *service) getAuditHead(ctx context.Context, _ *struct{}) (*headOutput, error) {
	head, err := s.Runs.Head(ctx)
	return &headOutput{head}, err
}
