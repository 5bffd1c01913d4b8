package api

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/opentax/tally/jobs/ledger"
)

// AccessConfig is who may use the API. Tokens is required.
type AccessConfig struct {
	Tokens *Tokens
	// Required means that nobody gets in without a token. Else everybody does for
	// as long as no token has ever been added: for an address that only this
	// machine reaches.
	Required bool
	// RateLimit is that of each token, and of each address without one.
	RateLimit RateLimit
	// Logger gets what could not be written to the audit trail; nil discards it.
	Logger *slog.Logger
}

// Access decides who may do what. Every request that it refuses is in the audit
// trail, one by one up to a bound, then as a count.
type Access struct {
	tokens   *Tokens
	required bool
	limiter  *limiter
	// Those of nobody known and those of tokens are bounded each by itself, so
	// that whoever has no token cannot hide what the holder of one tries.
	anonymous     *denialLog
	authenticated *denialLog
	origin        *http.CrossOriginProtection
	logger        *slog.Logger
}

// NewAccess makes an Access; Close it after the server.
func NewAccess(c AccessConfig) *Access {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	record := func(ctx context.Context, e ledger.Event) error { return ledger.Record(ctx, c.Tokens.pool, e) }
	return &Access{
		tokens:        c.Tokens,
		required:      c.Required,
		limiter:       newLimiter(c.RateLimit),
		anonymous:     &denialLog{record: record, logger: c.Logger, rest: anonymous},
		authenticated: &denialLog{record: record, logger: c.Logger, rest: "tokens"},
		origin:        http.NewCrossOriginProtection(),
		logger:        c.Logger,
	}
}

// Close writes down what is still to be written to the audit trail.
func (a *Access) Close() {
	a.anonymous.flush()
	a.authenticated.flush()
}

// admit says who asks, and why not where the request is refused.
func (a *Access) admit(r *http.Request) (actor string, p *Problem) {
	actor, p = a.decide(r)
	switch {
	case p == nil || p.Status >= http.StatusInternalServerError: // not refused, but failed
	case actor == anonymous:
		a.anonymous.add(r, actor, p)
	default:
		a.authenticated.add(r, actor, p)
	}
	return actor, p
}

func (a *Access) decide(r *http.Request) (actor string, p *Problem) {
	switch r.URL.Path {
	case livezPath:
		return anonymous, nil // costs nothing, and tells nothing
	case readyzPath:
		return anonymous, a.limited(client{network: network(r.RemoteAddr)})
	}
	set, err := a.tokens.recent(r.Context())
	if err != nil {
		return anonymous, a.tokensUnavailable(r, err)
	}
	if !a.required && len(set.bySecret) == 0 {
		return anonymous, a.allowUnauthenticated(r)
	}
	secret, given := credential(r)
	token, known := set.lookUp(secret)
	if !known {
		if p := a.limited(client{network: network(r.RemoteAddr)}); p != nil {
			return anonymous, p
		}
		if !plausible(secret) {
			return anonymous, unauthorized(given)
		}
		// It may have been added a moment ago.
		if set, err = a.tokens.since(r.Context(), a.tokens.now()); err != nil {
			return anonymous, a.tokensUnavailable(r, err)
		}
		token, known = set.lookUp(secret)
	}
	if !known {
		return anonymous, unauthorized(given)
	}
	return "token:" + token.Name, a.authorize(r, token)
}

// authorize decides on a request with a token.
func (a *Access) authorize(r *http.Request, token Token) *Problem {
	if !token.RevokedAt.IsZero() {
		return unauthorized(true)
	}
	if p := a.limited(client{token: token.ID}); p != nil {
		return p
	}
	if reads(r.Method) {
		return nil
	}
	if token.Role != RoleOperator {
		return kindForbidden.problem()
	}
	return a.sameOrigin(r)
}

// open decides on a request to a service that asks nobody who they are. A page of
// somebody else's can make its own name resolve to this machine, and is then of the
// same origin as far as a browser can tell: so names that such a page could have
// are refused.
func (a *Access) allowUnauthenticated(r *http.Request) *Problem {
	if !localName(r.Host) {
		return kindForeignHost.problem()
	}
	if !loopback(r.RemoteAddr) { // who is on this machine has better ways to slow it down
		if p := a.limited(client{network: network(r.RemoteAddr)}); p != nil {
			return p
		}
	}
	if reads(r.Method) {
		return nil
	}
	return a.sameOrigin(r)
}

func (a *Access) sameOrigin(r *http.Request) *Problem {
	if a.origin.Check(r) != nil {
		return kindCrossOrigin.problem()
	}
	return nil
}

func (a *Access) limited(c client) *Problem {
	wait := a.limiter.wait(c)
	if wait == 0 {
		return nil
	}
	p := kindTooManyRequests.problem()
	p.header = http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(wait.Seconds())))}}
	return p
}

// unknown is the answer where the tokens cannot be read: nobody gets in.
func (a *Access) tokensUnavailable(r *http.Request, err error) *Problem {
	if r.Context().Err() == nil {
		a.logger.LogAttrs(r.Context(), slog.LevelWarn, "request failed",
			slog.String("request_id", requestID(r.Context())), slog.String("problem", kindUnavailable.name), slog.Any("error", err))
	}
	return kindUnavailable.problem()
}

func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// unauthorized asks for a token, in the two ways in which one can be sent.
func unauthorized(given bool) *Problem {
	p := kindUnauthorized.problem()
	bearer := `Bearer realm="tally"`
	if given {
		bearer += `, error="invalid_token"`
	}
	p.header = http.Header{"Www-Authenticate": {bearer, `Basic realm="tally", charset="UTF-8"`}}
	return p
}

// credential is the secret that a request comes with: a bearer token, or the
// password of any user, which is how a browser asks for one.
func credential(r *http.Request) (secret string, given bool) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return "", len(values) > 0
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest), true
	}
	_, secret, _ = r.BasicAuth()
	return secret, true
}

// localName reports whether a Host header holds an address, localhost, or a name
// without a dot (a container's), none of which a page on the internet can have.
func localName(host string) bool {
	name := host
	if before, _, err := net.SplitHostPort(host); err == nil {
		name = before
	}
	name = strings.Trim(name, "[]")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost")
}
