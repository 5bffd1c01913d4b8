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
	maxHeaderBytes    = 32 << 10
)

// NewServer is an [http.Server] for addr with limits on what one client can hold
// up: headers within 5 seconds and 32 KiB, a whole request within 15 seconds, an
// answer within a minute, a silent connection for two. The caller serves and
// shuts it down.
func NewServer(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
}
