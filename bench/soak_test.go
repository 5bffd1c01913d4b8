//go:build unix

package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	programs "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/tests3"
)

var soakTime = flag.Duration("soak", 0, "Soak: for how long nights follow each other")

const (
	soakDiskMiB   = 3072
	nightEvery    = 15 * time.Second
	sampleEvery   = 5 * time.Second
	settleTime    = 2 * time.Second
	windDown      = 15 * time.Minute // for the last runs, and for alerts to be over
	poisonousUser = 6666
)

// TestSoak runs tally up for a time of short nights, in which files are bad, half-written,
// poisoned, enormous and late, the database is restarted and killed, its disk is full twice, and
// the object store is stopped and started. In the end every good row is stored once, the process
// is the same with the memory that it had, and each trouble was told once when it began, and
// once when it was over:
//
//	TALLY_TEST_S3=versitygw go test ./bench -run Soak -soak 1h -timeout 2h -v
func TestSoak(t *testing.T) {
	if *soakTime == 0 {
		t.Skip("it takes as long as -soak says")
	}
	s := newSoak(t)
	s.begin()
	s.nights()
	s.end()
	s.checkRows()
	s.checkMessages()
	s.checkMemory()
}

// soak is tally up, with all that it depends on.
type soak struct {
	t        *testing.T
	world    *world
	store    *tests3.Server
	hook     *hook
	process  *programs.Cmd
	output   *os.File
	address  string
	began    time.Time
	night    int
	expected map[string]sums // good rows, by the beginning of their ids
	troubled map[string]bool // paths of files that are to be told
	calamity []time.Time     // when the disk was full
	memory   []int           // MiB
	later    []func()        // what happens in nights to come, by the first of them
	pending  sync.WaitGroup
	failed   chan error // of what is pending
}

const soakSettings = `sources:
  - {name: inbox, path: DIR/inbox, settle: SETTLE, reject_limit: 100%}
  - {name: bank, path: "BANK"}
export: {to: "LAKE"}
notify: {webhook: {url: "HOOK", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}}
`

