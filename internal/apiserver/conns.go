package apiserver

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections bounds how many connections of a listener are open. Idle ones make
// room: a client that holds many keeps nobody out by that.
type connections struct {
	net.Listener
	most int

	mu   sync.Mutex
	open map[net.Conn]time.Time // since when it asks for nothing; zero: it does
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most {
		var oldest net.Conn
		for o, since := range c.open {
			if !since.IsZero() && (oldest == nil || since.Before(c.open[oldest])) {
				oldest = o
			}
		}
		if oldest == nil {
			return false
		}
		delete(c.open, oldest)
		_ = oldest.Close() // as if it had been idle for too long
	}
	c.open[conn] = time.Now()
	return true
}

// state is the server's ConnState.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[conn]; !ok {
		return
	}
	switch s {
	case http.StateActive:
		c.open[conn] = time.Time{}
	case http.StateNew, http.StateIdle:
		c.open[conn] = time.Now()
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}
