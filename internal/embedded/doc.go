// Package embedded runs a PostgreSQL server of Tally's own in a data folder, for
// those who name no other database.
//
// A folder has one server at most, which every process that starts one there
// shares: each holds a shared lock on a file for as long as it uses the server,
// and the last one to leave stops it. Starts and stops take turns under a second
// lock.
//
//	DIR/pgdata        the cluster            DIR/users.lock   shared by all users
//	DIR/run           the Unix socket        DIR/start.lock   held while starting or stopping
//	DIR/postgres.log  the server's output    DIR/password     of the superuser tally
//	DIR/postgres      programs, where they had to be downloaded
//
// # What happens on a crash
//
// The kernel drops the locks of a killed process. A server whose users were all
// killed keeps running; the next process in the folder uses it, and stops it when
// it leaves. When the server itself was killed, the next start goes on where it
// was: PostgreSQL recovers, which is waited for however long it takes, and a
// postmaster.pid whose number now belongs to another process is no obstacle. A
// cluster is made under another name and then renamed, so one that was never
// finished is simply made again. A start that fails or is cancelled leaves no
// server behind that it alone was using.
//
// # What it runs as and listens on
//
// PostgreSQL refuses to run as root, so for root it runs as the owner of an
// existing cluster, else as the user postgres or nobody. The cluster is durable:
// fsync is on and pages have checksums. The server listens on a Unix socket
// alone, with a password; where DIR's path is too long for a socket or has a comma,
// the socket is in a short folder below the system's temporary one. Where that does not do
// either, or [Config.TCP] asks for it, it listens on a free port of the loopback
// interface. It has a session of its own, so Ctrl-C reaches Tally alone, which
// then stops it in good order.
package embedded
