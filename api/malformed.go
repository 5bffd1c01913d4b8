package api

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Listener accepts connections that answer malformed requests with problems. net/http's server
// writes plain text straight to the connection, before any handler. Each such response is logged,
// unless logger is nil.
func Listener(l net.Listener, logger *slog.Logger) net.Listener {
	return problemListener{l, cmp.Or(logger, slog.New(slog.DiscardHandler))}
}

type problemListener struct {
	net.Listener
	logger *slog.Logger
}

func (l problemListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &problemConn{conn, l.logger}, nil
}

type problemConn struct {
	net.Conn
	logger *slog.Logger
}

func (c *problemConn) Write(b []byte) (int, error) {
	status := malformed(b)
	if status == 0 {
		return c.Conn.Write(b)
	}
	p := ofStatus(status).withRequestID(rand.Text())
	c.logger.Info("malformed request",
		"request_id", p.RequestID, "status", status, "origin", c.RemoteAddr().String())
	if err := writeClosing(c.Conn, p); err != nil {
		return 0, err
	}
	return len(b), nil
}

// CloseWrite is called by the server after a response that it has cut short.
func (c *problemConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// malformed is the status of a response that net/http's server made itself, otherwise 0. Its
// response to a malformed request has the same two headers and no date; the one to an unknown
// Expect has no body. Handlers answer neither way.
func malformed(answer []byte) int {
	const version = "HTTP/1.1 "
	line, rest, _ := bytes.Cut(answer[:min(len(answer), 256)], []byte("\r\n"))
	if len(line) < len(version)+3 || line[len(version)] < '4' || string(line[:len(version)]) != version {
		return 0
	}
	status, err := strconv.Atoi(string(line[len(version) : len(version)+3]))
	if err != nil || status != http.StatusExpectationFailed &&
		!bytes.HasPrefix(rest, []byte("Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")) {
		return 0
	}
	return status
}

// writeClosing sends a problem, in one write, over a connection that is then closed.
func writeClosing(w io.Writer, p *Problem) error {
	header := http.Header{
		"Date": {time.Now().UTC().Format(http.TimeFormat)}, requestIDHeader: {p.RequestID},
		"Cache-Control": {"no-store"}, "Content-Type": {problemContentType},
	}
	setSecurityHeaders(header)
	body := p.body()
	answer := http.Response{
		StatusCode: p.Status, ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Close: true,
	}
	var out bytes.Buffer
	_ = answer.Write(&out) // memory takes everything
	_, err := w.Write(out.Bytes())
	return err
}
