package api

import (
	"net/http"
	"time"
)

// The server's limits. The write timeout leaves an operation its deadline and a slow client
// some time to read a full page.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	// Headers past the first size are rejected, which leaves room for the ids of 1000 users in
	// the URL. Past the second, net/http stops reading.
	maxHeaderBytes       = 32 << 10
	maxServerHeaderBytes = 64 << 10
	maxBodyBytes         = 64 << 10
)

// NewServer returns an [http.Server] for addr that limits what one client can hold: headers
// for 5 seconds, a request for 15, a response for a minute, an idle connection for two. The
// caller starts and shuts it down.
func NewServer(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxServerHeaderBytes,
	}
}

// oversized returns the problem of a request that is too large according to its headers. A
// body of unknown length is cut off by its reader.
func oversized(r *http.Request, maxBody int64) *Problem {
	size := len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	if size > maxHeaderBytes {
		return kindHeadersTooLarge.problem()
	}
	if r.ContentLength > maxBody {
		return kindContentTooLarge.problem()
	}
	return nil
}

const (
	contentPolicyHeader = "Content-Security-Policy"
	// dataPolicy is for data: it loads nothing, and no page frames it.
	dataPolicy = "default-src 'none'; frame-ancestors 'none'"
	// mountPolicy is for pages of mounted handlers. River UI's libraries add style elements,
	// hence the one unsafe source.
	mountPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
		"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

// The values of security headers, shared by all responses.
var (
	noSniff      = []string{"nosniff"}
	dataPolicies = []string{dataPolicy}
)

// setSecurityHeaders is for any response. To promise TLS is the proxy's, since Tally speaks HTTP.
// Headers that only matter to pages are left to pages: no browser renders or runs JSON (nosniff),
// and each header costs time; see docs/performance.md.
func setSecurityHeaders(header http.Header) {
	header["X-Content-Type-Options"] = noSniff
	header[contentPolicyHeader] = dataPolicies
}

// setPageHeaders is for what a browser may show.
func setPageHeaders(header http.Header) {
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
}

// setMountHeaders is for the response of a mounted handler, with a policy unless it has one.
func setMountHeaders(header http.Header) {
	setPageHeaders(header)
	if header.Get(contentPolicyHeader) == dataPolicy {
		header.Set(contentPolicyHeader, mountPolicy)
	}
}
