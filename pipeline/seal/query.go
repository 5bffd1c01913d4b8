package seal

import (
	"time"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

// Queries are the statements of the chain, with arguments.
func Queries(_ explain.Sample) []explain.Query {
	statements := sqlfile.Parse(sealSQL)
	last := explain.Expectation{Indexes: []string{"audit_chain_pkey"}, MaxBuffers: 12}
	whole := explain.Expectation{WholeTable: true}
	list := []explain.Query{
		{Name: "head", Purpose: "each look at the head of the audit chain", Expect: last},
		{Name: "last", Purpose: "each commit that changes data", Expect: last},
		{Name: "append", Purpose: "each commit that changes data", Writes: true,
			Args: []any{int64(1) << 62, time.Unix(0, 0).UTC(), string(Discard), nil, "{}", make([]byte, 32)}},
		{Name: "entries", Purpose: "each tally audit verify", Expect: whole},
		{Name: "unsealed", Purpose: "each tally audit verify", Expect: whole},
		{Name: "states", Purpose: "each tally audit verify", Expect: whole},
		{Name: "reverts", Purpose: "each tally audit verify", Expect: whole},
		{Name: "foreign", Purpose: "each tally audit verify", Expect: whole},
		{Name: "changes", Purpose: "each tally audit verify", Expect: whole},
		{Name: "unsealed_month", Purpose: "each tally audit verify"},
		{Name: "retired", Purpose: "each entry of retired months in tally audit verify", Args: []any{int64(1)}},
		{Name: "totals", Purpose: "each tally audit verify", Expect: whole},
	}
	for i := range list {
		list[i].SQL, list[i].Name = statements.Get(list[i].Name), "seal/"+list[i].Name
	}
	return list
}
