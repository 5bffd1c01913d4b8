package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/opentax/tally/internal/replica"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

const (
	metricsPath   = "/metrics"
	scrapeTimeout = 5 * time.Second // of the ledger; Prometheus's default for a scrape is ten seconds
)

// Figures are what /metrics shows besides the requests, as far as they are not nil.
type Figures struct {
	// Ledger reads the figures of runs and files, at most once a second. If it fails,
	// tally_ledger_up is 0 and the scrape omits them.
	Ledger func(ctx context.Context) (ledger.Stats, error)
	Pools  map[string]func() *pgxpool.Stat // by name
	Cache  func() summaries.CacheStats
	Reads  *replica.Set
}

type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

func newMetrics(f Figures, version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tally_http_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its response, by method, route and status.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"method", "route", "status"}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tally_build_info", Help: "1, with the program's version.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.requests, build, &figures{Figures: f, ledger: look[ledger.Stats]{read: f.Ledger, limit: scrapeTimeout}},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for name, stat := range f.Pools {
		prometheus.WrapRegistererWith(prometheus.Labels{"pool": name}, m.registry).MustRegister(poolFigures(stat))
	}
	return m
}

// observe records a request. Methods that clients make up share a name.
func (m *metrics) observe(o outcome, took time.Duration) {
	if !o.standardMethod() {
		o.method = "other"
	}
	m.requests.WithLabelValues(o.method, o.route, strconv.Itoa(o.status)).Observe(took.Seconds())
}

type figures struct {
	Figures
	ledger look[ledger.Stats]
}

// Describe sends nothing, since the figures depend on the configuration.
func (*figures) Describe(chan<- *prometheus.Desc) {}

func (f *figures) Collect(out chan<- prometheus.Metric) {
	if f.Cache != nil {
		collectCache(out, f.Cache())
	}
	if f.Reads != nil {
		collectReads(out, f.Reads)
	}
	if f.Ledger != nil {
		collectLedger(out, f.ledger.get)
	}
}

// send sends a metric. The name of a counter ends in _total.
func send(out chan<- prometheus.Metric, name, help string, v float64) {
	sendAll(out, name, help, nil, map[string]float64{"": v})
}

// sendAll sends a metric with the values of its label, if it has one.
func sendAll(out chan<- prometheus.Metric, name, help string, label []string, values map[string]float64) {
	kind := prometheus.GaugeValue
	if strings.HasSuffix(name, "_total") {
		kind = prometheus.CounterValue
	}
	description := prometheus.NewDesc("tally_"+name, help, label, nil)
	for value, v := range values {
		out <- prometheus.MustNewConstMetric(description, kind, v, []string{value}[:len(label)]...)
	}
}

// poolFigures are of one pool, whose name is a label.
type poolFigures func() *pgxpool.Stat

func (poolFigures) Describe(chan<- *prometheus.Desc) {}

func (f poolFigures) Collect(out chan<- prometheus.Metric) {
	s := f()
	sendAll(out, "pool_connections", "Connections to the database, by state.", []string{"state"}, map[string]float64{
		"in_use": float64(s.AcquiredConns()), "idle": float64(s.IdleConns()), "opening": float64(s.ConstructingConns()),
	})
	send(out, "pool_max_connections", "Maximum number of connections in the pool.", float64(s.MaxConns()))
	send(out, "pool_acquires_total", "Connections acquired from the pool.", float64(s.AcquireCount()))
	send(out, "pool_waits_total", "Acquired connections that had to wait.", float64(s.EmptyAcquireCount()))
	send(out, "pool_wait_seconds_total", "Time spent waiting for a connection.", s.EmptyAcquireWaitTime().Seconds())
}

func collectCache(out chan<- prometheus.Metric, s summaries.CacheStats) {
	sendAll(out, "summary_lookups_total",
		"Summary look-ups: hit, from memory; miss, from the database; past, from the database while the cache is inactive.",
		[]string{"result"}, map[string]float64{"hit": float64(s.Hits), "miss": float64(s.Misses), "past": float64(s.Past)})
	send(out, "summary_cache_hit_ratio", "Share of look-ups since the start that were served from memory.",
		float64(s.Hits)/float64(max(1, s.Hits+s.Misses+s.Past)))
	send(out, "summary_cache_entries", "Users whose summary, or lack of one, is cached.", float64(s.Entries))
	send(out, "summary_cache_listening", "Whether notifications of commits are received, so that the cache is active.", oneIf(s.Listening))
}

