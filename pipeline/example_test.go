package pipeline_test

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opentax/tally/pipeline"
)

// A reader cleans a file row by row, without a database.
func ExampleReader() {
	file := strings.NewReader("Transaction_ID;user_id;amount;transaction_date\n" +
		"TXN1;7;$1,234.50;11/07/2024\n" +
		"TXN2;7;(3.10);07-11-2024\n" +
		"TXN3;7;1,234;2024-02-30\n")
	reader, err := pipeline.NewReader(file, pipeline.Rules{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var row pipeline.Row
	for {
		if err := reader.Next(&row); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(row.Line, row.TransactionID, row.Amount, row.Date, row.Faults.Strings())
	}
	// Output:
	// 2 TXN1 1234.5 2024-11-07 []
	// 3 TXN2 -3.1 2024-11-07 []
	// 4 TXN3 0 1970-01-01 [ambiguous_amount impossible_date]
}
