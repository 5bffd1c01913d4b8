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

	Month       string     `bun:"month" json:"month"` // such as 2024-01
	Rows        int64      `bun:"rows" json:"rows"`
	TotalAmount money.Sum  `bun:"total_amount" json:"total_amount"`
	Bytes       int64      `bun:"bytes" json:"bytes"`                     // of its table with the index
	ChangedAt   *time.Time `bun:"changed_at" json:"changed_at,omitempty"` // by the last load that did
	State       string     `bun:"state" json:"state"`                     // stored or retired
	Totals      string     `bun:"totals" json:"totals,omitempty"`         // of a retired month: kept or dropped
	KeptTable   string     `bun:"kept_table" json:"kept_table,omitempty"`
	Exported    bool       `bun:"exported" json:"exported"` // the last successful export has it as it is
	Sparse      bool       `bun:"sparse" json:"sparse"`     // it has fewer than 100 rows
}

// Partitions lists the months, oldest first.
func (s *Store) Partitions(ctx context.Context) ([]Partition, error) {
	list := []Partition{} // JSON has no null for it
	if err := s.db.NewRaw(sqlfile.Parse(partitionSQL).Get("partitions")).Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the partitions: %w", err)
	}
	return list, nil
}
