// Package embedded runs a PostgreSQL server of Tally's own in a data folder, for
// those who name no other database.
//
// A folder has one server at most, which every process that starts one there
// shares: each holds a shared lock on a file for as long as it uses the server,
// and the last one to leave stops it. The kernel drops the locks of a killed
// process, so a server whose users were killed is found and used by the next
// process, and stopped when that leaves.
//
//	DIR/pgdata       the cluster            DIR/users.lock   shared by all users
//	DIR/run          the Unix socket        DIR/start.lock   held while starting or stopping
//	DIR/postgres.log the server's output    DIR/password     of the superuser tally
//
// PostgreSQL refuses to run as root, so for root it runs as an unprivileged
// user, to whom the cluster then belongs. The cluster is durable: fsync is on.
// The server listens on the Unix socket alone, with a password; where the path
// of a socket would be too long, the socket is in a folder below the system's
// temporary one.
package embedded
