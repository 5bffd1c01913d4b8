package api

import (
	"cmp"
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

// AccessConfig configures [Access]. Tokens is required.
type AccessConfig struct {
	Tokens *Tokens
	// Required demands a token of every request. Without it requests are unauthenticated until
	// the first token is added: for a loopback address.
	Required  bool
	RateLimit RateLimit    // of each token, and of each address without one
	Logger    *slog.Logger // receives failures to write to the audit trail; nil discards them
}

// Access authorizes requests. Denials are in the audit trail, one by one up to a bound, then
// as a count.
type Access struct {
	AccessConfig
	limiter *limiter
	// Bounded separately, so that anonymous requests cannot hide the denials of a token.
	anonymous, authenticated *denialLog
	origin                   *http.CrossOriginProtection
}

// NewAccess makes an Access; Close it after the server.
func NewAccess(c AccessConfig) *Access {
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	record := func(ctx context.Context, e ledger.Event) error { return ledger.Record(ctx, c.Tokens.pool, e) }
	return &Access{
		AccessConfig:  c,
		limiter:       newLimiter(c.RateLimit),
		anonymous:     &denialLog{record: record, logger: c.Logger, rest: anonymous},
		authenticated: &denialLog{record: record, logger: c.Logger, rest: "tokens"},
		origin:        http.NewCrossOriginProtection(),
	}
}

// Close writes the remaining counts to the audit trail.
func (a *Access) Close() {
	a.anonymous.flush()
	a.authenticated.flush()
}

// admit returns the sender of a request, whether it may make changes, and the problem if the
// request is denied.
func (a *Access) admit(r *http.Request) (actor string, operator bool, p *Problem) {
	actor, operator, p = a.decide(r)
	switch {
	case p == nil || p.Status >= http.StatusInternalServerError: // failed, not denied
	case actor == anonymous:
		a.anonymous.add(r, actor, p)
	default:
		a.authenticated.add(r, actor, p)
	}
	return actor, operator, p
}

func (a *Access) decide(r *http.Request) (actor string, operator bool, p *Problem) {
	switch r.URL.Path {
	case livezPath:
		return anonymous, false, nil // costs nothing and reveals nothing
	case readyzPath:
		return anonymous, false, a.limitAddress(r)
	}
	set, err := a.Tokens.recent(r.Context())
	if err != nil {
		return anonymous, false, a.tokensUnavailable(r, err)
	}
	if !a.Required && len(set.bySecret) == 0 {
		return anonymous, true, a.allowUnauthenticated(r)
	}
	secret, given := credential(r)
	token, known := set.lookUp(secret)
	if !known {
		if p := a.limitAddress(r); p != nil {
			return anonymous, false, p
		}
		if !plausible(secret) {
			return anonymous, false, unauthorized(given)
		}
		// The token may be newer than the set.
		if set, err = a.Tokens.since(r.Context(), a.Tokens.now()); err != nil {
			return anonymous, false, a.tokensUnavailable(r, err)
		}
		if token, known = set.lookUp(secret); !known {
			return anonymous, false, unauthorized(given)
		}
	}
	return "token:" + token.Name, token.Role == RoleOperator, a.authorize(r, token)
}

func (a *Access) authorize(r *http.Request, token Token) *Problem {
	if !token.RevokedAt.IsZero() {
		return unauthorized(true)
	}
	if p := a.limit(client{token: token.ID}); p != nil {
		return p
	}
	if !reads(r.Method) && token.Role != RoleOperator {
		return kindForbidden.problem()
	}
	return a.sameOrigin(r)
}

// allowUnauthenticated decides on a request to an unauthenticated service. A foreign page can
// make its own host name resolve to this machine, and then has the same origin as far as a
// browser can tell: host names that such a page could have are rejected.
func (a *Access) allowUnauthenticated(r *http.Request) *Problem {
	if !localName(r.Host) {
		return kindForeignHost.problem()
	}
	if !loopback(r.RemoteAddr) { // a process on this machine has better ways to slow it down
		if p := a.limitAddress(r); p != nil {
			return p
		}
	}
	return a.sameOrigin(r)
}

// sameOrigin denies a browser's changes from other sites' pages.
func (a *Access) sameOrigin(r *http.Request) *Problem {
	if !reads(r.Method) && a.origin.Check(r) != nil {
		return kindCrossOrigin.problem()
	}
	return nil
}

func (a *Access) limitAddress(r *http.Request) *Problem {
	return a.limit(client{network: network(r.RemoteAddr)})
}

func (a *Access) limit(c client) *Problem {
	wait := a.limiter.wait(c)
	if wait == 0 {
		return nil
	}
	p := kindTooManyRequests.problem()
	p.header = http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(wait.Seconds())))}}
	return p
}

func (a *Access) tokensUnavailable(r *http.Request, err error) *Problem {
	if r.Context().Err() == nil {
		a.Logger.WarnContext(r.Context(), "request failed",
			"request_id", requestID(r.Context()), "problem", kindUnavailable.name, "error", err)
	}
	return kindUnavailable.problem()
}

func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// unauthorized requests a token, with both supported schemes.
func unauthorized(given bool) *Problem {
	p := kindUnauthorized.problem()
	bearer := `Bearer realm="tally"`
	if given {
		bearer += `, error="invalid_token"`
	}
	p.header = http.Header{"Www-Authenticate": {bearer, `Basic realm="tally", charset="UTF-8"`}}
	return p
}

// credential is the secret in a request: a bearer token, or the password of any user, for which
// a browser prompts.
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

// localName reports whether a Host header has an address, localhost, or a name without a dot (a
// container's), none of which a page on the internet can have.
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
