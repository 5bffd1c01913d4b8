// Package report reports on a live database: the plan of every statement, faults of the schema, the statistics and the
// settings, its growth, and the cost of each, most severe first.
//
// It only reads: one connection, one read-only transaction, with a limit on every statement and on the whole. [Report].Skipped
// lists what took too long or what the role may not see; the rest of the report is complete all the same. Suggested fixes are
// never executed.
package report

import (
	"encoding/json"
	"fmt"
	"time"
)

// Report is the result. Times are in the unit that their name ends with; lists are in reading order.
type Report struct {
	Version    string      `json:"version"` // Tally's
	At         time.Time   `json:"at"`
	Took       float64     `json:"took_seconds"`
	Server     Server      `json:"server"`
	Machine    Machine     `json:"machine"`
	Empty      bool        `json:"empty"` // nothing was ever loaded
	Findings   []Finding   `json:"findings"`
	Nights     []Night     `json:"nights"`
	Growth     []Growth    `json:"growth"`
	Forecasts  []Forecast  `json:"forecasts"`
	Queries    []Query     `json:"queries"`
	Tables     []Table     `json:"tables"`
	Indexes    []Index     `json:"indexes"`
	Partitions []Partition `json:"partitions"`
	Settings   []Setting   `json:"settings"`
	Statements []Statement `json:"statements"`
	Skipped    []Skip      `json:"skipped"`
}

// Server is the database and its server.
type Server struct {
	Version    string     `json:"version" db:"version"`
	Number     int        `json:"version_number" db:"number"` // 150018 for 15.18
	Database   string     `json:"database" db:"database"`
	Bytes      int64      `json:"bytes" db:"bytes"`
	Since      time.Time  `json:"since" db:"since"`             // the server's start
	StatsSince *time.Time `json:"stats_since" db:"stats_since"` // counters count from here; nil: from the cluster's beginning
	Replica    bool       `json:"replica" db:"replica"`
	Standbys   int        `json:"standbys" db:"standbys"` // that are connected to it
	Embedded   bool       `json:"embedded" db:"embedded"` // Tally's own server
	// Distributed says that this is the coordinator of a cluster, which has the rows.
	Distributed bool `json:"distributed" db:"distributed"`
}

// rung is where the database stands on the ladder of docs/operations.md.
func (s Server) rung() string {
	switch {
	case s.Distributed:
		return "6, a cluster (this is its coordinator)"
	case s.Replica:
		return "3, a server with replicas (this is one)"
	case s.Standbys > 0:
		return fmt.Sprintf("3, a server with replicas (%d connected)", s.Standbys)
	case s.Embedded:
		return "1, one machine with Tally's own server; next: a server of its own"
	}
	return "2, a server of its own; next: replicas"
}

// Machine has the resources of the database; 0 is not known, as for a database on another machine.
type Machine struct {
	Memory   int64 `json:"memory_bytes"`
	CPUs     int   `json:"cpus"`
	FreeDisk int64 `json:"free_disk_bytes"`
}

// Severity is compared before the weight.
type Severity string

// The severities, the most severe first.
const (
	Critical Severity = "critical" // money is missing, or would be after a crash
	Warning  Severity = "warning"  // it costs time or room already, or will soon
	Note     Severity = "note"     // good to know
)

// Finding is a fault or a risk.
type Finding struct {
	ID       string   `json:"id"` // of its kind, such as missing-index
	Severity Severity `json:"severity"`
	Subject  string   `json:"subject"` // the relation, setting or query
	Title    string   `json:"title"`
	Cost     string   `json:"cost"`   // with a figure where there is one
	Weight   float64  `json:"weight"` // sorts findings of one severity
	Evidence []string `json:"evidence"`
	Fix      string   `json:"fix"` // SQL, or comments of it; never executed
}

// Night is one day's loads, by the day (UTC) on which they ended.
type Night struct {
	Day      time.Time `json:"day" db:"day"`
	Files    int64     `json:"files" db:"files"`
	Read     int64     `json:"read" db:"read"`
	Loaded   int64     `json:"loaded" db:"loaded"`
	Rejected int64     `json:"not_loaded" db:"not_loaded"`
	Bytes    int64     `json:"file_bytes" db:"bytes"`
	Seconds  float64   `json:"seconds" db:"seconds"` // all loads' time, added up
}

// Growth is the growth of a table, its partitions and indexes included.
type Growth struct {
	Table         string  `json:"table"`
	Bytes         int64   `json:"bytes"`
	Rows          int64   `json:"rows"` // as the planner estimates them
	BytesPerRow   float64 `json:"bytes_per_row"`
	BytesPerNight float64 `json:"bytes_per_night"` // 0 where there are too few nights
}

// Forecast is the day on which a limit is met if nights go on as they have.
type Forecast struct {
	Limit string     `json:"limit"`
	Now   string     `json:"now"` // with units
	At    string     `json:"at"`  // the limit's value, with units
	Day   *time.Time `json:"day"` // nil: not within a hundred years, or not known
	Why   string     `json:"why"` // how the day was computed, or why there is none
}

