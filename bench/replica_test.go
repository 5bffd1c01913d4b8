package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// smallLoads is the number of loads of one row, which measure the commit.
	smallLoads = 3
)

// BenchmarkReplica loads files into a server with a streaming replica on the same machine
// and disk. All times include the work of both; two machines would be faster. Each load
// is the first load into a new database, unless noted otherwise.
//
//	async    the primary does not wait (PostgreSQL's default)
//	flushed  synchronous_commit = on, with a synchronous replica that has flushed the WAL
//	applied  synchronous_commit = remote_apply: the replica has applied the commit
//
// Metrics of a load: load-s; commit-ms, a complete load of one row; and catch-up-s, from
// the commit until it is visible on the replica. For async also wal-bytes-per-row, and
// lag-s, the replication lag at the end of the load and its maximum. replay-of-load is
// the time of a load during which replay is paused, divided by the time of the replay: a
// replica on its own machine keeps up if it is above 1. per-s are concurrent look-ups on
// primary and replica, with two clients each, when idle and during the load of a second
// file; each answer must be the user's summary before or after that load.
//
// It also runs reports on the replica, which hold a snapshot while a file of a tenth of
// the rows is loaded and user_summary is vacuumed, until 0.3 s later. cancelled is the
// share of reports that the replica cancels; vacuumed-s is the time from the load's
// commit until the replica has replayed the vacuum. max_standby_streaming_delay is 100 ms
// (hasty), unlimited (patient), or 100 ms with hot_standby_feedback (feedback).
func BenchmarkReplica(b *testing.B) {
	for _, rows := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			s := newServer(b)
			r := &replicaStudy{standby: newStandby(b, s), rows: rows, figures: map[string][]float64{}}
			for i := range r.files {
				size := rows
				if i > 1 { // nightly files
					size = rows / 10
				}
				r.files[i] = dirtyFile(b, size, uint64(1+i), rows/10)
			}
			b.ResetTimer()
			for i := range b.N {
				r.turn(b, i)
			}
			for unit, values := range r.figures {
				b.ReportMetric(median(values), unit)
			}
		})
	}
}

type replicaStudy struct {
	*standby
	rows    int64
	files   [5]string
	figures map[string][]float64
	used    []*pgxpool.Pool // databases to drop
}

func (r *replicaStudy) record(value float64, unit string) {
	r.figures[unit] = append(r.figures[unit], value)
}

func (r *replicaStudy) turn(b *testing.B, i int) {
	b.Helper()
	for _, pool := range r.used { // not during a turn: with a replica each takes a second
		r.server.drop(b, pool)
	}
	r.used = nil
	modes := []struct{ name, names, commit string }{
		{"flushed", "*", "on"}, {"applied", "*", "remote_apply"}, {"async", "", "on"},
	}
	for k := range modes { // each turn starts with another method
		mode := modes[(i+k)%len(modes)]
		alterSystem(b, r.primary, fmt.Sprintf("synchronous_standby_names = '%s'", mode.names))
		r.until(b, r.primary, fmt.Sprintf("SELECT count(*) = 1 AND bool_and((sync_state = 'sync') = (%t)) FROM pg_stat_replication", mode.names != ""))
		pool, runID := r.server.tally(b)
		exec(b, pool, "ALTER DATABASE "+pool.Config().ConnConfig.Database+" SET synchronous_commit = "+mode.commit)
		pool.Reset()
		r.timeLoad(b, pool, runID, mode.name)
		if mode.name == "async" {
			r.lookUp(b, pool, runID)
			r.conflicts(b, pool, runID)
		}
		r.used = append(r.used, pool)
	}
	r.replay(b)
}

