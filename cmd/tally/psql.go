package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

type psqlCmd struct {
	Command []string `short:"c" sep:"none" placeholder:"SQL" help:"Run this and exit."`
	Args    []string `arg:"" optional:"" help:"Further arguments for psql, after --."`
}

func (cmd psqlCmd) Run(ctx context.Context, env *environment) (err error) {
	program, err := exec.LookPath("psql")
	if err != nil {
		return fmt.Errorf("%w: install PostgreSQL's client programs", err)
	}
	db, err := env.locate(ctx)
	if err != nil {
		return err
	}
	defer closing(&err, db.Close)
	// Past a pooler, so that settings, locks and temporary tables last for the session.
	url, password, err := withoutPassword(cmp.Or(env.DirectURL, db.url))
	if err != nil {
		return err
	}
	args := []string{"-d", url}
	for _, sql := range cmd.Command {
		args = append(args, "-c", sql)
	}
	// Without ctx, since psql handles Ctrl-C itself: it cancels the query and stays.
	psql := exec.CommandContext(context.WithoutCancel(ctx), program, append(args, cmd.Args...)...)
	if password != "" {
		psql.Env = append(os.Environ(), "PGPASSWORD="+password)
	}
	psql.Stdin, psql.Stdout, psql.Stderr = os.Stdin, env.stdout, env.stderr
	err = psql.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		env.logger.DebugContext(ctx, "psql ended", "code", exit.ExitCode())
		return errFailed
	}
	return err
}

// setting matches a setting of a connection string in keyword/value form: its name, and
// its value with or without quotes.
var setting = regexp.MustCompile(`(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\]|\\.)*))\s*`)

// poolPrefix begins the names of the pool's settings, which libpq does not know.
const poolPrefix = "pool_"

// withoutPassword takes the password out of a connection string, since all users see the
// arguments of a program, and the pool's settings.
func withoutPassword(connection string) (rest, password string, err error) {
	if !strings.HasPrefix(connection, "postgres://") && !strings.HasPrefix(connection, "postgresql://") {
		rest = setting.ReplaceAllStringFunc(connection, func(pair string) string {
			parts := setting.FindStringSubmatch(pair)
			if strings.HasPrefix(parts[1], poolPrefix) {
				return ""
			}
			if parts[1] != "password" {
				return pair
			}
			password = regexp.MustCompile(`\\(.)`).ReplaceAllString(parts[2]+parts[3], "$1")
			return ""
		})
		return rest, password, nil
	}
	u, err := url.Parse(connection)
	if err != nil {
		return "", "", errors.New("psql: the database's URL is invalid") // err has the password
	}
	if u.User != nil {
		password, _ = u.User.Password()
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	before := len(query)
	password = cmp.Or(query.Get("password"), password)
	maps.DeleteFunc(query, func(name string, _ []string) bool { return name == "password" || strings.HasPrefix(name, poolPrefix) })
	if len(query) < before {
		u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // libpq does not decode "+"
	}
	return u.String(), password, nil
}
