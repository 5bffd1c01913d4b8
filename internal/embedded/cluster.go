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

// scratchCluster is what a cluster is called while it is being made.
const scratchCluster = "pgdata.new-"

// clusterMajor is the version that made the cluster, 0 where there is none.
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

// initialise makes the cluster where there is none.
func (s *Server) initialise(ctx context.Context) error {
	major, err := s.clusterMajor()
	if err != nil {
		return err
	}
	if err := s.readPassword(major != 0); err != nil || major != 0 {
		return err
	}
	s.config.Logger.InfoContext(ctx, "making a database cluster", "folder", s.layout.data(), "postgres", s.programs.major)
	s.removeUnfinished(ctx)
	// The initdb of a killed process may still be at work: a name of its own
	// keeps it out of this one.
	scratch := s.layout.path(scratchCluster + strings.ToLower(rand.Text()))
	if err := s.owner.mkdir(scratch); err != nil {
		return err
	}
	if err := s.initdb(ctx, scratch); err != nil {
		return err
	}
	if err := os.Rename(scratch, s.layout.data()); err != nil {
		return &Error{Op: "name the cluster", Path: s.layout.data(), Err: err}
	}
	return syncDir(s.layout.dir)
}

// removeUnfinished clears what killed processes have left half made.
func (s *Server) removeUnfinished(ctx context.Context) {
	left, err := filepath.Glob(s.layout.path(scratchCluster + "*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil { // it only takes room
		s.config.Logger.DebugContext(ctx, "an unfinished cluster stays behind", "error", err)
	}
}

func (s *Server) initdb(ctx context.Context, target string) error {
	secret := s.layout.path("password.initdb") // the server's user may not read the password itself
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

// readPassword reads the folder's password, or makes one up for a new cluster.
func (s *Server) readPassword(needed bool) error {
	path := s.layout.password()
	text, err := os.ReadFile(path)
	if s.password = strings.TrimSpace(string(text)); s.password != "" {
		return nil
	}
	if err == nil {
		err = errors.New("it is empty")
	}
	if needed || !errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "read the superuser's password from", Path: path, Err: err,
			Hint: "write it back (one line), or move " + s.layout.data() + " away to begin anew"}
	}
	s.password = rand.Text()
	return writeDurably(path, s.password+"\n")
}

// writeDurably leaves either the whole file or none, also after a power failure:
// without its password the cluster is lost.
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

// ensureDatabase makes the database tally; a process may have been killed
// between initdb and this.
func (s *Server) ensureDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.endpoint.url(s.password, maintenance))
	if err != nil {
		return &Error{Op: "connect to", Path: s.endpoint.host, Err: err}
	}
	var there bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", databaseName).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{databaseName}.Sanitize())
	}
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return &Error{Op: "make the database", Path: databaseName, Err: err}
	}
	return nil
}
