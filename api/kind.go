package api

import (
	"net/http"
	"strconv"
	"strings"
)

type kind struct {
	name   string // the last part of its type's URI; never changes
	status int
	title  string
	detail string // what happened, by default
	help   string // for the type's page: cause and remedy
}

func (k kind) uri() string { return problemsPath + k.name }

func (k kind) retry() bool {
	return k.status == http.StatusServiceUnavailable || k.status == http.StatusTooManyRequests
}

func (k kind) problem() *Problem {
	p := &Problem{Type: k.uri(), Title: k.title, Status: k.status, Detail: k.detail}
	if k.retry() {
		p.header = http.Header{"Retry-After": {strconv.Itoa(retryAfterSeconds)}}
	}
	return p
}

// component names the document's response for the problem. Problems that any operation can
// have with one status share a response.
func (k kind) component() string {
	switch k.status {
	case http.StatusForbidden:
		k = kindForbidden
	case http.StatusConflict:
		k = kindNotOpen
	case http.StatusServiceUnavailable:
		if k.name == kindTimeout.name || k.name == kindBusy.name || k.name == kindVerifying.name || k.name == kindStale.name {
			k = kindUnavailable
		}
	}
	return strings.ReplaceAll(http.CanonicalHeaderKey(k.name), "-", "") // TooManyRequests
}

