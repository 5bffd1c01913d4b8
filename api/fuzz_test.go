package api

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

var seed = flag.Uint64("seed", 0, "repeat the generated requests of this seed; 0 takes a new one")

// generatedRequests come on top of the seeds in every run of the tests.
const generatedRequests = 3000

// fuzzSeeds is how many seeds there are to one that the fuzzer starts from: a score
// for each operation.
const fuzzSeeds = 23

// unreachable are the answers that an operation declares and no request brings
// about, each with its reason.
var unreachable = map[string]string{
	"getLiveness 500": "nothing in it can fail; a fault of the server itself would be one",
	"requestRun 408":  "the bodies here are there at once",

	"replayRejects 408": "as above", "fixReject 408": "as above", "settleReject 408": "as above", "discardReject 408": "as above", "revertFile 408": "as above", "revertRun 408": "as above", "retirePartitions 408": "as above",
}

// malformedOnly says of an operation without a body that only what is no request at all is
// a 400, of which none is made here: TestMalformedRequestsAreProblems.
func malformedOnly(op *declaredOperation, status int) bool {
	return status == http.StatusBadRequest && op.method == http.MethodGet
}

// generated is a request for an operation, and the state of the service that it
// meets.
type generated struct {
	world   world
	op      int    // of the description's operations
	method  string // empty: the operation's own
	id      string // for the path's parameter, not escaped
	query   string // as it is sent
	headers string // lines of "Name: value"
	body    string
}

// world is the state behind the service.
type world uint8

const (
	sound   world = iota
	broken        // whatever is called panics
	away          // nothing can be reached
	locked        // no one has a token
	foreign       // under a name that is not the service's own
	busy          // with more requests than it takes
	worlds
)

// target drives the operations of the description.
type target struct {
	ops      []*declaredOperation
	handlers [worlds]http.Handler
	answered map[string]bool // "operation status"
	cursors  []string
}

