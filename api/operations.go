package api

import (
	"context"
	"math"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/jobs/ledger"
)

// register adds every operation to an API of huma's, humatest's included. The middleware
// comes first: huma binds it when an operation is added.
func (s *service) register(api huma.API) {
	api.UseMiddleware(s.guard)
	addMetadata(api.OpenAPI())
	s.registerTransactions(api)
	s.registerRuns(api)
	s.registerRejects(api)
	s.registerLedger(api)
	s.registerPartitions(api)
	s.registerHealth(api)
}

func (s *service) registerTransactions(api huma.API) {
	addOperation(s, api, s.summary, withSummaryResponses(api, get(tagTransactions, "getUserSummary", summaryPath,
		"Summarize a user's transactions",
		"Count, exact sum and average of a user's transactions, as of the last loaded file: of all transactions, or of those from one day "+
			"to another. A range without transactions of the user is a 404 too. With as_of, the answer is the summary as it was stored at that moment; "+
			"it has no Last-Modified, and takes time in proportion to the user's transactions.",
		"The user's summary.", kindNoTransactions, kindPrecondition, kindUnavailable)))
	addOperation(s, api, s.listSummaries, get(tagTransactions, "listSummaries", "/summaries", "Summarize several users' transactions",
		"The summaries of up to 1000 users, all as of the same moment.", "The summaries.", kindUnavailable))
	// huma has no tag for the bounds of a list's items.
	ids, low, high := api.OpenAPI().Paths["/summaries"].Get.Parameters[0].Schema.Items, 1.0, float64(math.MaxInt32)
	ids.Minimum, ids.Maximum = &low, &high
	ids.PrecomputeMessages()
	addOperation(s, api, s.listTopUsers, get(tagTransactions, "listTopUsers", "/summaries/top", "List the users with the largest totals",
		"The users with the largest sums or the most transactions, all as of the same moment. It is read once after each commit that "+
			"changes a summary; that time grows with the number of users: about 0.2 s for a million.", "The users.", kindUnavailable))
	addOperation(s, api, s.listTransactions, get(tagTransactions, "listUserTransactions", "/transactions/{user_id}",
		"List a user's transactions",
		"A user's transactions in order of date and id, in pages. Pages stay consistent while files are loaded: no transaction appears "+
			"twice, and one that is loaded meanwhile appears if it sorts after the cursor.",
		"A page of transactions.", kindNoTransactions, kindUnavailable))
	addOperation(s, api, s.getHistory, get(tagTransactions, "getTransactionHistory", "/history/{transaction_id}", "Get a transaction's history",
		"Every state of a transaction, oldest first: its values, the file and line of the row, when it was stored, and which change brought it. "+
			"A transaction that is no longer stored has a history, too, and one in a retired month at least its key.", "The states.", kindTransactionNotFound, kindUnavailable))
	addOperation(s, api, s.listTotals, get(tagTransactions, "listTotals", "/totals", "Sum all transactions by day or month",
		"Count and exact sum of all users' transactions by day or month, in chronological order, in pages. Periods without transactions "+
			"are omitted.", "A page of totals.", kindUnavailable))
	addOperation(s, api, s.listUserTotals, get(tagTransactions, "listUserTotals", "/transactions/{user_id}/totals",
		"Sum a user's transactions by day or month",
		"Count and exact sum of a user's transactions by day or month, in chronological order, in pages. Periods without transactions "+
			"are omitted; if the user has none in the whole range, the list is empty.",
		"A page of totals.", kindNoTransactions, kindUnavailable))
}

func (s *service) registerRuns(api huma.API) {
	addOperation(s, api, s.listRuns, get(tagRuns, "listRuns", "/runs", "List the runs",
		"All runs, newest first, each with its latest attempt.", "A page of runs.", kindUnavailable))
	addOperation(s, api, s.getRun, get(tagRuns, "getRun", "/runs/{id}", "Get a run",
		"One run with its latest attempt.", "The run.", kindRunNotFound, kindUnavailable))
	addOperation(s, api, s.listFiles, get(tagRuns, "listRunFiles", "/runs/{id}/files", "List a run's files",
		"The files that a run has finished reading, in that order. Files with content that was loaded before appear only in the run's log.",
		"A page of files.", kindRunNotFound, kindUnavailable))
	addOperation(s, api, s.listRejects, get(tagRuns, "listRunRejects", "/runs/{id}/rejects", "List the rows a run did not load",
		"Every row of a run's files that was not loaded, in order of file and line, with its text and all its faults. A page ends early "+
			"when the text of its rows reaches 4 MiB.", "A page of rows.", kindRunNotFound, kindUnavailable))
	addOperation(s, api, s.listLogs, get(tagRuns, "listRunLogs", "/runs/{id}/logs", "List a run's log lines",
		"A run's log lines, oldest first, also while it runs. To follow a run, repeat the request with next_cursor, which every page has: "+
			"a page without items means that there is nothing new yet.", "A page of log lines.", kindRunNotFound, kindUnavailable))
	addOperation(s, api, s.listSources, get(tagRuns, "listSources", "/sources", "List the sources",
		"Each source of which files were read, at most 1000: the settings of its last file, and what its loaded files have proven of how it "+
			"writes dates and amounts, with file and line.", "The sources.", kindUnavailable))
	addOperation(s, api, s.listAlerts, get(tagRuns, "listAlerts", "/alerts", "List the alerts",
		"Conditions that need action, each from its beginning to its end: the open ones, then those that are over, each newest first, in pages.",
		"A page of alerts.", kindUnavailable))
	addOperation(s, api, s.requestRun, accepted[RunRequest, ledger.Run](api, get(tagRuns, "requestRun", "/runs", "Request a run",
		"Enqueues the run of a logical date over the configured sources. A date has one run: repeating the request changes nothing. "+
			"A finished run is not restarted; retry its job in River UI, or use `tally run --date`.",
		"The date already has a run, which is unchanged.", kindRequestTimeout, kindUnsupportedMedia, kindUnavailable),
		"The run is enqueued.", "/runs/7"))
}

