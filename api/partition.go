package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// PartitionList is a list of months.
type PartitionList struct {
	Partitions []ledger.Partition `json:"partitions" nullable:"false" doc:"The months, oldest first."`
}

// RetireBody says which months are to be retired, and how.
type RetireBody struct {
	Before     string `json:"before" minLength:"7" maxLength:"7" pattern:"^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(0[1-9]|1[0-2])$" example:"2020-01" doc:"Retire all months before this one."`
	Totals     string `json:"totals" enum:"keep,drop" doc:"Whether the rollups keep the share of the months."`
	Export     bool   `json:"export,omitempty" doc:"Export to the target in the settings first; the rows are dropped when it has them."`
	KeepTables bool   `json:"keep_tables,omitempty" doc:"Keep the rows in tables of their own, outside transactions."`
	Drop       bool   `json:"drop,omitempty" doc:"Drop the rows without an export."`
	DryRun     bool   `json:"dry_run,omitempty" doc:"Change nothing: the result is what would be retired."`
	Reason     string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the audit chain."`
}

const (
	monthPattern = "^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(0[1-9]|1[0-2])$"
	monthMessage = "must be a month, as in 2020-01"
)

// check finds what the schema cannot express: what becomes of the rows.
func (b *RetireBody) check() *Problem {
	if kept := b.Export || b.KeepTables; b.Drop && kept || !b.Drop && !kept && !b.DryRun {
		return invalid(ProblemError{Location: "body", Message: "must have export, keep_tables or both, or drop without either"})
	}
	return nil
}

type (
	partitionsOutput struct{ Body PartitionList }
	retireInput      struct{ Body RetireBody }
	retireOutput     struct {
		Status   int
		Location string `header:"Location" doc:"The retirement."`
		Body     ledger.Retirement
	}
	retirementInput struct {
		ID int64 `path:"id" minimum:"1" example:"1" doc:"The retirement's id."`
	}
	retirementOutput struct{ Body ledger.Retirement }
)

func (s *service) listPartitions(ctx context.Context, _ *struct{}) (*partitionsOutput, error) {
	list, err := s.Runs.Partitions(ctx)
	return &partitionsOutput{PartitionList{list}}, err
}

func (s *service) retirePartitions(ctx context.Context, in *retireInput) (*retireOutput, error) {
	b := &in.Body
	if p := b.check(); p != nil {
		return nil, p
	}
	before, err := civil.ParseMonth(b.Before)
	if err != nil {
		return nil, invalid(ProblemError{Location: "body.before", Message: monthMessage})
	}
	if before > civil.Of(time.Now().UTC()).Month() {
		return nil, invalid(ProblemError{Location: "body.before", Message: "must not be in the future: no row of a retired month is loaded"})
	}
	r, err := s.Changes.RequestRetirement(ctx, ledger.RetireRequest{
		Before: before, KeepTotals: b.Totals == "keep", Export: b.Export, KeepTables: b.KeepTables, DryRun: b.DryRun,
		By: changedBy(ctx, b.Reason), Origin: requestOf(ctx).origin,
	})
	if errors.Is(err, ledger.ErrNoExport) {
		return nil, invalid(ProblemError{Location: "body.export", Message: "must not be set without a target of exports in the settings"})
	}
	if err != nil {
		return nil, err
	}
	out := &retireOutput{Status: http.StatusOK, Location: fmt.Sprintf("/partitions/retirements/%d", r.ID), Body: r}
	if r.Created {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

func (s *service) getRetirement(ctx context.Context, in *retirementInput) (*retirementOutput, error) {
	r, err := s.Runs.Retirement(ctx, in.ID)
	return &retirementOutput{r}, err
}

// registerPartitions adds the operations on months.
func (s *service) registerPartitions(api huma.API) {
	addOperation(s, api, s.listPartitions, get(tagPartitions, "listPartitions", "/partitions", "List the months",
		"The months of transactions, and those that were retired, each with its rows, sum and size.", "The months.", kindUnavailable))
	addOperation(s, api, s.retirePartitions, accepted[RetireBody, ledger.Retirement](api, get(tagPartitions, "retirePartitions", "/partitions/retire", "Retire old months",
		"Enqueues the retirement of all months before one: a worker takes their rows out of transactions in one commit. Their ids stay known, and "+
			"the months are closed. One retirement is unfinished at a time: repeating its request changes nothing. A retirement when there is nothing "+
			"left to retire changes nothing either.",
		"The same retirement is queued or running already.", kindRetiring, kindRequestTimeout, kindUnsupportedMedia, kindUnavailable),
		"The retirement is enqueued.", "/partitions/retirements/1"))
	addOperation(s, api, s.getRetirement, get(tagPartitions, "getRetirement", "/partitions/retirements/{id}", "Get a retirement",
		"A retirement that was requested, and what became of it.", "The retirement.", kindRetirementNotFound, kindUnavailable))
}
