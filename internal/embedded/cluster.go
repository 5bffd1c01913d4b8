package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// scratchCluster prefixes the folder in which initdb creates a cluster.
const scratchCluster = "pgdata.new-"

// clusterMajor returns the major version of the cluster, 0 if there is none.
func (s *Server) clusterMajor() (int, error) {
	path := filepath.Join(s.layout.data(), "PG_VERSION")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, &Error{Op: "read", Path: path, Err: err}
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, &Error{Op: "read", Path: path, Err: err}
	}
	return major, nil
}

// initCluster creates the cluster if there is none.
func (s *Server) initCluster(ctx context.Context) error {
	major, err := s.clusterMajor()
	if err != nil {
		return err
	}
	if err := s.readPassword(major != 0); err != nil || major != 0 {
		return err
	}
	s.config.Logger.InfoContext(ctx, "creating a database cluster", "folder", s.layout.data(), "postgres", s.programs.major)
	s.removeUnfinished(ctx)
	// The initdb of a killed process may still be running: a random name keeps it
	// out of this folder.
	scratch := s.layout.path(scratchCluster + strings.ToLower(rand.Text()))
	if err := s.owner.mkdir(scratch); err != nil {
		return err
	}
	if err := s.initdb(ctx, scratch); err != nil {
		return err
	}
	if err := os.Rename(scratch, s.layout.data()); err != nil {
		return &Error{Op: "rename the cluster to", Path: s.layout.data(), Err: err}
	}
	return syncDir(s.layout.dir)
}

// removeUnfinished removes the incomplete clusters of killed processes.
func (s *Server) removeUnfinished(ctx context.Context) {
	left, err := filepath.Glob(s.layout.path(scratchCluster + "*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil { // it only takes disk space
		s.config.Logger.DebugContext(ctx, "could not remove an incomplete cluster", "error", err)
	}
}

func (s *Server) initdb(ctx context.Context, target string) error {
	secret := s.layout.path("password.initdb") // the server's user may not be able to read the password file
	if err := s.owner.writeSecret(secret, s.password); err != nil {
		return err
	}
	defer os.Remove(secret) //nolint:errcheck // overwritten by the next one
	args := []string{"--pgdata", target, "--username", superuser, "--pwfile", secret,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--data-checksums"}
	if s.config.Settings["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	command := s.owner.command(ctx, s.programs.path("initdb"), args...)
	command.Dir = s.layout.dir
	if out, err := command.CombinedOutput(); err != nil {
		return &Error{Op: "initdb in", Path: target, Err: fmt.Errorf("%w\n%s", errors.Join(ctx.Err(), err), lastLines(string(out)))}
	}
	return nil
}

// readPassword reads the folder's password, or generates one for a new cluster.
func (s *Server) readPassword(needed bool) error {
	path := s.layout.password()
	text, err := os.ReadFile(path)
	if s.password = strings.TrimSpace(string(text)); s.password != "" {
		return nil
	}
	if err == nil {
		err = errors.New("the file is empty")
	}
	if needed || !errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "read the superuser's password from", Path: path, Err: err,
			Hint: "restore it (one line), or move " + s.layout.data() + " away to create a new cluster"}
	}
	s.password = rand.Text()
	return writeDurably(path, s.password+"\n")
}

// writeDurably writes a file atomically and syncs it: a power failure must not lose
// the password, without which the cluster is unusable.
func writeDurably(path, text string) error {
	scratch := path + ".new"
	err := func() (err error) {
		file, err := os.OpenFile(scratch, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		if _, err := file.WriteString(text); err != nil {
			return err
		}
		return file.Sync()
	}()
	if err == nil {
		err = os.Rename(scratch, path)
	}
	if err != nil {
		return &Error{Op: "write", Path: path, Err: err}
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return &Error{Op: "sync", Path: path, Err: err}
	}
	return nil
}

// ensureDatabase creates the database tally if it is missing. It runs on every
// start, since a process may have been killed after initdb.
func (s *Server) ensureDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.endpoint.url(s.password, maintenance))
	if err != nil {
		return &Error{Op: "connect to", Path: s.endpoint.host, Err: err}
	}
	var exists bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", databaseName).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{databaseName}.Sanitize())
	}
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return &Error{Op: "create the database", Path: databaseName, Err: err}
	}
	return nil
}
