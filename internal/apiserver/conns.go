package apiserver

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/ratelimit"
)

// connections bounds how many connections of a listener are open. Idle ones make
// room: a client that holds many keeps nobody out by that. Where none is idle, the
// client that has the most makes room for one that has fewer: nobody is kept out by
// a client that begins requests, and does not end them, on as many as there are.
type connections struct {
	net.Listener
	most int

	mu   sync.Mutex
	open map[net.Conn]connection
}

type connection struct {
	from  netip.Prefix // its client; see ratelimit.Origin
	idle  bool         // it asks for nothing
	since time.Time
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c.admit(conn) {
			return conn, nil
		}
		_ = conn.Close() // it never was one of ours
	}
}

func (c *connections) admit(conn net.Conn) bool {
	from := originOf(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most {
		victim := c.oldest(func(o connection) bool { return o.idle })
		if victim == nil {
			victim = c.dispensable(from)
		}
		if victim == nil {
			return false
		}
		delete(c.open, victim)
		_ = victim.Close() // as if it had been idle, or at work, for too long
	}
	c.open[conn] = connection{from, true, time.Now()}
	return true
}

// oldest is the connection that has been for longest as it is.
func (c *connections) oldest(which func(connection) bool) (victim net.Conn) {
	for conn, o := range c.open {
		if which(o) && (victim == nil || o.since.Before(c.open[victim].since)) {
			victim = conn
		}
	}
	return victim
}

// dispensable is the oldest connection of the client with the most, if that has more
// than the client of one more.
func (c *connections) dispensable(from netip.Prefix) net.Conn {
	has := map[netip.Prefix]int{}
	top := from
	for _, o := range c.open {
		has[o.from]++
		if has[o.from] > has[top] {
			top = o.from
		}
	}
	if has[top] <= has[from]+1 {
		return nil
	}
	return c.oldest(func(o connection) bool { return o.from == top })
}

func originOf(conn net.Conn) netip.Prefix {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Prefix{} // all of a unix socket are one client
	}
	return ratelimit.Origin(a.AddrPort().Addr())
}

// state is the server's ConnState.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.open[conn]
	if !ok {
		return
	}
	switch s {
	case http.StateActive:
		c.open[conn] = connection{o.from, false, time.Now()}
	case http.StateNew, http.StateIdle:
		c.open[conn] = connection{o.from, true, time.Now()}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}
