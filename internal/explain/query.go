// Package explain holds Tally's statements against the plans that PostgreSQL makes
// of them: each package names its own ([Query]), and the plan tests and `tally
// report` ask the same questions of the same statements. It reads alone: a
// statement that writes is planned and not executed.
package explain

// Query is a statement that Tally runs, with arguments that fit the data there is.
type Query struct {
	// Name is PACKAGE/STATEMENT, as in summaries/look_up, or PACKAGE/TABLE/STATEMENT where
	// several tables have statements of one form.
	Name string
	// Purpose says in half a sentence who asks, and how often.
	Purpose string
	// SQL is the statement's own text, with $1 for arguments.
	SQL  string
	Args []any
	// Before are settings that the statement runs under (SET LOCAL …), as in the program.
	Before []string
	// Given stands for the temporary tables that the statement reads in the program:
	// the body of a WITH clause that is put before it, "load_known (a, b) AS (SELECT …)".
	Given string
	// Writes are only planned.
	Writes bool
	// Expect is what its plan is held against; the zero value expects nothing.
	Expect Expectation
}

// Expectation is what a plan must show on any database of some size.
type Expectation struct {
	// Indexes are the indexes, or primary keys of the parents of partitions, that
	// are used; each of them must be.
	Indexes []string
	// MostPartitions bounds how many partitions of transactions are scanned; 0 is no
	// bound.
	MostPartitions int
	// MostBuffers bounds the pages that are touched, by the cache or not; 0 is no
	// bound.
	MostBuffers int64
	// WholeTable says that the statement is meant to read tables from end to end.
	WholeTable bool
}