func newSoak(t *testing.T) *soak {
	t.Helper()
	store := tests3.New(t)
	a := newArena(t, 1, soakDiskMiB)
	w := a.world("soak")
	s := &soak{t: t, world: w, store: store, hook: newHook(t), address: fmt.Sprint("127.0.0.1:", freePort(t)),
		expected: map[string]sums{}, troubled: map[string]bool{}, failed: make(chan error, 100)}
	w.settings("tally.yaml", strings.NewReplacer("DIR", w.dir, "SETTLE", settleTime.String(), "BANK", store.URL("bank/{date}"),
		"LAKE", store.URL("lake"), "HOOK", s.hook.server.URL).Replace(soakSettings))
	if err := os.MkdirAll(w.path("inbox"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.query(`CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '58030'; END $$`)
	s.query(fmt.Sprintf("CREATE TRIGGER poison BEFORE INSERT ON transaction_keys FOR EACH ROW WHEN (NEW.user_id = %d) EXECUTE FUNCTION poison()", poisonousUser))
	return s
}

func (s *soak) query(sql string) {
	s.t.Helper()
	if _, err := s.world.pool.Exec(s.t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		s.t.Fatal(err)
	}
}

// begin starts the process. Its log is kept beside the test's folder if the test fails.
func (s *soak) begin() {
	s.t.Helper()
	var err error
	if s.output, err = os.Create(s.world.path("log")); err != nil {
		s.t.Fatal(err)
	}
	w := s.world
	s.process = programs.CommandContext(s.t.Context(), w.binary, "up", "--listen", s.address, "--data", w.dir, "--database-url", w.url().String())
	s.process.Env = append(append(os.Environ(), s.store.Env()...), "TMPDIR="+w.dir)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.began = time.Now()
}

// nights lets one night follow the other, and samples the memory of the process.
func (s *soak) nights() {
	s.t.Helper()
	samples := time.NewTicker(sampleEvery)
	defer samples.Stop()
	nights := time.NewTicker(nightEvery)
	defer nights.Stop()
	for time.Since(s.began) < *soakTime {
		select {
		case <-samples.C:
			s.sample()
		case <-nights.C:
			s.next()
		case err := <-s.failed:
			s.t.Fatal(err)
		}
	}
}

// sample notes the resident memory. The process must be there.
func (s *soak) sample() {
	s.t.Helper()
	out, err := programs.Command("ps", "-o", "rss=", "-p", strconv.Itoa(s.process.Process.Pid)).Output()
	kib, parseErr := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || parseErr != nil {
		s.t.Fatalf("the process has ended: %v\n%s", errors.Join(err, parseErr), s.logTail())
	}
	s.memory = append(s.memory, kib>>10)
}

// request asks for the run of a date, until the process answers.
func (s *soak) request(date string) {
	s.t.Helper()
	for began := time.Now(); ; time.Sleep(pollPause) {
		response, err := http.Post("http://"+s.address+"/runs", "application/json", strings.NewReader(`{"logical_date":"`+date+`"}`))
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode < http.StatusMultipleChoices {
				return
			}
			err = fmt.Errorf("status %s", response.Status)
		}
		if time.Since(began) > patience {
			s.t.Fatalf("the run of %s cannot be requested: %v\n%s", date, err, s.logTail())
		}
	}
}

// end waits for what is left to be done, and interrupts the process.
func (s *soak) end() {
	s.t.Helper()
	s.pending.Wait()
	for _, do := range s.later {
		do()
	}
	s.night++
	s.deliver()
	for began := time.Now(); ; time.Sleep(time.Second) {
		left, err := s.world.list(s.t.Context(), `SELECT 'run of ' || logical_date || ' ' || status FROM etl_run_status WHERE status NOT IN ('succeeded', 'failed')
			UNION ALL SELECT 'alert ' || cause || ' ' || subject FROM alerts WHERE closed_at IS NULL
			UNION ALL SELECT 'message ' || id FROM alert_messages WHERE delivered_at IS NULL`)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Since(began) > windDown {
			s.t.Errorf("left after %v: %s", windDown, strings.Join(left, ", "))
			break
		}
	}
	_ = s.process.Process.Signal(syscall.SIGTERM)
	if err := s.process.Wait(); err != nil {
		s.t.Errorf("the process ended with %v: %s", err, s.logTail())
	}
	s.t.Logf("%d nights in %v", s.night, time.Since(s.began).Round(time.Second))
}

func (s *soak) logTail() string {
	text, err := os.ReadFile(s.output.Name())
	if err != nil {
		return err.Error()
	}
	kept := filepath.Join(os.TempDir(), "tally-soak.log")
	_ = os.WriteFile(kept, text, 0o600) // for a look at all of it
	return string(text[max(0, len(text)-3000):]) + "\nall of it: " + kept
}

// checkRows compares what is stored with what was delivered.
func (s *soak) checkRows() {
	s.t.Helper()
	rows, err := s.world.list(s.t.Context(), `SELECT concat_ws(' ', split_part(transaction_id, '-', 1), count(*), (100 * sum(amount::numeric))::bigint)
		FROM transactions GROUP BY split_part(transaction_id, '-', 1)`)
	if err != nil {
		s.t.Fatal(err)
	}
	got, total := map[string]sums{}, int64(0)
	for _, row := range rows {
		var file string
		var of sums
		if _, err := fmt.Sscan(row, &file, &of.rows, &of.cents); err != nil {
			s.t.Fatal(err)
		}
		got[file] = of
		total += of.rows
	}
	for file, want := range s.expected {
		if got[file] != want {
			s.t.Errorf("%s: stored are %v, delivered were %v", file, got[file], want)
		}
		delete(got, file)
	}
	if len(got) > 0 {
		s.t.Errorf("nothing of this was delivered: %v", got)
	}
	if err := s.world.check(context.WithoutCancel(s.t.Context())); err != nil {
		s.t.Error(err)
	}
	s.t.Logf("%d good rows of %d files are stored once", total, len(s.expected))
}

// checkMemory compares the medians of the second and the last quarter. The first has the start.
func (s *soak) checkMemory() {
	s.t.Helper()
	var medians, peaks []int
	for i := range 4 {
		of := s.memory[i*len(s.memory)/4 : (i+1)*len(s.memory)/4]
		ms := make([]float64, len(of))
		peak := 0
		for j, mib := range of {
			ms[j], peak = float64(mib), max(peak, mib)
		}
		medians, peaks = append(medians, int(median(ms))), append(peaks, peak)
	}
	s.t.Logf("resident memory in MiB, by quarters: median %v, maximum %v", medians, peaks)
	if medians[3] > medians[1]*5/4+20 {
		s.t.Errorf("the memory grows: %v", medians)
	}
}
