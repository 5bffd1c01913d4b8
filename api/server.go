package api

import (
	"net/http"
	"time"
)

// The server's limits. The write timeout leaves an operation its deadline and a
// slow client some time to read a full page.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	// Headers are refused past the first size, which leaves room for the ids of 1000 users
	// in the address. Past the second, net/http does not read on.
	maxHeaderBytes       = 32 << 10
	maxServerHeaderBytes = 64 << 10
	maxBodyBytes         = 64 << 10
)

// NewServer is an [http.Server] for addr with limits on what one client can hold
// up: headers within 5 seconds, a whole request within 15, an answer within a
// minute, a silent connection for two. The caller serves and shuts it down.
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

// oversized is the problem of a request with more in it than any operation takes,
// as far as its headers say. A body of unknown length is cut off by its reader.
func oversized(r *http.Request) *Problem {
	size := len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	if size > maxHeaderBytes {
		return kindHeadersTooLarge.problem()
	}
	if r.ContentLength > maxBodyBytes {
		return kindContentTooLarge.problem()
	}
	return nil
}
