package transform_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

// A cleaner makes rows of a file's records one by one, without a database.
func ExampleCleaner() {
	file := strings.NewReader("Transaction_ID;user_id;amount;transaction_date\n" +
		"TXN1;7;$1,234.50;11/07/2024\n" +
		"TXN2;7;(3,10);07-Nov-2024\n" +
		"TXN3;7;1,234;2024-02-30\n")
	rules := transform.Rules{Slash: "mdy"}
	records, err := extract.NewReader(file, rules.Dialect, rules.Wanted())
	if err != nil {
		fmt.Println(err)
		return
	}
	var nothing transform.Learned
	cleaner, err := transform.NewCleaner(transform.Reading{
		Rules:       rules,
		LogicalDate: civil.MustParse("2024-12-31"),
		Conventions: rules.Resolve(&nothing, new(transform.Evidence)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var row transform.Row
	for {
		record, err := records.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Println(err)
			return
		}
		cleaner.Clean(record, &row)
		fmt.Println(row.Line, string(row.ID), row.Amount, row.Date, row.Faults.Strings())
		for _, hint := range row.Hints {
			fmt.Println(" ", hint)
		}
	}
	// Output:
	// 2 TXN1 1234.5 2024-11-07 []
	// 3 TXN2 -3.1 2024-11-07 []
	// 4 TXN3 0 1970-01-01 [ambiguous_amount impossible_date]
	//   decimal: 1,234 is 1234 under decimal: point and 1.234 under decimal: comma
}

// A profile tells what a file holds, and whether a load would take it.
func ExampleCheck() {
	dir, err := os.MkdirTemp("", "tally")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "monday.csv")
	content := "transaction_id,user_id,amount,transaction_date\n" +
		"TXN1,7,10.00,27/11/2024\n" +
		"TXN2,7,,28/11/2024\n" +
		"TXN3,8,12.50,03/04/2024\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	profile, err := transform.Check(context.Background(), new(bucket.Stores), bucket.Path(path), transform.Rules{}, civil.MustParse("2024-12-31"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range profile.Conventions {
		fmt.Println(c.Setting, c.Choice, "by the", c.Origin)
	}
	fmt.Println(profile.Read, "rows,", profile.Valid, "valid, from", profile.From, "to", profile.To)
	for _, f := range profile.Faults {
		fmt.Println(f.Count, f.Fault, "first in line", f.Line)
	}
	// Output:
	// slash dmy by the file
	// decimal point by the file
	// 3 rows, 2 valid, from 2024-04-03 to 2024-11-27
	// 1 missing_amount first in line 3
}
