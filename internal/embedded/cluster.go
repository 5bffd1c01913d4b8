//go:build unix

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

// clusterMajor returns the major version of the cluster, 0 if there is none.
func (s *Server) clusterMajor() (major int, err error) {
	path := s.path("pgdata/PG_VERSION")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		major, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	return major, failed("read", path, err)
}

func (s *Server) createCluster(ctx context.Context) error {
	s.config.Logger.InfoContext(ctx, "creating a database cluster", "folder", s.data(), "postgres", s.programs.major)
	scratch := s.path("pgdata.new-")
	unfinished, _ := filepath.Glob(scratch + "*") // of killed processes
	for _, dir := range unfinished {
		_ = os.RemoveAll(dir) // it only takes disk space
	}
	// The initdb of a killed process may still be running: a random name keeps it
	// out of this folder.
	scratch += strings.ToLower(rand.Text())
	if err := s.owner.mkdir(scratch); err != nil {
		return err
	}
	if err := s.initdb(ctx, scratch); err != nil {
		return err
	}
	return renameDurably(scratch, s.data())
}

func (s *Server) initdb(ctx context.Context, target string) error {
	secret := s.path("password.initdb") // the server's user may not be able to read the password file
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
	command.Dir = s.dir
	out, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", errors.Join(ctx.Err(), err), lastLines(string(out)))
	}
	return failed("initdb in", target, err)
}

// readPassword reads the folder's password, or generates one for a new cluster.
func (s *Server) readPassword(needed bool) error {
	path := s.path("password")
	text, err := os.ReadFile(path)
	if s.password = strings.TrimSpace(string(text)); s.password != "" {
		return nil
	}
	if err == nil {
		err = errors.New("the file is empty")
	}
	if needed || !errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "read the superuser's password from", Path: path, Err: err,
			Hint: "restore it (one line), or move " + s.data() + " away to create a new cluster"}
	}
	s.password = rand.Text()
	return writeDurably(path, s.password+"\n")
}

// writeDurably writes a file atomically and syncs it: a power failure must not lose
// the password, without which the cluster is unusable.
func writeDurably(path, text string) error {
	scratch := path + ".new"
	file, err := os.OpenFile(scratch, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = file.WriteString(text)
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err != nil {
		return failed("write", path, err)
	}
	return renameDurably(scratch, path)
}

func renameDurably(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		var dir *os.File
		if dir, err = os.Open(filepath.Dir(to)); err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
	}
	return failed("create", to, err)
}

// ensureDatabase creates the database tally if it is missing. It runs on every
// start, since a process may have been killed after initdb.
func ensureDatabase(ctx context.Context, conn *pgx.Conn) error {
	var exists bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", databaseName).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+databaseName)
	}
	return failed("create the database", databaseName, errors.Join(err, conn.Close(ctx)))
}
