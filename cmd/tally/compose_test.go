package main

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	compose "github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// composed is docker-compose.yml as Docker Compose itself reads it in an
// environment.
func composed(t *testing.T, environment ...string) *types.Project {
	t.Helper()
	options, err := compose.NewProjectOptions([]string{"../../docker-compose.yml"},
		compose.WithEnv(environment), compose.WithInterpolation(true), compose.WithResolvedPaths(true))
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

// Compose's warnings (a variable that is not set, a setting of old) go to
// standard error, past any test: so another process shows them.
func TestComposeLoadsWithoutWarnings(t *testing.T) {
	t.Parallel()
	command := exec.Command(os.Args[0], "-test.run=^TestComposeKeepsServicesUp$", "-test.v")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), stdout.String())
	assert.Contains(t, stdout.String(), "--- PASS: TestComposeKeepsServicesUp")
	assert.Empty(t, stderr.String())
}

func TestComposeKeepsServicesUp(t *testing.T) {
	t.Parallel()
	project := composed(t)
	require.Len(t, project.Services, 2)
	for name, s := range project.Services {
		assert.Equal(t, "unless-stopped", s.Restart, name)
		if assert.NotNil(t, s.HealthCheck, name) {
			assert.NotEmpty(t, s.HealthCheck.Test, name)
			assert.False(t, s.HealthCheck.Disable, name)
		}
		assert.False(t, s.Privileged, name)
		assert.Empty(t, s.CapAdd, name)
		assert.Empty(t, s.NetworkMode, "%s has no network of its own, past which its ports are published", name)
		for _, port := range s.Ports {
			assert.Equal(t, "127.0.0.1", port.HostIP, "%s is published on a non-loopback address", name)
		}
	}
	tally := service(t, project, "tally")
	assert.Equal(t, types.ServiceConditionHealthy, tally.DependsOn["postgres"].Condition)
	assert.Equal(t, "true", *tally.Environment["TALLY_OPEN"], "published to this machine only, it starts without a token")
	assert.Equal(t, types.ShellCommand{"CMD", "/tally", "health"}, types.ShellCommand(tally.HealthCheck.Test))
	assert.True(t, tally.ReadOnly)
	assert.Contains(t, tally.CapDrop, "ALL")
	assert.Contains(t, tally.SecurityOpt, "no-new-privileges:true")
	assert.Empty(t, tally.User, "the image's own, who is unprivileged")
	require.NotNil(t, tally.StopGracePeriod)
	assert.Greater(t, time.Duration(*tally.StopGracePeriod), 3*drainTimeout, "longer than requests, jobs and the log take to drain")
}

// The data outlive their container.
func TestComposeDatabase(t *testing.T) {
	t.Parallel()
	project := composed(t)
	postgres := service(t, project, "postgres")
	assert.Equal(t, "postgres:18", postgres.Image)
	require.Len(t, postgres.Volumes, 1)
	assert.Equal(t, types.VolumeTypeVolume, postgres.Volumes[0].Type)
	assert.Equal(t, "/var/lib/postgresql", postgres.Volumes[0].Target, "where the image of 18 keeps its data")

}

