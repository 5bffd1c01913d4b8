// Package testdb gives each test its own PostgreSQL database, in one call.
//
// All test processes of a user share one embedded server per PostgreSQL version, in a
// folder below the system's temporary folder. Each database is cloned from a template
// that is keyed by the hash of its schema, so the schema is created once, not for each
// test.
//
// A database is dropped at the end of its test. If the test failed, the database is
// kept for an hour, and the test's log has its URL. Templates older than a day are
// dropped too.
//
// # Lifetime of the server
//
// Each process counts its tests that use the server, and closes it when the last of
// them ends; the last process to close it stops the server. Tests run in parallel, so
// that happens about once per process. A start takes a few tenths of a second, since
// the cluster is kept. A process that is killed or panics does not close the server:
// the server keeps running, and the next test process uses it and stops it.
//
// The environment variable TALLY_TEST_POSTGRES sets the folder of the server programs
// to test with. The server runs with fsync off, since its data is disposable.
//
// [Own] starts a separate server, for tests that stop, kill or pause it.
package testdb
