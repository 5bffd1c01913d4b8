package main

import (
	"os"
	"strings"
	"testing"
	"time"

	compose "github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// composed is docker-compose.yml as Docker Compose itself reads it.
func composed(t *testing.T) *types.Project {
	t.Helper()
	options, err := compose.NewProjectOptions([]string{"../../docker-compose.yml"}, compose.WithInterpolation(true), compose.WithResolvedPaths(true))
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	return project
}

func service(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	require.NoError(t, err)
	return s
}

func TestComposeKeepsServicesUp(t *testing.T) {
	t.Parallel()
	project := composed(t)
	require.Len(t, project.Services, 2)
	for name, s := range project.Services {
		assert.Equal(t, "unless-stopped", s.Restart, name)
		if assert.NotNil(t, s.HealthCheck, name) {
			assert.NotEmpty(t, s.HealthCheck.Test, name)
		}
		assert.False(t, s.Privileged, name)
		for _, port := range s.Ports {
			assert.Equal(t, "127.0.0.1", port.HostIP, "%s is published beyond this machine", name)
		}
	}
	tally := service(t, project, "tally")
	assert.Equal(t, types.ServiceConditionHealthy, tally.DependsOn["postgres"].Condition)
	assert.Equal(t, types.ShellCommand{"CMD", "/tally", "health"}, types.ShellCommand(tally.HealthCheck.Test))
	assert.True(t, tally.ReadOnly)
	assert.Contains(t, tally.CapDrop, "ALL")
	require.NotNil(t, tally.StopGracePeriod)
	assert.Greater(t, time.Duration(*tally.StopGracePeriod), 3*drainTimeout, "longer than requests, jobs and the log take to drain")
}

// psql in the database's container needs no flags, and the data outlive it.
func TestComposeDatabase(t *testing.T) {
	t.Parallel()
	project := composed(t)
	postgres := service(t, project, "postgres")
	assert.Equal(t, "postgres:18", postgres.Image)
	require.Len(t, postgres.Volumes, 1)
	assert.Equal(t, types.VolumeTypeVolume, postgres.Volumes[0].Type)
	assert.Equal(t, "/var/lib/postgresql", postgres.Volumes[0].Target, "where the image of 18 keeps its data")

	tally := service(t, project, "tally")
	config, err := pgx.ParseConfig(*tally.Environment["DATABASE_URL"])
	require.NoError(t, err)
	assert.Equal(t, "postgres", config.Host)
	for variable, want := range map[string]string{
		"POSTGRES_USER": config.User, "PGUSER": config.User,
		"POSTGRES_DB": config.Database, "PGDATABASE": config.Database, "POSTGRES_PASSWORD": config.Password,
	} {
		assert.Equal(t, want, *postgres.Environment[variable], variable)
	}
}

// The inbox is read where it is, whoever owns it; the settings name it.
func TestComposeInbox(t *testing.T) {
	t.Parallel()
	project := composed(t)
	tally := service(t, project, "tally")
	require.Len(t, tally.Volumes, 1)
	inbox := tally.Volumes[0]
	assert.True(t, inbox.ReadOnly)
	assert.True(t, bool(inbox.Bind.CreateHostPath))
	assert.True(t, strings.HasSuffix(inbox.Source, "/inbox"), inbox.Source)

	require.Len(t, tally.Configs, 1)
	assert.Equal(t, tally.Configs[0].Target, *tally.Environment["TALLY_CONFIG"])
	settings, err := parseConfig([]byte(project.Configs[tally.Configs[0].Source].Content))
	require.NoError(t, err)
	require.Len(t, settings.Sources, 1)
	assert.True(t, strings.HasPrefix(settings.Sources[0].Path, inbox.Target))
	_, err = settings.jobs()
	require.NoError(t, err)
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../Dockerfile")
	require.NoError(t, err)
	module, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	text := string(content)
	_, rest, _ := strings.Cut(string(module), "\ngo ")
	version := strings.Join(strings.Split(strings.Fields(rest)[0], ".")[:2], ".")
	assert.Contains(t, text, "FROM golang:"+version+"-", "the module's version of Go")
	assert.Contains(t, text, "CGO_ENABLED=0 go build", "a static binary")
	assert.Contains(t, text, "-X main.version=")
	_, final, found := strings.Cut(text, "distroless/static")
	require.True(t, found)
	assert.Contains(t, final, "\nUSER 65532", "an unprivileged user")
}