// A password reaches both services as it is, whatever it is made of; pgx takes
// it from the environment, as psql does.
func TestComposeCredentials(t *testing.T) {
	for name, password := range map[string]string{"the default": "", "awkward": `p@ss/w:rd? %41$HOME'"\`} {
		t.Run(name, func(t *testing.T) {
			var environment []string
			want := "tally"
			if password != "" {
				environment, want = []string{"POSTGRES_PASSWORD=" + password}, password
			}
			project := composed(t, environment...)
			postgres, tally := service(t, project, "postgres"), service(t, project, "tally")
			t.Setenv("PGPASSWORD", *tally.Environment["PGPASSWORD"])
			config, err := pgx.ParseConfig(*tally.Environment["DATABASE_URL"])
			require.NoError(t, err)
			assert.Equal(t, postgres.Name, config.Host)
			assert.Equal(t, want, config.Password)
			for variable, want := range map[string]string{
				"POSTGRES_USER": config.User, "PGUSER": config.User,
				"POSTGRES_DB": config.Database, "PGDATABASE": config.Database,
				"POSTGRES_PASSWORD": config.Password,
			} {
				assert.Equal(t, want, *postgres.Environment[variable], variable)
			}
		})
	}
}

// The inbox is read in place, with any owner; the settings name it.
func TestComposeInbox(t *testing.T) {
	t.Parallel()
	project := composed(t)
	tally := service(t, project, "tally")
	require.Len(t, tally.Volumes, 2)
	inbox := tally.Volumes[0]
	assert.True(t, inbox.ReadOnly)
	assert.True(t, bool(inbox.Bind.CreateHostPath))
	assert.True(t, strings.HasSuffix(inbox.Source, "/inbox"), inbox.Source)

	require.Len(t, tally.Configs, 1)
	assert.Equal(t, tally.Configs[0].Target, *tally.Environment["TALLY_CONFIG"])
	config := project.Configs[tally.Configs[0].Source]
	assert.Empty(t, config.Content, "inline content would be copied into the container, which a read-only service refuses")
	assert.Empty(t, config.Environment, "and so would a variable's")
	content, err := os.ReadFile(config.File)
	require.NoError(t, err)
	settings, err := parseConfig(content)
	require.NoError(t, err)
	require.Len(t, settings.Sources, 1)
	source := path.Clean(settings.Sources[0].Path.String())
	assert.True(t, source == inbox.Target || strings.HasPrefix(source, inbox.Target+"/"), source)
	_, err = settings.jobs()
	require.NoError(t, err)
}

// Temporary and dropped files have a volume, which the image's user may write to: /tmp is in memory.
func TestComposeTemporaryFiles(t *testing.T) {
	t.Parallel()
	tally := service(t, composed(t), "tally")
	folder := *tally.Environment["TMPDIR"]
	assert.True(t, strings.HasPrefix(*tally.Environment["TALLY_DATA"], folder+"/"))
	i := slices.IndexFunc(tally.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == folder })
	require.GreaterOrEqual(t, i, 0)
	assert.Equal(t, types.VolumeTypeVolume, tally.Volumes[i].Type)
	assert.False(t, tally.Volumes[i].ReadOnly)
	for _, memory := range tally.Tmpfs {
		assert.False(t, strings.HasPrefix(folder+"/", memory+"/"), memory)
	}
	image, err := os.ReadFile("../../Dockerfile")
	require.NoError(t, err)
	assert.Contains(t, string(image), "COPY --from=build --chown=65532:65532 /out/tmp "+folder+"\n")
}

// The hosted workflow runs the commands that the README has for Docker, on an engine.
func TestWorkflowRunsTheReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	workflow, err := os.ReadFile("../../.github/workflows/ci.yml")
	require.NoError(t, err)
	commands := regexp.MustCompile("(?m)^(docker compose .*)$|`(docker compose [^`]+)`").FindAllStringSubmatch(string(readme), -1)
	require.Len(t, commands, 4)
	for _, found := range commands {
		command := found[1] + found[2]
		assert.Regexp(t, `(?m)(^|[:|]) *`+regexp.QuoteMeta(strings.TrimSpace(command))+`( \||$)`, string(workflow))
	}
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../Dockerfile")
	require.NoError(t, err)
	build, final, found := strings.Cut(string(content), "\nFROM gcr.io/distroless/static-")
	require.True(t, found, "a final stage with no shell or libraries, of a binary that needs none")
	assert.NotContains(t, final, "\nFROM ")

	module, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	require.NotNil(t, language)
	assert.Contains(t, build, "FROM golang:"+string(language[1])+"-", "the module's version of Go")
	assert.Contains(t, build, "\nRUN CGO_ENABLED=0 go build ", "a static binary; .ci/run builds it with this very line")
	assert.Contains(t, build, "-X main.version=")

	user := regexp.MustCompile(`(?m)^USER (\S+)$`).FindAllStringSubmatch(final, -1)
	require.Len(t, user, 1)
	assert.Equal(t, "65532:65532", user[0][1], "an unprivileged user, by number, so that Kubernetes can tell")
	assert.Contains(t, final, `ENTRYPOINT ["/tally"]`)
}
