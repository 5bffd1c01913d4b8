// Package api is Tally's HTTP API: summaries, transactions, the run ledger, health, and the OpenAPI
// document of them.
//
// Guarantees. A summary is one read by primary key, with exactly the four keys of its contract, as
// numbers: no amount passes through a float. Every error of the service and its router is an RFC
// 9457 problem with a stable type and the request's id, without input from the request, SQL, a
// driver's message or a stack. /openapi.json is generated from the operations, and a test compares
// the committed openapi.yaml with it. /docs loads nothing from other hosts.
//
//	request ─▶ middleware: id, log, size, access ─▶ mux ─┬▶ guard: Accept, query, deadline ─▶ operation
//	                                                     ├▶ /docs /openapi.* /problems/*
//	                                                     └▶ mounts (River UI), unchanged
//
// Access. With an [Access], every request but a probe needs a token, except on a loopback address
// before the first token is added. A revoked token works for at most a second, in any process.
// Changes need an operator's token and, in a browser, a page of the service's own. Denials are in
// the audit trail.
//
// Failure. A panic is logged with its stack and answered with a 500 problem, or aborts the
// connection if the response has begun. If the database is unavailable or a request takes too long,
// the response is a 503 problem with Retry-After; so is every response while the tokens cannot be
// read. [Listener]'s connections answer malformed requests with a problem.
package api

//go:generate go test -run TestDocument -update .
