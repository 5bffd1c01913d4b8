// Package embedded runs a PostgreSQL server in a data folder, for users who
// configure no other database.
//
// A data folder has at most one server, which all processes that start one there
// share. Each process holds a shared lock on users.lock while it uses the server,
// and the last process to close it stops the server. start.lock serializes starts
// and stops.
//
//	DIR/pgdata        the cluster            DIR/users.lock   shared by all users
//	DIR/run           the Unix socket        DIR/start.lock   held while starting or stopping
//	DIR/postgres.log  the server's output    DIR/password     of the superuser tally
//	DIR/postgres      downloaded programs, if any; only archives whose SHA-256 is in checksums.txt
//
// # Crashes
//
// The kernel releases the locks of a killed process. If every process that used a
// server is killed, the server keeps running; the next process in the folder uses
// it and stops it on Close. If the server itself is killed, the next start runs
// crash recovery and waits for it without a timeout. A stale postmaster.pid does
// not prevent that start, even if its process ID belongs to another process now.
// A cluster is created in a temporary folder and renamed, so an incomplete one is
// discarded. A start that fails or is canceled stops the server, unless another
// process uses it.
//
// # Operating system user and addresses
//
// PostgreSQL refuses to run as root. If Tally runs as root, the server runs as the owner of
// the existing cluster. If there is none, it runs as the owner of DIR, and if that is root,
// as the user "postgres" or "nobody". fsync is on and data checksums are enabled. The server
// listens only on a Unix socket and requires a password. If the path of DIR is too long for a socket or contains a comma, the
// socket is in a short folder below the system's temporary folder. If that is not
// possible either, the server listens on a free port of the loopback interface. The
// server has its own session, so Ctrl-C reaches only Tally, which then stops it with a
// fast shutdown.
//
// DIR is created with mode 0750; for root its group is that of the server's user. That
// user can replace files in DIR/pgdata, and in DIR if it owns DIR. So no link is followed
// to a file that Tally reads or writes, and its owner must be the current or the server's
// user: otherwise a link could make root write elsewhere. An offending file is an error.
package embedded
