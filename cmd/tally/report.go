package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/opentax/tally/internal/report"
	"github.com/opentax/tally/migrations"
)

type reportCmd struct {
	Out    string        `placeholder:"DIR" help:"Write report.html, report.md, report.json and every plan into this folder."`
	JSON   bool          `name:"json" help:"Print the report as JSON."`
	Within time.Duration `default:"50s" help:"How long it may take; what does not fit in is named in the report."`
}

func (cmd *reportCmd) Run(ctx context.Context, env *environment) (err error) {
	if cmd.Within <= 0 {
		return usageError{fmt.Errorf("--within is %s; it takes a time above 0", cmd.Within)}
	}
	if cmd.Out != "" { // a wrong folder fails before the report has taken a minute
		if err := os.MkdirAll(filepath.Join(cmd.Out, "plans"), 0o755); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	db, err := env.connect(ctx, parts{})
	if err != nil {
		return err
	}
	defer closing(&err, db.Close)
	pending, err := pendingMigrations(ctx, db)
	if err != nil {
		return err
	}
	env.logger.InfoContext(ctx, "reporting on the database", "within", cmd.Within)
	made, err := report.Make(ctx, report.Config{
		Pool: db.pool, Queries: queries, Rollups: rollups(), Pending: pending, Within: cmd.Within,
		Machine: env.machineOf(db), Version: codeVersion(),
	})
	if err != nil {
		return err
	}
	if cmd.Out != "" {
		if err := writeReport(cmd.Out, made); err != nil {
			return err
		}
		env.logger.InfoContext(ctx, "wrote the report", "page", filepath.Join(cmd.Out, "report.html"), "findings", len(made.Findings))
	}
	switch {
	case cmd.JSON:
		return writeJSON(env.stdout, made)
	case cmd.Out == "":
		return report.WriteMarkdown(env.stdout, made)
	}
	return nil
}

func pendingMigrations(ctx context.Context, db *database) (pending []string, err error) {
	steps, err := migrations.Status(ctx, db.pool)
	return pendingNames(steps), err
}

// writeReport replaces each file at once, so that a reader never finds half of one. Plans of an earlier report are
// overwritten.
func writeReport(dir string, r *report.Report) error {
	for name, write := range map[string]func(io.Writer, *report.Report) error{
		"report.html": report.WriteHTML, "report.md": report.WriteMarkdown,
		"report.json": func(w io.Writer, r *report.Report) error { return writeJSON(w, r) },
	} {
		var content bytes.Buffer
		if err := write(&content, r); err != nil {
			return err
		}
		if err := replaceFile(filepath.Join(dir, name), content.Bytes()); err != nil {
			return err
		}
	}
	for _, q := range r.Queries {
		if q.Plan == nil {
			continue
		}
		path := filepath.Join(dir, "plans", strings.ReplaceAll(q.Name, "/", "_"))
		if err := errors.Join(replaceFile(path+".json", q.Plan), replaceFile(path+".txt", []byte(q.Text+"\n"))); err != nil {
			return err
		}
	}
	return nil
}

func replaceFile(path string, content []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// machineOf returns the resources of a database on this machine, as far as they are known. A forwarded port looks local as
// well; then the figures are those of this end.
func (env *environment) machineOf(db *database) (m report.Machine) {
	host := db.pool.Config().ConnConfig.Host
	if !strings.HasPrefix(host, "/") && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return m
	}
	m.CPUs = runtime.NumCPU()
	if memory, err := mem.VirtualMemory(); err == nil {
		m.Memory = int64(memory.Total)
	}
	if dir, err := env.dataDir(); err == nil && db.server != nil {
		if room, err := disk.Usage(dir); err == nil {
			m.FreeDisk = int64(room.Free)
		}
	}
	return m
}
