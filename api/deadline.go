package api

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// patientListener makes the limits of [NewServer] cheap. The server moves a connection's
// deadlines six times for each request, and each move is one of the runtime's timers:
// a tenth of the time of a small answer. These connections move a timer when somebody
// waits under a deadline that it would miss, and put up with being woken too early.
type patientListener struct{ net.Listener }

func (l patientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newPatientConn(conn), nil
}

type patientConn struct {
	net.Conn // an interface: ReadFrom of a TCP connection would not ask for the deadline
	in, out  direction
}

func newPatientConn(conn net.Conn) *patientConn {
	return &patientConn{Conn: conn, in: direction{move: conn.SetReadDeadline}, out: direction{move: conn.SetWriteDeadline}}
}

func (c *patientConn) Read(b []byte) (int, error) {
	if err := c.in.begin(); err != nil {
		return 0, err
	}
	defer c.in.end()
	for {
		n, err := c.Conn.Read(b)
		if n > 0 || err == nil || !c.in.early(err) {
			return n, err
		}
	}
}

func (c *patientConn) Write(b []byte) (written int, err error) {
	if err := c.out.begin(); err != nil {
		return 0, err
	}
	defer c.out.end()
	for {
		n, err := c.Conn.Write(b[written:])
		written += n
		if err == nil || !c.out.early(err) {
			return written, err
		}
	}
}

func (c *patientConn) SetReadDeadline(t time.Time) error  { return c.in.set(t) }
func (c *patientConn) SetWriteDeadline(t time.Time) error { return c.out.set(t) }

func (c *patientConn) SetDeadline(t time.Time) error {
	return errors.Join(c.in.set(t), c.out.set(t))
}

// CloseWrite is what the server asks of a connection whose answer it has cut short.
func (c *patientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// direction is one half of a connection.
type direction struct {
	move    func(time.Time) error // of the connection itself
	mu      sync.Mutex
	due     time.Time // the deadline; zero for none
	armed   time.Time // the connection's own, which may be earlier
	waiting int
}

func (d *direction) set(due time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due = due
	if d.waiting > 0 && !due.IsZero() && (d.armed.IsZero() || due.Before(d.armed)) {
		return d.arm()
	}
	return nil
}

// begin sees to it that a call is woken when it is due, or earlier, but not at once.
func (d *direction) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting++
	late := !d.due.IsZero() && (d.armed.IsZero() || d.armed.After(d.due))
	past := !d.armed.IsZero() && !d.armed.After(time.Now())
	if !late && !past {
		return nil
	}
	err := d.arm()
	if err != nil {
		d.waiting--
	}
	return err
}

func (d *direction) end() {
	d.mu.Lock()
	d.waiting--
	d.mu.Unlock()
}

// early says that the connection's deadline has passed and the one asked for has not:
// the call is to go on.
func (d *direction) early(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.due.IsZero() && !d.due.After(time.Now()) {
		return false
	}
	return d.arm() == nil
}

func (d *direction) arm() error {
	d.armed = d.due
	return d.move(d.due)
}
