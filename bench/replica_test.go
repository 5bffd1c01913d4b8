package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// smallLoads are loads of one row, for the time that a commit takes.
	smallLoads = 3
)

// BenchmarkReplica loads files of so many rows into a server with a streaming replica
// on the same machine and disk, which all of its times have in them: two machines would
// do better. Each load is a first one into a database of its own, unless it is said
// otherwise.
//
//	async    the primary does not wait (PostgreSQL's default)
//	flushed  synchronous_commit = on and a synchronous replica, which has the log on disk
//	applied  synchronous_commit = remote_apply: the replica shows the commit already
//
// Metrics of a load: load-s, commit-ms (of a load of one row, all of it), and
// catch-up-s, from the commit until the replica shows it; of the first way alone,
// wal-bytes-per-row, and lag-s: how old the replica's state was at the end, and at
// most. replay-of-load: a load whose replay waits until it is over, its time over the
// replay's, so that above 1 a replica on its own keeps up. per-s: look-ups on primary
// and replica side by side, by two clients each, while nothing else happens and while a
// second file is loaded; each answer has to be one that its user has had.
//
// And what becomes of reports on the replica that keep a snapshot, while a file of a
// tenth of the rows is loaded and user_summary vacuumed, until 0.3 s after that:
// cancelled, the share of them that the replica has cancelled, and vacuumed-s, from the
// load's commit until the replica has replayed the vacuum, where it cancels them when
// replay has waited for 100 ms (hasty), never (patient), or does so after 100 ms but
// keeps the primary from removing what they may read (feedback).
func BenchmarkReplica(b *testing.B) {
	for _, rows := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			s := newServer(b)
			r := &replicaStudy{standby: newStandby(b, s), rows: rows, figures: map[string][]float64{}}
			for i := range r.files {
				size := rows
				if i > 1 { // a night's
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
	used    []*pgxpool.Pool // databases that are done with
}

func (r *replicaStudy) note(value float64, unit string) {
	r.figures[unit] = append(r.figures[unit], value)
}

func (r *replicaStudy) turn(b *testing.B, i int) {
	b.Helper()
	for _, pool := range r.used { // not before they must: with a replica, it takes a second each
		r.server.drop(b, pool)
	}
	r.used = nil
	ways := []struct{ name, names, commit string }{
		{"flushed", "*", "on"}, {"applied", "*", "remote_apply"}, {"async", "", "on"},
	}
	for k := range ways { // another one first in each turn
		way := ways[(i+k)%len(ways)]
		alterSystem(b, r.primary, fmt.Sprintf("synchronous_standby_names = '%s'", way.names))
		r.until(b, r.primary, fmt.Sprintf("SELECT count(*) = 1 AND bool_and((sync_state = 'sync') = (%t)) FROM pg_stat_replication", way.names != ""))
		pool, runID := r.server.tally(b)
		exec(b, pool, "ALTER DATABASE "+pool.Config().ConnConfig.Database+" SET synchronous_commit = "+way.commit)
		pool.Reset()
		r.timeLoad(b, pool, runID, way.name)
		if way.name == "async" {
			r.look(b, pool, runID)
			r.conflicts(b, pool, runID)
		}
		r.used = append(r.used, pool)
	}
	r.replay(b)
}

// timeLoad loads the first file, and some of one row.
func (r *replicaStudy) timeLoad(b *testing.B, pool *pgxpool.Pool, runID int64, way string) {
	b.Helper()
	settle(b, pool)
	r.catchUp(b)
	before := logPosition(b, pool)
	following := r.follow(b.Context())
	result, took := timeLoad(b, pool, runID, r.files[0])
	atEnd, caughtUp := following.now(), r.catchUp(b)
	following.stop(b)
	r.note(took.Seconds(), "load-s/"+way)
	r.note(caughtUp.Seconds(), "catch-up-s/"+way)
	if way == "async" {
		r.note(float64(logPosition(b, pool)-before)/float64(result.Loaded), "wal-bytes-per-row")
		r.note(atEnd.Seconds(), "lag-s/end")
		r.note(following.most.Seconds(), "lag-s/most")
	}
	var commits []float64
	for i := range smallLoads {
		_, t := timeLoad(b, pool, runID, oneRow(b, i))
		commits = append(commits, 1000*t.Seconds())
	}
	r.note(median(commits), "commit-ms/"+way)
}

// look asks primary and replica side by side.
func (r *replicaStudy) look(b *testing.B, pool *pgxpool.Pool, runID int64) {
	b.Helper()
	replica, users := r.database(b, pool), someUsers(b, pool)
	defer replica.Close()
	before := summariesOf(b, pool, users)
	primaryLooks, replicaLooks := keepLooking(b.Context(), pool, users), keepLooking(b.Context(), replica, users)
	time.Sleep(time.Duration(min(r.rows, 1_000_000)) * 20 * time.Microsecond)
	r.note(primaryLooks.leave(b, before, before), "per-s/primary-idle")
	r.note(replicaLooks.leave(b, before, before), "per-s/replica-idle")

	primaryLooks, replicaLooks = keepLooking(b.Context(), pool, users), keepLooking(b.Context(), replica, users)
	loadFile(b, pool, runID, r.files[1])
	r.note(r.catchUp(b).Seconds(), "catch-up-s/looked-up")
	after := summariesOf(b, pool, users)
	r.note(primaryLooks.leave(b, before, after), "per-s/primary-load")
	r.note(replicaLooks.leave(b, before, after), "per-s/replica-load")
}

// replay loads while the replica keeps the log without replaying it, and then times
// the replay.
func (r *replicaStudy) replay(b *testing.B) {
	b.Helper()
	pool, runID := r.server.tally(b)
	settle(b, pool)
	r.catchUp(b)
	exec(b, r.replica, "SELECT pg_wal_replay_pause()")
	r.until(b, r.replica, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
	_, took := timeLoad(b, pool, runID, r.files[0])
	// Else the log's way to the replica would be in the time.
	r.until(b, r.primary, "SELECT bool_and(flush_lsn >= pg_current_wal_flush_lsn()) FROM pg_stat_replication")
	exec(b, r.replica, "SELECT pg_wal_replay_resume()")
	replayed := r.catchUp(b)
	r.note(took.Seconds()/replayed.Seconds(), "replay-of-load")
	r.used = append(r.used, pool)
}

// conflicts runs reports on the replica beside a load and a vacuum.
func (r *replicaStudy) conflicts(b *testing.B, pool *pgxpool.Pool, runID int64) {
	b.Helper()
	for i, way := range []struct{ name, delay, feedback string }{
		{"hasty", "100ms", "off"}, {"patient", "-1", "off"}, {"feedback", "100ms", "on"},
	} {
		alterSystem(b, r.replica, fmt.Sprintf("max_standby_streaming_delay = '%s'", way.delay), "hot_standby_feedback = "+way.feedback)
		r.until(b, r.primary, fmt.Sprintf("SELECT bool_and((backend_xmin IS NOT NULL) = (%t)) FROM pg_stat_replication", way.feedback == "on"))
		replica := r.database(b, pool)
		reports := openReports(b, replica)
		loadFile(b, pool, runID, r.files[2+i])
		began := time.Now()
		exec(b, pool, "VACUUM user_summary")
		settle(b, pool) // a vacuum's log reaches the disk, and the replica, with somebody else's
		cancelled := make(chan int)
		go func() { cancelled <- reports.end(b, reportTakes) }()
		r.catchUp(b)
		r.note(time.Since(began).Seconds(), "vacuumed-s/"+way.name)
		r.note(float64(<-cancelled)/reporters, "cancelled/"+way.name)
		replica.Close()
	}
	alterSystem(b, r.replica, "hot_standby_feedback = off", "max_standby_streaming_delay = '30s'")
}
