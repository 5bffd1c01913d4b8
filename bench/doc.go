// Package bench measures Tally against what else could have been done, in the
// same run on the same machine, and checks every answer that it times. Its
// figures are in docs/performance.md.
//
//	go test ./bench -run '^$' -bench . -rows 1000000
package bench