func newTarget(tb testing.TB) *target {
	tb.Helper()
	pool := testdb.New(tb, migrations.Schema{})
	for _, user := range []int32{1, 7, math.MaxInt32} {
		load(tb, pool, user, 0.1, -0.2, 99999999999.1234, 5, 12.5, 0, -7)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	require.NoError(tb, closed.Close())
	nowhere, err := pgxpool.New(tb.Context(), "postgres://unknown@"+closed.Addr().String()+"/nowhere?sslmode=disable")
	require.NoError(tb, err)
	tb.Cleanup(nowhere.Close)
	t := &target{answered: map[string]bool{}, cursors: cursors(), handlers: [worlds]http.Handler{
		sound: newHandler(tb, Config{Summaries: summaries.NewStore(pool), Runs: sampleRuns(), Changes: sampleChanges(nil), Version: "1.2.3", Proofs: sampleProofs(nil)}),
		broken: newHandler(tb, Config{Summaries: fakeSummaries{}, Runs: fakeRuns{},
			Ready: func(context.Context) error { panic("no more") }}),
		away: newHandler(tb, Config{Summaries: summaries.NewStore(nowhere), Runs: unreachableRuns(), Changes: sampleChanges(&net.OpError{Op: "dial", Err: errors.New("away")}), Proofs: sampleProofs(&net.OpError{Op: "dial", Err: errors.New("away")}),
			Ready: func(context.Context) error { return NotReady("database", errors.New("away")) }}),
	}}
	tokens := NewTokens(pool)
	for state, c := range map[world]AccessConfig{
		locked: {Required: true}, foreign: {}, busy: {RateLimit: RateLimit{PerSecond: 1e-6, Burst: 1}},
	} {
		c.Tokens = tokens
		access := NewAccess(c)
		tb.Cleanup(access.Close)
		t.handlers[state] = newHandler(tb, Config{Summaries: summaries.NewStore(pool), Runs: sampleRuns(), Changes: sampleChanges(nil), Access: access, Proofs: sampleProofs(nil)})
	}
	t.ops = declaredOperations(tb, t.handlers[sound])
	return t
}

var (
	pathParameter = regexp.MustCompile(`\{[^}]+\}`)
	methodName    = regexp.MustCompile(`^[A-Za-z]{1,20}$`)
	headerName    = regexp.MustCompile(`^[A-Za-z-]+$`)
	control       = regexp.MustCompile(`[\x00-\x1f\x7f]`)
)

// request is what a server makes of the generated one. What net/http refuses
// before any handler runs is left out.
func (g generated) request(op *declaredOperation) *http.Request {
	method := g.method
	if !methodName.MatchString(method) {
		method = op.method
	}
	address := pathParameter.ReplaceAllLiteralString(op.path, url.PathEscape(g.id))
	r := httptest.NewRequest(method, "/", strings.NewReader(g.body))
	var err error
	if r.URL, err = url.Parse(address); err != nil {
		panic(err) // what is escaped can be parsed
	}
	r.URL.RawQuery = g.query
	r.RequestURI = r.URL.RequestURI()
	if g.world%worlds != foreign {
		r.Host = "localhost"
	}
	for line := range strings.SplitSeq(g.headers, "\n") {
		name, value, ok := strings.Cut(line, ": ")
		if ok && headerName.MatchString(name) && !control.MatchString(value) {
			r.Header.Add(name, value)
		}
	}
	return r
}

// drive sends one request and compares the response with the description.
func (t *target) drive(tb testing.TB, g generated) {
	tb.Helper()
	op := t.ops[g.op%len(t.ops)]
	if g.method != "" && methodName.MatchString(g.method) { // the address's other operation, if there is one
		for _, other := range t.ops {
			if other.path == op.path && (other.method == g.method || other.method == http.MethodGet && g.method == http.MethodHead) {
				op = other
			}
		}
	}
	defer func() {
		if tb.Failed() {
			tb.Logf("the request to %s was %.2000q", op.ID, fmt.Sprintf("%+v", g))
		}
	}()
	r := g.request(op)
	w := httptest.NewRecorder()
	t.handlers[g.world%worlds].ServeHTTP(w, r)

	require.NotEmpty(tb, w.Header().Get(requestIDHeader))
	elsewhere := strings.Contains(op.path, "{") && (g.id == "" || g.id == "." || g.id == "..")
	switch {
	case w.Code == http.StatusRequestEntityTooLarge: // of any address
		requireProblem(tb, w, http.StatusRequestEntityTooLarge, "content-too-large")
		assert.NotEmpty(tb, g.body)
		if t.takes(op.path, r.Method) {
			t.answered[fmt.Sprintf("%s %d", op.ID, w.Code)] = true
		}
	case w.Code == http.StatusRequestHeaderFieldsTooLarge: // likewise
		requireProblem(tb, w, http.StatusRequestHeaderFieldsTooLarge, "headers-too-large")
		assert.Greater(tb, len(r.RequestURI)+len(g.headers), 1<<12)
		if t.takes(op.path, r.Method) {
			t.answered[fmt.Sprintf("%s %d", op.ID, w.Code)] = true
		}
	case g.world%worlds >= locked && slices.Contains([]int{401, 403, 429}, w.Code) && (elsewhere || !t.takes(op.path, r.Method)):
		assert.Equal(tb, problemContentType, w.Header().Get("Content-Type"))
	case elsewhere:
		if w.Code < http.StatusBadRequest { // another address
			assert.Contains(tb, []int{http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect}, w.Code)
			assert.NotEmpty(tb, w.Header().Get("Location"))
			return
		}
		if w.Code == http.StatusMethodNotAllowed { // net/http leaves CONNECT's address as it is
			requireProblem(tb, w, http.StatusMethodNotAllowed, "method-not-allowed")
			return
		}
		requireProblem(tb, w, http.StatusNotFound, "not-found")
	case strings.Contains(g.id, "/") && !t.takes(op.path, r.Method) && w.Code == http.StatusNotFound:
		// net/http looks for other methods of the unescaped path
		requireProblem(tb, w, http.StatusNotFound, "not-found")
	case !t.takes(op.path, r.Method):
		requireProblem(tb, w, http.StatusMethodNotAllowed, "method-not-allowed")
		assert.Contains(tb, w.Header().Get("Allow"), op.method)
	default:
		status := w.Code
		op.requireDeclared(tb, w)
		assert.True(tb, status < 500 || g.world%worlds != sound, "a sound service failed with %d", status)
		if status < http.StatusMultipleChoices {
			assert.True(tb, op.admits(g.id, g.query), "%s answered what its description does not admit", op.ID)
		}
		body := op.method == http.MethodPost && g.body != "" // what is admitted of it is not looked at here
		if status == http.StatusUnprocessableEntity && !body && !strings.Contains(g.query, "cursor") && !strings.Contains(g.query, "to=") && !strings.Contains(g.query, "as_of") {
			assert.False(tb, op.admits(g.id, g.query), "%s refused what its description admits", op.ID)
		}
		t.answered[fmt.Sprintf("%s %d", op.ID, status)] = true
	}
}

// takes reports whether an address takes a method; HEAD comes with GET.
func (t *target) takes(path, method string) bool {
	for _, op := range t.ops {
		if op.path == path && (op.method == method || (op.method == http.MethodGet && method == http.MethodHead)) {
			return true
		}
	}
	return false
}

// FuzzOperations is the same for requests that the fuzzer makes up: go test -fuzz
// FuzzOperations ./api.
func FuzzOperations(f *testing.F) {
	t := newTarget(f)
	for i, g := range t.seeds() {
		if i%fuzzSeeds == 0 { // all of them would keep the fuzzer busy for minutes
			f.Add(uint8(g.world), g.op, g.method, g.id, g.query, g.headers, g.body)
		}
	}
	f.Fuzz(func(tt *testing.T, state uint8, op int, method, id, query, headers, body string) {
		t.drive(tt, generated{world(state), op & math.MaxInt32, method, id, query, headers, body})
	})
}

// TestOperationsAnswerAsDeclared sends each operation requests of every kind, and
// fails as well if an answer that is declared never came: then either the
// description or this test is wrong.
func TestOperationsAnswerAsDeclared(t *testing.T) {
	t.Parallel()
	from := *seed
	if from == 0 {
		from = rand.Uint64()
	}
	t.Logf("go test -run %s ./api -seed %d repeats these requests", t.Name(), from)
	r := rand.New(rand.NewPCG(from, 0))
	operations := newTarget(t)
	requests := operations.seeds()
	for range generatedRequests {
		requests = append(requests, operations.generate(r))
	}
	for _, g := range requests {
		operations.drive(t, g)
		if t.Failed() {
			t.FailNow() // one is enough
		}
	}
	for _, op := range operations.ops {
		for status := range op.responses {
			answer := fmt.Sprintf("%s %d", op.ID, status)
			assert.Equal(t, unreachable[answer] == "" && !malformedOnly(op, status), operations.answered[answer], "%s is declared and was never answered, or is and was", answer)
		}
	}
}

// ids are at and beyond both ends of 32 and 64 bits, spelled in every way, and
// what is no id at all.
var ids = []string{
	"1", "7", "2147483647", "2147483648", "4294967295", "4294967296", "4294967297", "9223372036854775807", "9223372036854775808",
	"18446744073709551615", "18446744073709551616", "18446744073709551617", "99999999999999999999999999999999", "2", "8", "1999",
	"0", "-0", "-1", "-7", "-2147483648", "-2147483649", "-9223372036854775808", "-9223372036854775809", "+1", "01", "007", " 1", "1 ",
	"1.0", "1e3", "0x1", "0b1", "1_000", "1,7", "١", "1", "NaN", "Infinity", "null", "true", "", ".", "..", "/", "1/summary", "%", "%2F", "*",
	"1\x00", "\x00", "\xff\xfe", "\u202e1", "1\r\nX-Evil: 1", "'; DROP TABLE transactions; --", "<script>", "${jndi:ldap://x}", "{user_id}",
	strings.Repeat("1", 5000), strings.Repeat("\xf0", 300),
}

// queries are right and wrong for several operations each.
var queries = []string{
	"", "limit=1", "limit=1000", "limit=0", "limit=1001", "limit=-1", "limit=2147483648", "limit=4294967297", "limit=9223372036854775808",
	"limit=", "limit", "limit=1&limit=1", "limit=%2B1", "limit=01", "limit=1.0", "limit=%00", "limit=%ff", "limit=%zz", "Limit=1", "limit=1;",
	"cursor=", "cursor=AQ", "cursor=" + strings.Repeat("A", 200), "cursor=" + strings.Repeat("A", 201), "cursor=%00", "cursor=%ff", "cursor=1&cursor=1",
	"by=day", "by=month", "by=year", "by=", "by=DAY", "by=day&by=day", "by=%00",
	"from=2024-01-01", "from=2024-01-01&to=2024-12-31", "from=2024-12-31&to=2024-01-01", "from=2024-02-30", "from=0000-01-01", "from=0001-01-01",
	"to=9999-12-31", "to=10000-01-01", "to=-0001-01-01", "from=", "to=", "from=2024-1-1", "from=2024-01-01T00:00:00Z", "from=infinity", "from=now",
	"from=2024-01-01&from=2024-01-01", "from=2024-01-01%00", "from=%ff",
	"as_of=2024-06-30T00:00Z", "as_of=2024-06-30T00:00:00.123456789%2B02:00", "as_of=0000-01-01T00:00Z", "as_of=9999-12-31T23:59:59Z", "as_of=2024-02-30T00:00Z", "as_of=now", "as_of=",
	"head=1:" + strings.Repeat("0f", 32), "head=999999999999999999:" + strings.Repeat("0f", 32), "head=1:0f", "head=", "head=%00",
	"outcome=rejected", "outcome=duplicate", "outcome=conflict", "outcome=", "outcome=loaded", "outcome=rejected&outcome=conflict", "outcome=%27",
	"user_id=1", "user_id=1,7,2147483647", "user_id=1999,7", "user_id=", "user_id=,", "user_id=1,", "user_id=0", "user_id=-1", "user_id=2147483648",
	"user_id=4294967297", "user_id=18446744073709551617", "user_id=1&user_id=7", "user_id=7,1&user_id=1999&user_id=7", "user_id=7&user_id=", "user_id=7&user_id=0", "user_id=7&limit=1&user_id=1",
	"user_id=" + strings.Repeat("1,", 999) + "1&user_id=1", "user_id=%2B1", "user_id=01", "user_id=1,%207", "user_id=7,7,7",
	"user_id=" + strings.Repeat("1,", 999) + "1", "user_id=" + strings.Repeat("1,", 1000) + "1", "user_id=1%00", "user_id=%ff",
	"unknown=1", "%00=1", "=", "&", "&&limit=1", "?", "limit=1&unknown=", strings.Repeat("a=1&", 500), "limit=" + strings.Repeat("9", 5000),
}

var headerLines = []string{
	"", "Accept: */*", "Accept: application/json", "Accept: text/html", "Accept: application/json;q=0", "Accept: application/problem+json", "Accept: \xff",
	"Accept: " + strings.Repeat("application/x,", 500), "X-Padding: " + strings.Repeat("x", maxHeaderBytes), "Accept-Encoding: gzip", "Content-Type: application/xml", "Content-Type: application/json",
	"If-None-Match: *", "If-None-Match: \"1\", W/\"2\"", "If-Match: \"nothing\"", "If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT", "Range: bytes=0-1",
	"X-Request-Id: mine", "X-HTTP-Method-Override: DELETE", "Authorization: Bearer nothing", "Expect: nothing", "Origin: null",
}

var bodies = []string{"", "{}", `{"logical_date":"2024-01-31"}`, `{"logical_date":"2024-01-30"}`, `{"logical_date":"2024-02-30"}`, `{"logical_date":"9999-12-31"}`, `{"logical_date":null}`, "null", "[", "{\"a\":1}", "\x00", "\xff", strings.Repeat("x", 100_000)}

var methods = []string{"", http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, http.MethodTrace, http.MethodConnect, "get", "BREW"}

// cursors belong to lists there are, at places that no page would lead to as well.
func cursors() []string {
	var queries []string
	lists := map[string]string{
		"transactions/7": "", "transactions/7/totals?by=day": "", "transactions/7/totals?by=month": "&by=month", "totals?by=day": "", "totals?by=month": "&by=month",
		"runs": "", "runs/7/files": "", "runs/7/rejects": "", "runs/7/rejects?outcome=conflict": "&outcome=conflict", "runs/7/logs": "",
	}
	for list, query := range lists {
		for _, p := range []position{
			{1, 1}, {19750, 3}, {0, 0}, {-1, -1}, {int64(civil.Min), 0}, {int64(civil.Max), math.MaxInt64}, {int64(civil.Min) - 1, 1}, {int64(civil.Max) + 1, 1},
			{math.MaxInt32, 1}, {math.MaxInt32 + 1, 1}, {math.MinInt32 - 1, 1}, {math.MaxInt64, math.MaxInt64}, {math.MinInt64, math.MinInt64},
		} {
			queries = append(queries, "limit=3&cursor="+p.cursor(list)+query)
		}
	}
	return queries
}

// changeSeeds are bodies that fit the operations that change data, and what follows 7 in a path.
var changeSeeds = map[string][]string{
	"replayRejects":    {`{}`, `{"ids":["7:7"]}`, `{"ids":["7:8"]}`, `{"ids":["7:9"]}`, `{"ids":["7:9"],"fault":"x"}`, "["},
	"fixReject":        {`{"amount":"1.5","reason":"x"}`, "["},
	"settleReject":     {`{"decision":"take"}`, "["},
	"discardReject":    {`{"reason":"x"}`, "["},
	"revertFile":       {`{"dry_run":true}`, "["},
	"revertRun":        {`{"dry_run":true}`, "["},
	"retirePartitions": {`{"before":"2020-01","totals":"keep","drop":true}`, `{"before":"2020-01","totals":"drop","export":true}`, `{"before":"2020-01","totals":"drop","keep_tables":true}`, "["},
}

// changes ask those operations about what is there, what was dealt with, and what is not there.
func (t *target) changes() (all []generated) {
	for op, declared := range t.ops {
		for _, body := range changeSeeds[declared.ID] {
			for state := range worlds {
				for _, id := range []string{"7", "8", "9", "7:7", "7:8", "7:9"} {
					all = append(all, generated{world: state, op: op, id: id, headers: "Content-Type: application/json", body: body},
						generated{world: state, op: op, id: id, headers: "Content-Type: application/xml", body: body},
						generated{world: state, op: op, id: id, headers: "Content-Type: application/json", body: body + strings.Repeat(" ", 100_000)})
				}
			}
		}
	}
	return all
}

// seeds ask each operation every question once.
func (t *target) seeds() []generated {
	all := t.changes()
	for op, declared := range t.ops {
		for state := range worlds {
			all = append(all, generated{world: state, op: op, id: "7"}, generated{world: state, op: op, id: "7", query: "user_id=7"})
		}
		if strings.Contains(declared.path, "{") {
			for _, id := range ids {
				all = append(all, generated{op: op, id: id})
			}
		}
		for _, query := range slices.Concat(t.cursors, queries) {
			all = append(all, generated{op: op, id: "7", query: query})
		}
		for _, line := range headerLines {
			all = append(all, generated{op: op, id: "7", query: "user_id=7", headers: line}, generated{op: op, id: "7", headers: line},
				generated{op: op, id: "7", headers: line, body: "{}"})
		}
		for _, method := range methods {
			for _, body := range bodies {
				all = append(all, generated{op: op, id: "7", method: method, body: body})
			}
		}
	}
	return all
}

// generate mixes the seeds' parts.
func (t *target) generate(r *rand.Rand) generated {
	g := generated{op: r.IntN(len(t.ops)), id: "7"}
	if r.IntN(10) == 0 {
		g.world = world(r.IntN(int(worlds)))
	}
	switch r.IntN(3) {
	case 0:
		g.id = pick(r, ids)
	case 1:
		g.id = strconv.FormatInt(int64(r.Uint64()>>r.IntN(64))-int64(r.IntN(2)), 10)
	}
	var parts []string
	for range r.IntN(3) {
		parts = append(parts, pick(r, queries))
	}
	if r.IntN(4) == 0 {
		parts = append(parts, pick(r, t.cursors))
	}
	g.query = mangled(r, strings.Join(parts, "&"))
	g.id = mangled(r, g.id)
	if r.IntN(5) == 0 {
		g.method, g.body = pick(r, methods), pick(r, bodies)
	}
	if r.IntN(3) == 0 {
		g.headers = mangled(r, pick(r, headerLines)) + "\n" + pick(r, headerLines)
	}
	return g
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// mangled changes a byte of one text in eight.
func mangled(r *rand.Rand, text string) string {
	if text == "" || r.IntN(8) > 0 {
		return text
	}
	b := []byte(text)
	b[r.IntN(len(b))] = byte(r.IntN(256))
	return string(b)
}

// sampleRuns has run 7 with all that a run can have, and one at the end of 64 bits.
func sampleRuns() fakeRuns {
	at := time.Date(2024, 2, 29, 23, 59, 59, 999_999_000, time.FixedZone("", 3600))
	list := []ledger.Run{
		{ID: math.MaxInt64, Kind: "backfill", LogicalDate: civil.Of(at), RequestedBy: "cli:\xff", Paths: []string{}, CreatedAt: at, Status: "due"},
		{ID: 8, Kind: "nightly", LogicalDate: civil.Of(at), RequestedBy: "schedule", Paths: []string{}, CreatedAt: at, Status: "lost", Attempt: 1, StartedAt: at, Error: "\x00\u2028"},
		{ID: 7, Kind: "manual", LogicalDate: civil.Of(at), Paths: []string{"a.csv"}, CreatedAt: at, Status: "succeeded", Attempt: math.MaxInt32, JobID: math.MaxInt64,
			Worker: "w:1", CodeVersion: "1.0.0", StartedAt: at, FinishedAt: at},
	}
	var files []ledger.File
	var rejects []ledger.Reject
	var lines []ledger.LogLine
	for i := int64(1); i <= 9; i++ {
		files = append(files, ledger.File{ID: i, RunID: 7, Attempt: 1, Path: "a.csv", Bytes: math.MaxInt64, Status: []string{"loaded", "failed"}[i%2], Read: i,
			Loaded: i, Faults: map[string]int64{}, Rules: json.RawMessage("{}"), Reading: 2, Conventions: json.RawMessage("{}"), Hints: []string{}, Warnings: []string{"\xff"}, TotalAmount: money.NewSum(-i, 4), SHA256: strings.Repeat("0f", 32), StartedAt: at, FinishedAt: at})
		rejects = append(rejects, ledger.Reject{FileID: i, Line: i, Outcome: []string{"rejected", "duplicate", "conflict"}[i%3], Faults: []string{}, Hints: []string{}, Raw: "\xff\x00", RawBytes: []byte("\xff\x00"), RawLength: 2})
		lines = append(lines, ledger.LogLine{ID: i, Attempt: 1, At: at, Level: "INFO+1", Attrs: json.RawMessage(`{"a":[1,null]}`)})
	}
	alerts := []ledger.Alert{
		{ID: math.MaxInt64, Cause: "export.old", Subject: "\xff\x00", LogicalDate: civil.Of(at), OpenedAt: at},
		{ID: 2, Cause: "run.failed", RunID: 7, LogicalDate: civil.Of(at), OpenedAt: at},
		{ID: 3, Cause: "file.failed", Source: "inbox", Path: "a.csv", Code: "reject_limit", LogicalDate: civil.Of(at), OpenedAt: at, ClosedAt: at},
	}
	return fakeRuns{
		alerts: func(_ context.Context, afterOpen bool, afterID int64, limit int) ([]ledger.Alert, error) {
			return upTo(alerts, limit, func(a ledger.Alert) bool {
				return afterID == 0 || a.Open() == afterOpen && a.ID < afterID || afterOpen && !a.Open()
			}), nil
		},
		retired: func(_ context.Context, id int64) (ledger.Retirement, error) {
			if id != 7 {
				return ledger.Retirement{}, ledger.ErrRetirementNotFound
			}
			return sampleRetirement(), nil
		},
		months: func(context.Context) ([]ledger.Partition, error) {
			return []ledger.Partition{{Month: "2020-01", State: "retired", Totals: "dropped", KeptTable: "\xff"}, {Month: "2024-01", ChangedAt: &at, State: "stored", Bytes: math.MaxInt64}}, nil
		},
		history: func(_ context.Context, id string) (ledger.History, error) {
			if len(id)%2 == 0 {
				return ledger.History{}, ledger.ErrTransactionNotFound
			}
			if len(id)%3 == 0 {
				return ledger.History{Versions: []ledger.Version{}, Retired: &ledger.RetiredTransaction{Month: "2020-01", UserID: 1, At: at, Totals: "kept", Exported: "\xff"}}, nil
			}
			v := ledger.Version{UserID: math.MaxInt32, Amount: money.NewSum(-1, 4), Date: civil.Of(at), FileID: 1, Line: 2, Path: "\xff", From: at, To: &at, Cause: "load"}
			present := v
			present.To, present.Cause = nil, "correction"
			return ledger.History{Versions: []ledger.Version{v, present}}, nil
		},
		head: func(context.Context) (audit.Head, error) {
			return audit.Head{Number: 1, Hash: strings.Repeat("0f", 32), At: at}, nil
		},
		sources: func(context.Context) ([]ledger.Source, error) {
			return []ledger.Source{{Name: "inbox\xff", Settings: json.RawMessage("{}"), LastFileID: 1, LastAt: at, Conventions: []ledger.Convention{
				{Convention: "slash", Value: "dmy", FileID: math.MaxInt64, Line: 2},
			}}}, nil
		},
		request: func(_ context.Context, date *civil.Date, _, _ string) (ledger.Run, error) {
			if date != nil && date.Time().Year() > 2026 {
				return ledger.Run{}, ledger.ErrNotEnded
			}
			run := list[1]
			run.Created = date == nil || date.Day()%2 == 0
			return run, nil
		},
		list: func(_ context.Context, before int64, limit int) ([]ledger.Run, error) {
			return upTo(list, limit, func(r ledger.Run) bool { return before == 0 || r.ID < before }), nil
		},
		get: func(_ context.Context, id int64) (ledger.Run, error) {
			for _, r := range list {
				if r.ID == id {
					return r, nil
				}
			}
			return ledger.Run{}, ledger.ErrRunNotFound
		},
		files: func(_ context.Context, run, after int64, limit int) ([]ledger.File, error) {
			return upTo(files, limit, func(f ledger.File) bool { return run == 7 && f.ID > after }), nil
		},
		rejects: func(_ context.Context, q ledger.RejectQuery) ([]ledger.Reject, error) {
			return upTo(rejects, q.Limit, func(r ledger.Reject) bool {
				return q.RunID == 7 && (q.Outcome == "" || q.Outcome == r.Outcome) &&
					(r.FileID > q.AfterFile || (r.FileID == q.AfterFile && r.Line > q.AfterLine))
			}), nil
		},
		logs: func(_ context.Context, run, after int64, limit int) ([]ledger.LogLine, error) {
			return upTo(lines, limit, func(l ledger.LogLine) bool { return run == 7 && l.ID > after }), nil
		},
	}
}

// sampleProofs have no receipt of the last user.
func sampleProofs(failed error) fakeProofs {
	return fakeProofs{receipt: func(_ context.Context, w io.Writer, id int32) error {
		if id == math.MaxInt32 {
			return console.ErrNoReceipt
		}
		_, err := fmt.Fprintf(w, `{"format":1,"user_id":%d,"total_transactions":1,"total_amount":5.00,"rows":[{}],"uncounted":[],"entries":[],"chain":{},"head":{}}`, id)
		return errors.Join(err, failed)
	}, verify: func(_ context.Context, noted audit.Head) (audit.Verification, error) {
		return audit.Verification{Head: audit.Head{Number: 1, Hash: strings.Repeat("0f", 32)}, Entries: 1, Broken: &audit.Fault{Number: noted.Number, Reason: "\xff"}}, failed
	}}
}

// upTo are the items to keep, at most limit.
func upTo[T any](items []T, limit int, keep func(T) bool) []T {
	var kept []T
	for _, item := range items {
		if len(kept) < limit && keep(item) {
			kept = append(kept, item)
		}
	}
	return kept
}

func unreachableRuns() fakeRuns {
	err := &net.OpError{Op: "dial", Err: errors.New("refused")}
	return fakeRuns{
		request: func(context.Context, *civil.Date, string, string) (ledger.Run, error) { return ledger.Run{}, err },
		list:    func(context.Context, int64, int) ([]ledger.Run, error) { return nil, err },
		get:     func(context.Context, int64) (ledger.Run, error) { return ledger.Run{}, err },
		files:   func(context.Context, int64, int64, int) ([]ledger.File, error) { return nil, err },
		rejects: func(context.Context, ledger.RejectQuery) ([]ledger.Reject, error) { return nil, err },
		logs:    func(context.Context, int64, int64, int) ([]ledger.LogLine, error) { return nil, err },
		sources: func(context.Context) ([]ledger.Source, error) { return nil, err },
		history: func(context.Context, string) (ledger.History, error) { return ledger.History{}, err },
		months:  func(context.Context) ([]ledger.Partition, error) { return nil, err },
		retired: func(context.Context, int64) (ledger.Retirement, error) { return ledger.Retirement{}, err },
		head:    func(context.Context) (audit.Head, error) { return audit.Head{}, err },
		alerts:  func(context.Context, bool, int64, int) ([]ledger.Alert, error) { return nil, err },
	}
}

// sampleChanges know reject 7:7 and file 7, and of 7:8 and 8 that they are not open; they fail with an error, if there is one.
func sampleChanges(failed error) fakeChanges {
	sample := listed(7)
	answer := func(id reject.ID) (ledger.ListedReject, error) {
		switch {
		case failed != nil:
			return sample, failed
		case id == reject.ID{FileID: 7, Line: 8}:
			return sample, &ledger.NotOpenError{What: "reject", Why: "is not open"}
		case id != reject.ID{FileID: 7, Line: 7}:
			return sample, ledger.ErrRejectNotFound
		}
		return sample, nil
	}
	return fakeChanges{
		rejects: func(_ context.Context, f ledger.RejectFilter) ([]ledger.ListedReject, error) {
			return []ledger.ListedReject{sample}[:min(1, f.Limit)], failed
		},
		replay: func(_ context.Context, r ledger.ReplayRequest) (reject.ReplayResult, error) {
			for _, id := range r.IDs {
				if _, err := answer(id); err != nil {
					return reject.ReplayResult{}, err
				}
			}
			return reject.ReplayResult{Warnings: []string{}}, failed
		},
		fix: func(_ context.Context, r ledger.FixRequest) (ledger.ListedReject, error) { return answer(r.ID) },
		settle: func(_ context.Context, id reject.ID, _ bool, _ audit.By) (ledger.ListedReject, error) {
			return answer(id)
		},
		discard: func(_ context.Context, id reject.ID, _ audit.By) (ledger.ListedReject, error) {
			return answer(id)
		},
		revert: func(_ context.Context, r ledger.RevertRequest) (reject.RevertResult, error) {
			id := append(r.Files, r.RunID)[0]
			switch {
			case failed == nil && id == 8:
				return reject.RevertResult{}, &ledger.NotOpenError{What: "file", Why: "was reverted already"}
			case failed == nil && id != 7 && r.RunID != 0:
				return reject.RevertResult{}, ledger.ErrRunNotFound
			case failed == nil && id != 7:
				return reject.RevertResult{}, ledger.ErrFileNotFound
			}
			return reject.RevertResult{Warnings: []string{}}, failed
		},
		retire: func(_ context.Context, r ledger.RetireRequest) (ledger.Retirement, error) {
			if r.KeepTables {
				return ledger.Retirement{}, errors.Join(ledger.ErrRetiring, failed)
			}
			made := sampleRetirement()
			made.Created = r.KeepTotals
			return made, failed
		},
	}
}

func sampleRetirement() ledger.Retirement {
	return ledger.Retirement{ID: 7, Before: "2020-01", Totals: "keep", Status: "succeeded", Reason: "\xff", FinishedAt: time.Unix(0, 0).UTC(),
		Result: &reject.RetireResult{Months: []reject.RetiredMonth{{Month: "2019-12", Rows: 1}}, Rows: 1}}
}
