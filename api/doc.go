// Package api is Tally's HTTP face: summaries, transactions, the run ledger,
// health, and the description of all of it.
//
// Guarantees. A summary is one read by primary key and answers exactly the four
// keys of its contract, as numbers: no amount passes through a float on its way
// out. Every error of the service and of its router is an RFC 9457 problem with
// a stable type and the request's id; none repeats what the client sent and none
// shows a statement, a driver's message or a stack. The description under
// /openapi.json is generated from the operations that answer, and the committed
// openapi.yaml is held to it by a test. /docs asks no other host for anything.
//
//	request ─▶ front: id, log, size, access ─▶ mux ─┬▶ guard: Accept, query, deadline ─▶ operation
//	                                                ├▶ /docs /openapi.* /problems/*
//	                                                └▶ mounts (River UI), left as they are
//
// Access. With an [Access], nobody gets in without a token but probes, and whoever
// asks a service on its own machine that never had one. A token that is revoked
// works for a second at most, in whatever process. What changes something needs an
// operator's token and, from a browser, a page of the service's own. Who was
// refused is in the audit trail.
//
// Failure. A panic is logged with its stack and answered with a 500 problem, or
// cuts the connection where the answer had begun. An unreachable database and a
// request that takes too long are 503 problems with Retry-After; while the tokens
// cannot be read, every request is such a one. What is no request (a malformed request
// line, headers without end) is answered with a problem by the connections of
// [Listener].
package api

//go:generate go test -run TestDocument -update .