var (
	kindNotFound = kind{"not-found", http.StatusNotFound, "Not found", "There is no resource at this path.",
		"The service has no such path. /openapi.json lists its paths."}
	kindNoTransactions = kind{"no-transactions", http.StatusNotFound, "The user has no transactions",
		"No transaction of this user has been loaded.",
		"No file with a transaction of this user has been loaded. A later load may change that."}
	kindRunNotFound = kind{"run-not-found", http.StatusNotFound, "The run does not exist", "There is no run with this id.",
		"No run has this id. GET /runs lists the runs there are."}
	kindRejectNotFound = kind{"reject-not-found", http.StatusNotFound, "The reject does not exist", "There is no reject with this id.",
		"No row that was not loaded has this id. GET /rejects lists them."}
	kindFileNotFound = kind{"file-not-found", http.StatusNotFound, "The file does not exist", "There is no file with this id.",
		"No file has this id. GET /runs/{id}/files lists those of a run."}
	kindNotOpen = kind{"not-open", http.StatusConflict, "The state does not allow the change", "It was dealt with already.",
		"The reject is no longer open, or the file is not loaded or was reverted already; nothing was changed. GET /rejects lists the open ones."}
	kindStillRejected = kind{"still-rejected", http.StatusConflict, "The row still has faults", "The row still has faults.",
		"Under the settings of today the row is not valid; nothing was changed. Correct all values that the faults are about."}
	kindTooManyRows = kind{"too-many-rows", http.StatusConflict, "The change is too large for a request",
		"The change is of more than 100000 rows.",
		"A request must end within seconds; nothing was changed. Use a narrower filter, or the command line (tally replay, tally revert), which " +
			"has no limit."}
	kindTransactionNotFound = kind{"transaction-not-found", http.StatusNotFound, "The transaction does not exist",
		"No row with this transaction id was ever stored.",
		"No file with a valid row of this transaction id has been loaded. Ids are case-sensitive."}
	kindRetirementNotFound = kind{"retirement-not-found", http.StatusNotFound, "The retirement does not exist", "There is no retirement with this id.",
		"No retirement that was requested has this id. Those of the command line have none; GET /partitions lists all months that were retired."}
	kindRetiring = kind{"retiring", http.StatusConflict, "Another retirement is not finished", "Another retirement is queued or running.",
		"One retirement is unfinished at a time, and it is not the one of this request. Request it again when GET /partitions/retirements/{id} says that " +
			"the other one has ended."}
	kindNoReceipt = kind{"no-receipt", http.StatusConflict, "There is no receipt", "Months of the user's files are retired: their rows cannot be proven any more.",
		"Rows of retired months cannot be proven any more. For a user with more than " + receiptLimit + " transactions, or with transactions of too many commits or of too many commits ago, " +
			"the command line makes the receipt: tally prove."}
	kindBadRequest = kind{"bad-request", http.StatusBadRequest, "The request is malformed", "The service cannot parse the request.",
		"The request was rejected before it reached an operation. Send it as the API's description specifies."}
	kindMethodNotAllowed = kind{"method-not-allowed", http.StatusMethodNotAllowed, "The method is not allowed",
		"This path does not support the request's method; the Allow header lists the supported ones.",
		"The path exists but supports other methods, which the response's Allow header lists."}
	kindNotAcceptable = kind{"not-acceptable", http.StatusNotAcceptable, "The response type is not acceptable",
		"The operation returns application/json, which the request's Accept header excludes.",
		"Operations return application/json. Omit the Accept header, or include that type."}
	kindPrecondition = kind{"precondition-failed", http.StatusPreconditionFailed, "The precondition failed",
		"The resource does not match the request's If-Match or If-Unmodified-Since.",
		"The resource has changed since the response with that entity tag or date. Repeat the request without the condition to " +
			"get the current version."}
	kindInvalid = kind{"invalid-request", http.StatusUnprocessableEntity, "The request is invalid",
		"A part of the request does not match the API's description.",
		"A path or query parameter is invalid, unknown, repeated, or a cursor of another list; or the body is invalid. " +
			"\"errors\" lists each one with the expected value."}
	kindUnauthorized = kind{"unauthorized", http.StatusUnauthorized, "A token is required",
		"The request has no token, or an unknown or revoked one.",
		"Send a token as \"Authorization: Bearer …\", or as the password of any user with Basic authentication, for which a " +
			"browser prompts. An operator creates one with tally token add."}
	kindForbidden = kind{"forbidden", http.StatusForbidden, "The token lacks permission",
		"The token has the role reader, and the request would make a change.",
		"A reader's token can only read. Changes require the role operator: tally token add NAME --role operator."}
	kindCrossOrigin = kind{"cross-origin", http.StatusForbidden, "The request comes from another site",
		"Pages of other sites may not make changes.",
		"According to Sec-Fetch-Site and Origin, a browser sent this request for a page of another site. Only the service's own " +
			"pages may make changes."}
	kindForeignHost = kind{"foreign-host", http.StatusForbidden, "The host name is not allowed",
		"Without tokens the service accepts only an IP address, localhost or a name without dots as host.",
		"The Host header has a name that a page on the internet could have pointed at this machine. Use an IP address, or add a " +
			"token (tally token add): with tokens any name is accepted."}
	kindContentTooLarge = kind{"content-too-large", http.StatusRequestEntityTooLarge, "The body is too large", "The body exceeds the limit.",
		"A body may have at most 64 KiB."}
	kindUnsupportedMedia = kind{"unsupported-media-type", http.StatusUnsupportedMediaType, "The media type is not supported",
		"The operation accepts application/json.",
		"Send the body as application/json, with that Content-Type."}
	kindRequestTimeout = kind{"request-timeout", http.StatusRequestTimeout, "The request timed out", "The body did not arrive in time.",
		"The service waits a few seconds for a body. Send it without pauses."}
	kindHeadersTooLarge = kind{"headers-too-large", http.StatusRequestHeaderFieldsTooLarge, "The headers are too large",
		"The URL and the headers exceed the limit.",
		"The URL and headers of a request may have at most 32 KiB in total."}
	kindTooManyRequests = kind{"too-many-requests", http.StatusTooManyRequests, "Too many requests",
		"The token, or the address if there is no token, has exceeded its request rate.",
		"Wait for the time in Retry-After, and send fewer requests. The operator sets the limit with rate_limit."}
	kindInternal = kind{"internal-error", http.StatusInternalServerError, "The service failed",
		"The service failed to answer the request. Its log has the cause under the request's id.",
		"A fault of the service, not of the request. Report it with the problem's request_id: the service's log has the cause " +
			"under that id."}
	kindUnavailable = kind{"unavailable", http.StatusServiceUnavailable, "The database is unavailable",
		"The database is temporarily unavailable.",
		"The database is unreachable, restarting or out of disk space. Retry after the time in Retry-After."}
	kindBusy = kind{"busy", http.StatusServiceUnavailable, "The service is busy",
		"Other requests that read much are running.",
		"As many requests that read much as may run at once are running: the top users, totals of many rows, ranges that cut a " +
			"month, summaries as of a moment, receipts. Retry after the time in Retry-After."}
	kindVerifying = kind{"verifying", http.StatusServiceUnavailable, "The audit chain is being verified",
		"A verification of the audit chain takes longer than a request waits for it.",
		"The verification goes on. Repeat the request after the time in Retry-After, until it answers: in a large database it takes minutes."}
	kindTimeout = kind{"timeout", http.StatusServiceUnavailable, "The request took too long", "The request exceeded its time limit.",
		"The service canceled the request. Retry after the time in Retry-After, or request a smaller page."}
	kindStale = kind{"stale", http.StatusServiceUnavailable, "No server has an answer that is new enough",
		"No database server could give an answer that is new enough in time.",
		"The primary is unavailable, and no replica has the commit that Tally-Min-Epoch or an announcement names, or the bound on the age of " +
			"answers has passed. Retry after the time in Retry-After."}
	kindNotReady = kind{"not-ready", http.StatusServiceUnavailable, "The service is not ready", "A required part is unavailable.",
		"\"not_ready\" lists the unavailable parts, for example \"database\". Send no traffic here until /readyz answers 200."}
)

// kinds are all types of problem. Where a status has several, the first one is the problem of a
// response with that status and no body.
var kinds = [...]kind{
	kindBadRequest, kindUnauthorized, kindForbidden, kindCrossOrigin, kindForeignHost,
	kindNotFound, kindNoTransactions, kindRunNotFound, kindTransactionNotFound, kindRejectNotFound, kindFileNotFound, kindNotOpen, kindStillRejected, kindTooManyRows, kindNoReceipt, kindRetirementNotFound, kindRetiring, kindMethodNotAllowed, kindNotAcceptable,
	kindRequestTimeout, kindPrecondition, kindContentTooLarge, kindUnsupportedMedia, kindInvalid, kindTooManyRequests, kindHeadersTooLarge,
	kindInternal, kindUnavailable, kindTimeout, kindBusy, kindVerifying, kindStale, kindNotReady,
}
