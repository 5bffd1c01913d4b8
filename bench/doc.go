// Package bench contains load studies: benchmarks that compare Tally with its
// alternatives, in the same run on the same machine, and check every answer that they
// time. docs/performance.md presents the figures.
//
//	go test ./bench -run '^$' -bench . -rows 1000000
//
// [TestTorture] compares a history under faults with the same one undisturbed; [TestSoak] runs
// the program for an hour of nights under trouble.
package bench
