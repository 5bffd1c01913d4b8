// Package tests3 gives a test its own S3 server, which the test may stop and start, and
// a proxy that injects faults into the server's responses.
//
// The server is versitygw; its data is deleted when the test ends. The environment
// variable TALLY_TEST_S3 sets the path of the program. Without it, versitygw is looked
// up on the PATH; if it is not installed, the test is skipped.
//
// All servers accept the same keys. A package whose code reads them from the environment
// calls [Setenv] in its TestMain, since parallel tests cannot set environment variables.
package tests3
