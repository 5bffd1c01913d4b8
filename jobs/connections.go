package jobs

// The connections of workers.
const (
	// ListenerConns is River's for notifications, which it takes out of the pool for good.
	ListenerConns = 1
	runConns      = 3 // a run's lock and its load's two
	changeConns   = 2 // a retirement and the removal of old records: a transaction each
	exportConns   = 2 // a snapshot's readers
	verifyConns   = 1 // a snapshot
	// shortConns are for short statements, which wait for each other: of the tick, alerts, the log, the
	// ledger and River. River's hourly and daily maintenance holds one for up to a minute. On a cluster an
	// export and a verification each take one of them to exclude loads.
	shortConns = 3
)

// PoolConns is the size of the pool that the workers of this configuration need at least. No more
// than all but shortConns are held for long, so a tick always gets one.
func (c Config) PoolConns() int32 {
	n := int32(runConns + changeConns + shortConns)
	if !c.ExportTo.IsZero() {
		n += exportConns
	}
	if c.Verify != VerifyOff {
		n += verifyConns
	}
	return n
}

// SessionConns is the number of connections past a pooler that the workers need on such a pool.
func (c Config) SessionConns(pool int32) int32 { return c.runsAtOnce(pool) + ListenerConns }

// runsAtOnce is the number of runs that a pool has connections for, beside all else.
func (c Config) runsAtOnce(pool int32) int32 {
	return 1 + max(0, pool-c.PoolConns())/runConns
}