// accepted makes an operation a POST with a body that is answered with 202 and the address of what it
// has enqueued, or with 200 if that was enqueued before.
func accepted[Body, Made any](api huma.API, op huma.Operation, enqueued, address string) huma.Operation {
	schemas := api.OpenAPI().Components.Schemas
	op.Method, op.DefaultStatus = http.MethodPost, http.StatusAccepted
	op.Metadata = map[string]any{bodyProperties: schemas.Schema(reflect.TypeFor[Body](), false, "").Properties}
	op.Responses["202"] = success(enqueued)
	for _, status := range []string{"200", "202"} {
		r := op.Responses[status]
		r.Headers["Location"] = stringHeader("The address to follow it.", address)
		r.Content[jsonContentType].Schema = schemas.Schema(reflect.TypeFor[Made](), true, "")
	}
	return op
}

// registerLedger adds what proves the data.
func (s *service) registerLedger(api huma.API) {
	addOperation(s, api, s.getReceipt, get(tagTransactions, "getReceipt", "/prove/{user_id}", "Get the receipt of a user's total",
		"Leads from the user's total to lines of files and the head of the audit chain. tally prove --check verifies it with the files, without a "+
			"database. It has at most "+receiptLimit+" transactions, each with its values: treat it as personal data.",
		"The receipt.", kindNoTransactions, kindNoReceipt, kindUnavailable))
	addOperation(s, api, s.getAuditHead, get(tagRuns, "getAuditHead", "/audit/head", "Get the head of the audit chain",
		"Number and hash of the last entry of the audit chain, which has an entry for each change of the data. The hash covers all entries: "+
			"noted elsewhere, it lets GET /audit/verify?head= find a chain that was written anew.", "The head.", kindUnavailable))
	addOperation(s, api, s.verifyChain, get(tagRuns, "verifyAudit", "/audit/verify", "Verify the audit chain",
		"Replays the audit chain against the tables, and names the first entry that does not hold; the status is 200 either way. One verification "+
			"is made at a time, and served until the next entry, at most ten minutes: verified_at says when it began. In a large database it takes "+
			"minutes: then the answer is a 503 problem verifying until it is there. It reads as the costly requests do, of which some may run at once.",
		"The result.", kindUnavailable))
}

func (s *service) registerHealth(api huma.API) {
	addOperation(s, api, s.livez, get(tagHealth, "getLiveness", livezPath, "Check liveness",
		"Answers 200 while the process accepts requests, whatever else is unavailable. For a liveness probe.", "The process accepts requests."))
	addOperation(s, api, s.readyz, get(tagHealth, "getReadiness", readyzPath, "Check readiness",
		"Answers 200 if all required parts are available, otherwise a problem whose not_ready lists the missing ones: database or "+
			"migrations. degraded lists optional parts that are unavailable. For a readiness probe.",
		"The service is ready.", kindTooManyRequests, kindNotReady))
}

// get returns a GET operation with its 200 and its problems, those of every operation
// included. All but the probes' need a token.
func get(tag, id, path, summary, description, ok string, problems ...kind) huma.Operation {
	op := huma.Operation{
		Method: http.MethodGet, Tags: []string{tag}, OperationID: id, Path: path, Summary: summary, Description: description,
		Security: []map[string][]string{}, Responses: map[string]*huma.Response{"200": success(ok)},
	}
	problems = append(problems, kindBadRequest, kindNotAcceptable, kindContentTooLarge, kindInvalid, kindHeadersTooLarge, kindInternal)
	if tag != tagHealth {
		op.Security = []map[string][]string{{bearerScheme: {}}, {basicScheme: {}}}
		problems = append(problems, kindUnauthorized, kindForbidden, kindTooManyRequests)
		addReplicaHeaders(op.Responses["200"].Headers)
	}
	for _, k := range problems {
		op.Responses[strconv.Itoa(k.status)] = &huma.Response{Ref: "#/components/responses/" + k.component()}
	}
	return op
}

func success(description string) *huma.Response {
	return &huma.Response{
		Description: description,
		Headers:     map[string]*huma.Header{requestIDHeader: {Ref: requestIDReference}},
		Content:     map[string]*huma.MediaType{jsonContentType: {}},
	}
}

func stringHeader(description, example string) *huma.Header {
	return &huma.Header{Description: description, Schema: &huma.Schema{Type: huma.TypeString, Examples: []any{example}}}
}

// addOperation registers an operation. It turns the operation's errors into problems, and logs the
// cause if the problem hides it.
func addOperation[I, O any](s *service, api huma.API, operation func(context.Context, *I) (*O, error), op huma.Operation) {
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := operation(ctx, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
}
