package api

import "net/http"

const (
	contentPolicyHeader = "Content-Security-Policy"
	// dataPolicy is for answers that are no pages: they load nothing, and nobody
	// shows them in a frame.
	dataPolicy = "default-src 'none'; frame-ancestors 'none'"
	// mountPolicy is for pages that bring scripts and fetch from here. River UI's
	// libraries add style elements of their own, hence the one thing that is unsafe.
	mountPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
		"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

// securityHeaders are the values that go with answers, made once.
type securityHeaders struct{ sniff, referrer, resource, frame, transport, data, mount []string }

func newSecurityHeaders() securityHeaders {
	return securityHeaders{
		sniff:     []string{"nosniff"},
		referrer:  []string{"no-referrer"},
		resource:  []string{"same-origin"},
		frame:     []string{"DENY"},
		transport: []string{"max-age=31536000"},
		data:      []string{dataPolicy},
		mount:     []string{mountPolicy},
	}
}

// set is for any answer, until a handler knows better. Only over TLS of our own may
// a browser be told to use nothing else: with a proxy that is the proxy's to say.
//
// What only matters to pages is left to them: of JSON, which no browser renders nor
// runs (nosniff), the policy says all there is to say, and each header of an answer
// costs time; see docs/performance.md.
func (s *securityHeaders) set(header http.Header, encrypted bool) {
	header["X-Content-Type-Options"] = s.sniff
	header[contentPolicyHeader] = s.data
	if encrypted {
		header["Strict-Transport-Security"] = s.transport
	}
}

// page is for what a browser may show.
func (s *securityHeaders) page(header http.Header) {
	header["Referrer-Policy"] = s.referrer
	header["Cross-Origin-Resource-Policy"] = s.resource
	header["X-Frame-Options"] = s.frame // for browsers that do not know frame-ancestors
}

// mounted is for the answer of a mounted handler, with a policy where it has none of its
// own.
func (s *securityHeaders) mounted(header http.Header) {
	s.page(header)
	if header.Get(contentPolicyHeader) == dataPolicy {
		header[contentPolicyHeader] = s.mount
	}
}
