package api

import (
	"context"

	"github.com/opentax/tally/jobs/ledger"
)

// PartitionList is a list of months.
type PartitionList struct {
	Partitions []ledger.Partition `json:"partitions" nullable:"false" doc:"The months, oldest first."`
}

type partitionsOutput struct{ Body PartitionList }

func (s *service) listPartitions(ctx context.Context, _ *struct{}) (*partitionsOutput, error) {
	list, err := s.Runs.Partitions(ctx)
	return &partitionsOutput{PartitionList{list}}, err
}
