// Command tally is OpenTax's nightly transactions pipeline: it loads messy CSV
// files into PostgreSQL, keeps exact summaries of each user, and serves them.
//
// The exit code is 0 when the work is done, 1 when the data or a check failed, and 2 for a
// usage error. Results go to standard output, progress and logs to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"go.opentelemetry.io/otel/trace"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/logbuffer"

	_ "time/tzdata" // time zones where the system has none, as in a container
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errFailed ends a command whose printed result is a failure.
var errFailed = errors.New("failed")

// usageError is an error of flags or settings.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// cli is the command line.
type cli struct {
	Data        string `placeholder:"DIR" env:"TALLY_DATA" help:"Data folder: the embedded database and the inbox. Default: a folder tally below the user's data folder, or /var/lib/tally as root."`
	DatabaseURL string `name:"database-url" placeholder:"URL" env:"DATABASE_URL" help:"The database; default: the embedded PostgreSQL."`
	DirectURL   string `name:"database-direct-url" placeholder:"URL" env:"DATABASE_DIRECT_URL" help:"The database past a pooler in transaction mode that the database's URL leads to: for locks and notifications."`
	ReadURL     string `name:"database-read-url" placeholder:"URL" env:"DATABASE_READ_URL" help:"Streaming replicas for the reads of the API, with their hosts as in any PostgreSQL URL: postgres://…@host1,host2/…"`
	PostgresBin string `placeholder:"DIR" env:"TALLY_POSTGRES_BIN" help:"Folder with the programs postgres and initdb (15 to 18) for the embedded database; default: look for installed ones."`
	Config      string `placeholder:"FILE" env:"TALLY_CONFIG" help:"Settings file (YAML): time zone, catch-up policy, verification, currency, sources, export, notifications, retention, rate limit, staleness of replicas. Default: tally.yaml in the data folder, if there."`
	LogFormat   string `enum:"text,json" default:"text" env:"TALLY_LOG_FORMAT" help:"Format of the log: text or json."`
	LogLevel    string `enum:"debug,info,warn,error" default:"info" env:"TALLY_LOG_LEVEL" help:"Minimum level of the log: debug, info, warn or error."`

	Up         upCmd         `cmd:"" help:"Everything in one process: database, migrations, schedule, workers, API, River UI."`
	Serve      serveCmd      `cmd:"" help:"Only the API."`
	Work       workCmd       `cmd:"" help:"Only the schedule and the workers."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database's schema up to date."`
	Run        runCmd        `cmd:"" help:"Process files now, in the foreground."`
	Backfill   backfillCmd   `cmd:"" help:"Enqueue the runs of a range of logical dates."`
	Check      checkCmd      `cmd:"" help:"Profile a file without a database."`
	Status     statusCmd     `cmd:"" help:"Show whether the last nightly run is complete, and what needs action."`
	Schedule   scheduleCmd   `cmd:"" help:"Show what is due and when; with --set, set the last date that is decided."`
	Sources    sourcesCmd    `cmd:"" help:"Show each source with its settings and what its files have proven."`
	Generate   generateCmd   `cmd:"" help:"Write synthetic dirty CSV to standard output."`
	Rejects    rejectsCmd    `cmd:"" help:"List rows that were not loaded: rejected rows and conflicts."`
	Replay     replayCmd     `cmd:"" help:"Read open rejected rows again under the settings of today, and load those that pass."`
	Fix        fixCmd        `cmd:"" help:"Load a reject with corrected values."`
	Settle     settleCmd     `cmd:"" help:"Decide a conflict."`
	Discard    discardCmd    `cmd:"" help:"Close a reject without loading it."`
	Revert     revertCmd     `cmd:"" help:"Take a loaded file, or those of a run, back out."`
	Verify     verifyCmd     `cmd:"" help:"Recompute and compare every rollup and key."`
	Audit      auditCmd      `cmd:"" help:"Check the audit chain over all commits that changed data."`
	Rebuild    rebuildCmd    `cmd:"" help:"Recompute rollups and keys that differ."`
	Partitions partitionsCmd `cmd:"" help:"List the months of transactions, and retire old ones."`
	History    historyCmd    `cmd:"" help:"Show every state of a transaction, with its file, its line and what brought it."`
	Prove      proveCmd      `cmd:"" help:"Write a receipt from a user's total to lines of files, or check one without a database."`
	Report     reportCmd     `cmd:"" help:"Report on the database: plans, problems, costs and growth."`
	Export     exportCmd     `cmd:"" help:"Write transactions and rollups as Parquet, to a folder or an object store."`
	Notify     notifyCmd     `cmd:"" help:"Send a test message through each alert channel."`
	Token      tokenCmd      `cmd:"" help:"Add, list and revoke tokens of the API."`
	Psql       psqlCmd       `cmd:"" help:"A psql session on the database in use."`
	Health     healthCmd     `cmd:"" hidden:"" help:"Check that a running server is ready."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print the completion script of a shell."`
	Complete   completeCmd   `cmd:"" hidden:"" help:"Complete a command line."`
	Manual     manualCmd     `cmd:"" hidden:"" help:"Write the manual pages."`
}

// environment has what commands share.
type environment struct {
	*cli
	stdout, stderr io.Writer
	terminal       terminal // of stdout
	logger         *slog.Logger
	tracer         trace.TracerProvider // nil without tracing
	accessLog      *slog.Logger         // the same log, buffered for a moment
	stores         *bucket.Stores
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { // a second signal ends the process at once
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process, for tests.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	var c cli
	exited := false
	parser, err := kong.New(&c,
		kong.Name("tally"),
		kong.Description("OpenTax's nightly transactions pipeline."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(n int) { exited, code = true, n }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return exitCode(stderr, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited {
		return code // --help
	}
	if err != nil {
		return exitCode(stderr, usageError{err})
	}
	log := logbuffer.New(stderr)
	defer log.Flush() //nolint:errcheck // an error of the log itself cannot be logged
	handler := newLogHandler(c, log)
	env := &environment{
		cli: &c, stdout: stdout, stderr: stderr, terminal: terminalOf(stdout), logger: slog.New(log.Prompt(handler)), accessLog: slog.New(handler), stores: &bucket.Stores{},
	}
	stop, err := env.trace(ctx)
	if err != nil {
		return exitCode(stderr, err)
	}
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(env)
	return exitCode(stderr, errors.Join(err, env.stores.Close()))
}

// exitCode prints an error once and turns it into the exit code.
func exitCode(stderr io.Writer, err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errFailed):
		return exitFailed
	}
	t := terminalOf(stderr)
	fmt.Fprintf(stderr, "%s %v\n", t.paint(red, "tally:"), err)
	if next := nextStep(err); next != "" {
		fmt.Fprintf(stderr, "%s %s\n", t.paint(bold, "next:"), next)
	}
	if _, wrong := errors.AsType[usageError](err); wrong {
		return exitUsage
	}
	return exitFailed
}

func newLogHandler(c cli, w io.Writer) slog.Handler {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		panic(err) // kong's enum allows the four names only
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// version is set by the linker in a release; see codeVersion.
var version string

// codeVersion is the code's version in the ledger: the release, else the commit.
func codeVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return revision[:min(12, len(revision))] + dirty
}

type versionCmd struct{}

func (versionCmd) Run(_ context.Context, env *environment) error {
	_, err := fmt.Fprintln(env.stdout, "tally", codeVersion())
	return err
}
