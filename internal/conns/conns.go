// Package conns bounds the connections of a listener whose clients prove who they are.
// Unauthenticated ones are few and may be replaced; who has proven its name keeps its
// connection, and has a bounded number of them.
package conns

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/causeway-net/causeway/internal/ratelimit"
)

// Limits bound a listener's connections.
type Limits struct {
	// Unauthenticated are how many may be open of those that have proven nothing, and
	// UnauthenticatedEach how many of one source: an address, of IPv6 a /64. One more takes
	// the place of the oldest of the source, or else of the source that has the most.
	Unauthenticated, UnauthenticatedEach int
	// Authenticated are how many may be open of those that have proven who they are, and
	// AuthenticatedEach how many of one of them. More are refused.
	Authenticated, AuthenticatedEach int
}

// Listener bounds the connections of another. What it accepts is a *Conn.
type Listener struct {
	net.Listener
	limits Limits

	mu              sync.Mutex
	unauthenticated []*Conn // the oldest first
	authenticated   map[string]int
	total           int // of authenticated
}

// Listen makes a Listener.
func Listen(l net.Listener, limits Limits) *Listener {
	return &Listener{Listener: l, limits: limits, authenticated: map[string]int{}}
}

// Conn is a connection of a Listener.
type Conn struct {
	net.Conn
	of   *Listener
	from netip.Prefix

	// Of mu of the listener.
	name   string // that it has proven; "": it is unauthenticated
	closed bool
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: raw, of: l}
	if a, ok := raw.RemoteAddr().(*net.TCPAddr); ok { // all of a unix socket are one source
		c.from = ratelimit.Origin(a.AddrPort().Addr())
	}
	if victim := l.admit(c); victim != nil {
		_ = victim.Close() // as if it had taken too long
	}
	return c, nil
}

// admit takes c in, and returns who has to go for it.
func (l *Listener) admit(c *Conn) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unauthenticated = append(l.unauthenticated, c)
	has := map[netip.Prefix]int{}
	for _, s := range l.unauthenticated {
		has[s.from]++
	}
	from := c.from
	if has[from] <= l.limits.UnauthenticatedEach {
		if len(l.unauthenticated) <= l.limits.Unauthenticated {
			return nil
		}
		for f, n := range has {
			if n > has[from] {
				from = f
			}
		}
	}
	for _, s := range l.unauthenticated {
		if s.from == from {
			return s
		}
	}
	return nil
}

// Prove says whose connection it is, unless there are too many.
func (c *Conn) Prove(name string) error {
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case l.total >= l.limits.Authenticated:
		return fmt.Errorf("%d connections are open already", l.total)
	case l.authenticated[name] >= l.limits.AuthenticatedEach:
		return fmt.Errorf("%s has %d connections open already", name, l.authenticated[name])
	}
	c.name = name
	l.authenticated[name]++
	l.total++
	l.forget(c)
	return nil
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	l := c.of
	l.mu.Lock()
	if !c.closed {
		c.closed = true
		if c.name == "" {
			l.forget(c)
		} else {
			l.total--
			if l.authenticated[c.name]--; l.authenticated[c.name] == 0 {
				delete(l.authenticated, c.name)
			}
		}
	}
	l.mu.Unlock()
	return c.Conn.Close()
}

func (l *Listener) forget(c *Conn) {
	for i, s := range l.unauthenticated {
		if s == c {
			l.unauthenticated = append(l.unauthenticated[:i], l.unauthenticated[i+1:]...)
			return
		}
	}
}

// Open is how many connections are open.
func (l *Listener) Open() (unauthenticated, authenticated int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unauthenticated), l.total
}
