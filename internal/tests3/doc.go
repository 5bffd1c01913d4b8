// Package tests3 gives a test an S3 server of its own, which it may take away and
// bring back, and a proxy before it that breaks what the test says.
//
// The server is versitygw, on a folder that goes with the test. The environment
// variable TALLY_TEST_S3 names the program; without it, the one on the PATH serves,
// and where there is none the test is skipped.
//
// Every server takes the same keys. A package that reads from one calls [Setenv] in
// its TestMain, since the environment of parallel tests cannot be set.
package tests3