// timeLoad loads the first file, then files of one row.
func (r *replicaStudy) timeLoad(b *testing.B, pool *pgxpool.Pool, runID int64, mode string) {
	b.Helper()
	settle(b, pool)
	r.catchUp(b)
	before := walPosition(b, pool)
	lag := r.trackLag(b.Context())
	result, took := timeLoad(b, pool, runID, r.files[0])
	atEnd, caughtUp := lag.now(), r.catchUp(b)
	lag.stop(b)
	r.record(took.Seconds(), "load-s/"+mode)
	r.record(caughtUp.Seconds(), "catch-up-s/"+mode)
	if mode == "async" {
		r.record(float64(walPosition(b, pool)-before)/float64(result.Loaded), "wal-bytes-per-row")
		r.record(atEnd.Seconds(), "lag-s/end")
		r.record(lag.longest.Seconds(), "lag-s/most")
	}
	var commits []float64
	for i := range smallLoads {
		_, t := timeLoad(b, pool, runID, oneRow(b, i))
		commits = append(commits, 1000*t.Seconds())
	}
	r.record(median(commits), "commit-ms/"+mode)
}

// lookUp measures concurrent look-ups on primary and replica.
func (r *replicaStudy) lookUp(b *testing.B, pool *pgxpool.Pool, runID int64) {
	b.Helper()
	replica, users := r.database(b, pool), someUsers(b, pool)
	defer replica.Close()
	before := summariesOf(b, pool, users)
	primaryClients, replicaClients := startStoreLookups(b.Context(), pool, users), startStoreLookups(b.Context(), replica, users)
	time.Sleep(time.Duration(min(r.rows, 1_000_000)) * 20 * time.Microsecond)
	r.record(primaryClients.stop(b, before, before), "per-s/primary-idle")
	r.record(replicaClients.stop(b, before, before), "per-s/replica-idle")

	primaryClients, replicaClients = startStoreLookups(b.Context(), pool, users), startStoreLookups(b.Context(), replica, users)
	loadFile(b, pool, runID, r.files[1])
	r.record(r.catchUp(b).Seconds(), "catch-up-s/looked-up")
	after := summariesOf(b, pool, users)
	r.record(primaryClients.stop(b, before, after), "per-s/primary-load")
	r.record(replicaClients.stop(b, before, after), "per-s/replica-load")
}

// replay loads a file while replay is paused on the replica, and then times the replay.
func (r *replicaStudy) replay(b *testing.B) {
	b.Helper()
	pool, runID := r.server.tally(b)
	settle(b, pool)
	r.catchUp(b)
	exec(b, r.replica, "SELECT pg_wal_replay_pause()")
	r.until(b, r.replica, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
	_, took := timeLoad(b, pool, runID, r.files[0])
	// The replica must have received the WAL, or the transfer would be timed too.
	r.until(b, r.primary, "SELECT bool_and(flush_lsn >= pg_current_wal_flush_lsn()) FROM pg_stat_replication")
	exec(b, r.replica, "SELECT pg_wal_replay_resume()")
	replayed := r.catchUp(b)
	r.record(took.Seconds()/replayed.Seconds(), "replay-of-load")
	r.used = append(r.used, pool)
}

// conflicts runs reports on the replica during a load and a vacuum.
func (r *replicaStudy) conflicts(b *testing.B, pool *pgxpool.Pool, runID int64) {
	b.Helper()
	for i, mode := range []struct{ name, delay, feedback string }{
		{"hasty", "100ms", "off"}, {"patient", "-1", "off"}, {"feedback", "100ms", "on"},
	} {
		alterSystem(b, r.replica, fmt.Sprintf("max_standby_streaming_delay = '%s'", mode.delay), "hot_standby_feedback = "+mode.feedback)
		r.until(b, r.primary, fmt.Sprintf("SELECT bool_and((backend_xmin IS NOT NULL) = (%t)) FROM pg_stat_replication", mode.feedback == "on"))
		replica := r.database(b, pool)
		reports := startReports(b, replica)
		loadFile(b, pool, runID, r.files[2+i])
		began := time.Now()
		exec(b, pool, "VACUUM user_summary")
		settle(b, pool) // VACUUM does not flush its WAL, so the replica would not receive it
		canceled := make(chan int)
		go func() { canceled <- reports.end(b, reportHold) }()
		r.catchUp(b)
		r.record(time.Since(began).Seconds(), "vacuumed-s/"+mode.name)
		r.record(float64(<-canceled)/reporters, "cancelled/"+mode.name)
		replica.Close()
	}
	alterSystem(b, r.replica, "hot_standby_feedback = off", "max_standby_streaming_delay = '30s'")
}
