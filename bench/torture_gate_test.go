//go:build unix

package bench

import (
	"fmt"
	"net"
	"net/url"
	"sync"
)

// gate passes on the connections of one process to the server. It counts the bytes of both
// directions, and stops in between two of them for a fault.
type gate struct {
	location *url.URL
	network  string
	address  string // of the server
	listener net.Listener

	mu     sync.Mutex
	passed int64
	at     int64
	fire   func() // nil: never, or no more
	ends   map[net.Conn]bool
}

func newGate(to *url.URL) (g *gate, err error) {
	g = &gate{location: to, network: "tcp", address: to.Host, ends: map[net.Conn]bool{}}
	if host, port := to.Query().Get("host"), to.Query().Get("port"); host != "" {
		if g.address = net.JoinHostPort(host, port); host[0] == '/' {
			g.network, g.address = "unix", host+"/.s.PGSQL."+port
		}
	}
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go g.accept()
	return g, nil
}

// url is the database's through the gate.
func (g *gate) url() string {
	u := *g.location
	query := u.Query()
	query.Del("host")
	query.Del("port")
	u.Host, u.RawQuery = g.listener.Addr().String(), query.Encode()
	return fmt.Sprint(&u)
}

// arm calls fire once, behind that many bytes, before anything else passes.
func (g *gate) arm(at int64, fire func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at, g.fire = at, fire
}

func (g *gate) bytes() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.passed
}

func (g *gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial(g.network, g.address)
		if err != nil { // the server is not running
			_ = client.Close()
			continue
		}
		g.mu.Lock()
		g.ends[client], g.ends[server] = true, true
		g.mu.Unlock()
		go g.pass(client, server)
		go g.pass(server, client)
	}
}

// pass copies until either end is closed, and closes the other one.
func (g *gate) pass(from, to net.Conn) {
	defer g.drop(from, to)
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		first, fire := g.count(n)
		if fire != nil {
			_, _ = to.Write(buffer[:first]) // an error shows below
			fire()
		}
		if _, writing := to.Write(buffer[first:n]); writing != nil || err != nil {
			return
		}
	}
}

// count counts bytes, and returns what is to be done behind the first of them.
func (g *gate) count(n int) (first int, fire func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fire != nil && g.passed+int64(n) >= g.at {
		first, fire, g.fire = int(max(0, g.at-g.passed)), g.fire, nil
	}
	g.passed += int64(n)
	return first, fire
}

func (g *gate) drop(ends ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, end := range ends {
		_ = end.Close() // it may be closed already
		delete(g.ends, end)
	}
}

// cut closes all connections.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for end := range g.ends {
		_ = end.Close()
	}
}

func (g *gate) close() {
	_ = g.listener.Close()
	g.cut()
}