// Query is one of Tally's statements and its plan on this database.
type Query struct {
	Name      string          `json:"name"`
	Purpose   string          `json:"purpose"`
	SQL       string          `json:"sql"`
	Executed  bool            `json:"executed"` // false: only planned, as it writes or reads whole tables
	Planning  float64         `json:"planning_ms"`
	Execution float64         `json:"execution_ms"`
	Buffers   int64           `json:"buffers"`  // pages touched
	Expected  []string        `json:"expected"` // compared with its plan
	Denied    []string        `json:"denied"`   // expectations that do not hold
	Plan      json.RawMessage `json:"plan"`     // as EXPLAIN (FORMAT JSON) gave it
	Text      string          `json:"text"`     // the same, to read
	Skipped   string          `json:"skipped"`  // why there is no plan; empty where there is one
}

// Table is a table, a partition, or a partitioned table without sizes of its own.
type Table struct {
	Name         string     `json:"name" db:"name"`
	PartitionOf  string     `json:"partition_of" db:"partition_of"`
	Partitioned  bool       `json:"partitioned" db:"partitioned"`
	Rows         float64    `json:"rows" db:"rows"` // the planner's estimate; -1: never vacuumed or analyzed
	Live         int64      `json:"live" db:"live"`
	Dead         int64      `json:"dead" db:"dead"`
	Bytes        int64      `json:"bytes" db:"bytes"`
	IndexBytes   int64      `json:"index_bytes" db:"index_bytes"`
	Bloat        int64      `json:"bloat_bytes" db:"bloat"` // estimated from pg_stats: room that rows do not need
	Modified     int64      `json:"modified_since_analyze" db:"modified"`
	Analyzed     *time.Time `json:"analyzed" db:"analyzed"`
	Vacuumed     *time.Time `json:"vacuumed" db:"vacuumed"`
	HasStats     bool       `json:"has_statistics" db:"has_stats"`
	SeqScans     int64      `json:"seq_scans" db:"seq_scans"`
	SeqRows      int64      `json:"seq_rows" db:"seq_rows"`
	IndexScans   int64      `json:"index_scans" db:"index_scans"`
	Updates      int64      `json:"updates" db:"updates"`
	HotUpdates   int64      `json:"hot_updates" db:"hot_updates"`
	HeapHit      int64      `json:"heap_hit" db:"heap_hit"` // pages found in shared_buffers
	HeapRead     int64      `json:"heap_read" db:"heap_read"`
	IndexHit     int64      `json:"index_hit" db:"index_hit"`
	IndexRead    int64      `json:"index_read" db:"index_read"`
	FrozenXIDAge int64      `json:"frozen_xid_age" db:"xid_age"`
}

// Index is an index, of a partition or of a whole table.
type Index struct {
	Name       string `json:"name" db:"name"`
	Table      string `json:"table" db:"table_name"`
	Definition string `json:"definition" db:"definition"`
	Partition  bool   `json:"of_partition" db:"of_partition"`
	Constraint bool   `json:"constraint" db:"is_constraint"` // keeps a rule, so it is needed without being read
	Valid      bool   `json:"valid" db:"valid"`
	Bytes      int64  `json:"bytes" db:"bytes"`
	Scans      int64  `json:"scans" db:"scans"`
}

// Partition is one month of transactions: the rows of its table, and those that daily_totals counts.
type Partition struct {
	Month   time.Time `json:"month" db:"month"`
	Name    string    `json:"name" db:"name"` // empty: there is none
	Rows    float64   `json:"rows" db:"rows"`
	Bytes   int64     `json:"bytes" db:"bytes"`
	Held    float64   `json:"held" db:"held"` // rows that its pages hold, estimated; -1: not known
	Counted int64     `json:"counted" db:"counted"`
	Amount  string    `json:"amount" db:"amount"`
	Apart   bool      `json:"-" db:"apart"` // years from all others: its year may be mistyped, within the window of dates
}

// Setting is a setting of the server that matters here.
type Setting struct {
	Name    string `json:"name" db:"name"`
	Value   string `json:"value" db:"value"`   // with its unit, as SHOW gives it
	Source  string `json:"source" db:"source"` // default, configuration file, …
	Default bool   `json:"default" db:"is_default"`
	Bytes   int64  `json:"-" db:"bytes"` // 0 where it is no size
}

// Statement is one of the slowest in pg_stat_statements.
type Statement struct {
	Text  string  `json:"text" db:"text"`
	Calls int64   `json:"calls" db:"calls"`
	Total float64 `json:"total_ms" db:"total"`
	Mean  float64 `json:"mean_ms" db:"mean"`
	Rows  int64   `json:"rows" db:"rows"`
}

// Skip is a part that the report lacks, with the reason.
type Skip struct {
	What string `json:"what"`
	Why  string `json:"why"`
}
