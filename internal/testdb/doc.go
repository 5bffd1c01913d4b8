// Package testdb gives each test a PostgreSQL database of its own, in one call.
//
// All test processes of a user share one embedded server per version of
// PostgreSQL, in a folder below the system's temporary one. A database is cloned
// from a template that is keyed by the hash of its schema, so the schema is made
// once and not for each test.
//
// A database is dropped at the end of its test, and kept for an hour when the
// test failed: the log then says how to look at it. Templates that were not used
// for a day go too.
//
// # How the server ends
//
// A process counts its tests that use the server, and leaves when the last one of
// them ends; the last process to leave stops the server. Tests run in parallel,
// so that is once a process; a start takes a few tenths of a second, as the
// cluster stays. A process that is killed or panics cannot leave: the server
// then waits for the next one that tests, which finds and later stops it.
//
// The environment variable TALLY_TEST_POSTGRES names a folder with the programs
// of another PostgreSQL to test on. The server runs with fsync off: it holds
// nothing that is worth a disk's time.
//
// [Own] is for tests that take their database away.
package testdb
