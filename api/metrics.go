package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

const (
	metricsPath = "/metrics"
	// scrapeTimeout bounds the reading of the ledger, below Prometheus's usual ten
	// seconds for a whole scrape.
	scrapeTimeout = 5 * time.Second
)

// Figures are what /metrics shows besides the requests; whatever is nil is left out.
type Figures struct {
	// Ledger reads the figures of runs and files. Where it fails, tally_ledger_up is 0
	// and they are left out of that scrape.
	Ledger func(ctx context.Context) (ledger.Stats, error)
	Pool   func() *pgxpool.Stat
	Cache  func() summaries.CacheStats
}

// metrics is the registry of one handler.
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
	m.registry.MustRegister(m.requests, build, figures{f},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
}

// observe notes an answered request. A method that the client made up does not get a
// name of its own.
func (m *metrics) observe(o outcome, took time.Duration) {
	if !o.standardMethod() {
		o.method = "other"
	}
	m.requests.WithLabelValues(o.method, o.route, strconv.Itoa(o.status)).Observe(took.Seconds())
}

// figures collects what others count.
type figures struct{ Figures }

// metric describes a figure.
func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tally_"+name, help, labels, nil)
}

// Describe gives nothing, since what there is depends on the configuration.
func (figures) Describe(chan<- *prometheus.Desc) {}

// Collect reads every figure once.
func (f figures) Collect(out chan<- prometheus.Metric) {
	put := func(kind prometheus.ValueType, d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	if f.Pool != nil {
		collectPool(f.Pool(), put)
	}
	if f.Cache != nil {
		collectCache(f.Cache(), put)
	}
	if f.Ledger != nil {
		collectLedger(f.Ledger, put)
	}
}

type putMetric func(kind prometheus.ValueType, d *prometheus.Desc, v float64, labels ...string)

func collectPool(s *pgxpool.Stat, put putMetric) {
	connections := metric("pool_connections", "Connections to the database, by state.", "state")
	put(prometheus.GaugeValue, connections, float64(s.AcquiredConns()), "in_use")
	put(prometheus.GaugeValue, connections, float64(s.IdleConns()), "idle")
	put(prometheus.GaugeValue, connections, float64(s.ConstructingConns()), "opening")
	put(prometheus.GaugeValue, metric("pool_max_connections", "Maximum number of connections in the pool."), float64(s.MaxConns()))
	put(prometheus.CounterValue, metric("pool_acquires_total", "Connections acquired from the pool."), float64(s.AcquireCount()))
	put(prometheus.CounterValue, metric("pool_waits_total", "Acquired connections that had to wait."), float64(s.EmptyAcquireCount()))
	put(prometheus.CounterValue, metric("pool_wait_seconds_total", "Time spent waiting for a connection."), s.EmptyAcquireWaitTime().Seconds())
}

func collectCache(s summaries.CacheStats, put putMetric) {
	lookups := metric("summary_lookups_total", "Summary look-ups: hit, from memory; miss, from the database; past, from the database while the cache is inactive.", "result")
	put(prometheus.CounterValue, lookups, float64(s.Hits), "hit")
	put(prometheus.CounterValue, lookups, float64(s.Misses), "miss")
	put(prometheus.CounterValue, lookups, float64(s.Past), "past")
	total := max(1, s.Hits+s.Misses+s.Past)
	put(prometheus.GaugeValue, metric("summary_cache_hit_ratio", "Share of look-ups since the start that were served from memory."), float64(s.Hits)/float64(total))
	put(prometheus.GaugeValue, metric("summary_cache_entries", "Users whose summary, or lack of one, is cached."), float64(s.Entries))
	listening := 0.0
	if s.Listening {
		listening = 1
	}
	put(prometheus.GaugeValue, metric("summary_cache_listening", "Whether notifications of commits are received, so that the cache is active."), listening)
}

func collectLedger(read func(context.Context) (ledger.Stats, error), put putMetric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	l, err := read(ctx)
	up := metric("ledger_up", "Whether the ledger's figures could be read.")
	if err != nil {
		put(prometheus.GaugeValue, up, 0)
		return
	}
	put(prometheus.GaugeValue, up, 1)
	runs := metric("runs", "Runs in the ledger, by kind and state of the last attempt.", "kind", "status")
	for _, r := range l.Runs {
		put(prometheus.GaugeValue, runs, float64(r.Runs), r.Kind, r.Status)
	}
	files := metric("files_total", "Files read, by status.", "status")
	put(prometheus.CounterValue, files, float64(l.FilesLoaded), "loaded")
	put(prometheus.CounterValue, files, float64(l.FilesFailed), "failed")
	rows := metric("rows_total", "Rows read, by outcome.", "outcome")
	put(prometheus.CounterValue, rows, float64(l.Loaded), "loaded")
	put(prometheus.CounterValue, rows, float64(l.Duplicate), "duplicate")
	put(prometheus.CounterValue, rows, float64(l.Conflict), "conflict")
	put(prometheus.CounterValue, rows, float64(l.Rejected), "rejected")
	if !l.LastSuccess.IsZero() {
		put(prometheus.GaugeValue, metric("last_success_timestamp_seconds", "Time of the last successful run of a date."), float64(l.LastSuccess.UnixMilli())/1000)
		put(prometheus.GaugeValue, metric("last_success_age_seconds", "Age of the last successful run of a date, by the database's clock."), l.LastSuccessAge.Seconds())
	}
	if !l.LastExport.IsZero() {
		put(prometheus.GaugeValue, metric("last_export_timestamp_seconds", "Time of the last successful export."), float64(l.LastExport.UnixMilli())/1000)
		put(prometheus.GaugeValue, metric("last_export_age_seconds", "Age of the last successful export, by the database's clock."), l.LastExportAge.Seconds())
	}
	put(prometheus.GaugeValue, metric("queue_runs", "Runs of a date waiting for a worker."), float64(l.Waiting))
	put(prometheus.GaugeValue, metric("queue_age_seconds", "Age of the oldest waiting run; 0 if there is none."), l.WaitingAge.Seconds())
}