func collectReads(out chan<- prometheus.Metric, set *replica.Set) {
	available, replicas, lag, epoch := map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, s := range set.States() {
		available[s.Name] = oneIf(s.Available && !s.Behind)
		if s.Available {
			replicas[s.Name], lag[s.Name], epoch[s.Name] = oneIf(s.Replica), s.Lag.Seconds(), float64(s.Epoch)
		}
	}
	server := []string{"server"}
	sendAll(out, "read_server_available", "Whether a database server may answer reads: it responds, and is within the bound.", server, available)
	sendAll(out, "read_server_replica", "Whether a database server is a replica now.", server, replicas)
	sendAll(out, "read_server_lag_seconds", "A replica lacks no commit that is older, as far as is known; 0 for a primary.", server, lag)
	sendAll(out, "read_server_epoch", "The number of a server's last data-changing commit.", server, epoch)
	n := set.Counts()
	sendAll(out, "reads_total", "Answers about data from the database, by who gave them.", []string{"served_by"},
		map[string]float64{"primary": float64(n.Primary), "replica": float64(n.Replica)})
	sendAll(out, "reads_passed_over_total", "Times that a server failed or had no answer that is new enough, so that another one was asked.", []string{"served_by"},
		map[string]float64{"primary": float64(n.PassedPrimary), "replica": float64(n.PassedReplica)})
	send(out, "reads_stale_total", "Requests that no server had an answer for in time that is new enough.", float64(n.Refused))
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}

func collectLedger(out chan<- prometheus.Metric, read func(context.Context) (ledger.Stats, error)) {
	l, err := read(context.Background()) // which bounds its time
	send(out, "ledger_up", "Whether the ledger's figures could be read.", oneIf(err == nil))
	if err != nil {
		return
	}
	runs := prometheus.NewDesc("tally_runs", "Runs in the ledger, by kind and state of the last attempt.", []string{"kind", "status"}, nil)
	for _, r := range l.Runs {
		out <- prometheus.MustNewConstMetric(runs, prometheus.GaugeValue, float64(r.Runs), r.Kind, r.Status)
	}
	sendAll(out, "files_total", "Files read, by status.", []string{"status"}, map[string]float64{
		"loaded": float64(l.FilesLoaded), "failed": float64(l.FilesFailed),
	})
	sendAll(out, "rows_total", "Rows read, by outcome.", []string{"outcome"}, map[string]float64{
		"loaded": float64(l.Loaded), "duplicate": float64(l.Duplicate), "conflict": float64(l.Conflict), "rejected": float64(l.Rejected),
	})
	sendLast(out, "success", "successful run of a date", l.LastSuccess, l.LastSuccessAge)
	sendLast(out, "export", "successful export", l.LastExport, l.LastExportAge)
	open := map[string]float64{}
	for _, a := range l.Alerts {
		open[a.Cause] = float64(a.Alerts)
	}
	sendAll(out, "alerts_open", "Open alerts, by cause.", []string{"cause"}, open)
	send(out, "messages_failed_total", "Messages about alerts that could not be delivered.", float64(l.Undelivered))
	sendLast(out, "verification", "verification that ended", l.LastVerification, l.LastVerificationAge)
	if !l.LastVerification.IsZero() {
		results := map[string]float64{ledger.StatusClean: 0, ledger.StatusDrift: 0, ledger.StatusFailed: 0}
		results[l.LastVerificationStatus] = 1
		sendAll(out, "last_verification", "1 for the status of the last verification.", []string{"status"}, results)
		send(out, "last_verification_differences", "Differences that the last verification found.", float64(l.LastVerificationDrifts))
	}
	send(out, "queue_runs", "Runs of a date waiting for a worker.", float64(l.Waiting))
	if l.Schedule != nil {
		send(out, "clock_skew_seconds", "How far this machine's clock is ahead of the database's.", l.Schedule.ClockSkew.Seconds())
		send(out, "schedule_undecided_days", "Days that ended after the last that the schedule decided; less than 0 if that day has not ended.",
			float64(l.Schedule.Undecided))
	}
	send(out, "queue_age_seconds", "Age of the oldest waiting run; 0 if there is none.", l.WaitingAge.Seconds())
}

func sendLast(out chan<- prometheus.Metric, name, event string, at time.Time, age time.Duration) {
	if !at.IsZero() {
		send(out, "last_"+name+"_timestamp_seconds", "Time of the last "+event+".", float64(at.UnixMilli())/1000)
		send(out, "last_"+name+"_age_seconds", "Age of the last "+event+", by the database's clock.", age.Seconds())
	}
}
