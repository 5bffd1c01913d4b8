package ledger

import (
	"context"
	_ "embed" // for partition.sql
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed partition.sql
var partitionSQL string

// Partition is a month of transactions, or one that was retired.
type Partition struct {
	bun.BaseModel `bun:"table:partitions"`

	Month       string     `bun:"month" json:"month" example:"2024-01" doc:"The month."`
	Rows        int64      `bun:"rows" json:"rows" minimum:"0" example:"784" doc:"Its transactions; of a retired month, those that it had."`
	TotalAmount money.Sum  `bun:"total_amount" json:"total_amount" doc:"Their exact sum."`
	Bytes       int64      `bun:"bytes" json:"bytes" minimum:"0" example:"163840" doc:"The size of its table with the index; 0: it is dropped."`
	ChangedAt   *time.Time `bun:"changed_at" json:"changed_at,omitempty" nullable:"false" doc:"When its totals last changed; omitted if they were dropped."`
	State       string     `bun:"state" json:"state" enum:"stored,retired" doc:"Whether the month was retired."`
	Totals      string     `bun:"totals" json:"totals,omitempty" enum:"kept,dropped" doc:"Of a retired month: whether the rollups still count it."`
	KeptTable   string     `bun:"kept_table" json:"kept_table,omitempty" example:"transactions_2020_01" doc:"Of a retired month: the table that has its rows."`
	Exported    bool       `bun:"exported" json:"exported" doc:"Whether the last export has the month as it is, or, of a retired one, an export had it."`
	Sparse      bool       `bun:"sparse" json:"sparse" doc:"Whether it is stored and has fewer than 100 rows, which are not worth a partition."`
}

// Partitions lists the months, oldest first.
func (s *Store) Partitions(ctx context.Context) ([]Partition, error) {
	list := []Partition{} // JSON has no null for it
	if err := s.db.NewRaw(sqlfile.Parse(partitionSQL).Get("partitions")).Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the partitions: %w", err)
	}
	return list, nil
}
