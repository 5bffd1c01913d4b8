package ledger

import (
	"context"
	_ "embed" // for source.sql
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed source.sql
var sourceSQL string

// Source is a source of which files were read, with the settings of the last one.
type Source struct {
	bun.BaseModel `bun:"alias:source"`

	Name        string          `bun:"name" json:"name" example:"inbox" doc:"Its name in the settings; manual stands for paths given by hand."`
	Settings    json.RawMessage `bun:"settings,type:jsonb" json:"settings" doc:"The settings under which its last file was read."`
	LastFileID  int64           `bun:"last_file_id" json:"last_file_id" minimum:"1" example:"3" doc:"Its last file."`
	LastPath    string          `bun:"last_path" json:"last_path" example:"inbox/2024-01-31.csv" doc:"Where that was read."`
	LastAt      time.Time       `bun:"last_at" json:"last_at" doc:"When its reading ended."`
	Conventions []Convention    `bun:"-" json:"conventions" nullable:"false" doc:"What its loaded files have proven, and the marks of the database's currency."`
}

// Convention is what a loaded file has proven: the first value that could be read in one
// way only. Two values of one convention contradict each other.
type Convention struct {
	bun.BaseModel `bun:"table:etl_conventions,alias:proven"`

	Source     string `bun:"source" json:"-"`
	Convention string `bun:"convention" json:"convention" enum:"slash,dash,dot,decimal,currency" doc:"The setting that would say the same."`
	Value      string `bun:"value" json:"value" example:"dmy" doc:"mdy or dmy, point or comma; of currency, a mark of a loaded amount."`
	FileID     int64  `bun:"file_id" json:"file_id" minimum:"1" example:"1" doc:"The file that proved it."`
	Path       string `bun:"path,scanonly" json:"path" example:"inbox/2024-01-30.csv" doc:"Where that was read."`
	Line       int64  `bun:"line" json:"line" minimum:"1" example:"7" doc:"The line of the value."`
}

// Sources are the sources with files in the ledger, in order of their names: a thousand at
// most.
func (s *Store) Sources(ctx context.Context) ([]Source, error) {
	sources := []Source{}
	if err := s.selectSources().Scan(ctx, &sources); err != nil {
		return nil, fmt.Errorf("read the sources: %w", err)
	}
	proven, err := s.Conventions(ctx)
	for i := range sources {
		sources[i].Conventions = Of(proven, sources[i].Name)
	}
	return sources, err
}

func (s *Store) selectSources() *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(sourceSQL).Get("sources"))
}

// Conventions are what the files of sources have proven, and the marks of the currency.
func (s *Store) Conventions(ctx context.Context) ([]Convention, error) {
	return list[Convention](ctx, s.selectConventions(), "the conventions")
}

// Of are those of a source, and of the currency.
func Of(proven []Convention, source string) []Convention {
	own := []Convention{} // JSON has no null for it
	for _, c := range proven {
		if c.Source == source || c.Source == "" {
			own = append(own, c)
		}
	}
	return own
}

func (s *Store) selectConventions() *bun.SelectQuery {
	return s.db.NewSelect().Model((*Convention)(nil)).ColumnExpr("proven.*").ColumnExpr("coalesce(file.path, '') AS path").
		Join("LEFT JOIN etl_files AS file ON file.id = proven.file_id").
		Where("NOT EXISTS (SELECT FROM etl_reverts AS revert WHERE revert.file_id = proven.file_id)").OrderExpr("source, convention, proven.file_id, value")
}
