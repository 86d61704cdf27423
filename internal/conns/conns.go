// Package conns bounds the connections of a listener whose clients prove who they are.
// Until they have, they are strangers, who are few and may be replaced; who has proven
// it keeps its connection, and has a bounded number of them.
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
	// Strangers are how many may be open of those that have proven nothing, and
	// StrangersEach how many of one source: an address, of IPv6 a /64. One more takes
	// the place of the oldest of the source, or else of the source that has the most.
	Strangers, StrangersEach int
	// Known are how many may be open of those that have proven who they are, and
	// KnownEach how many of one of them. More are refused.
	Known, KnownEach int
}

// Listener bounds the connections of another. What it accepts is a *Conn.
type Listener struct {
	net.Listener
	limits Limits

	mu        sync.Mutex
	strangers []*Conn // the oldest first
	known     map[string]int
	total     int // of known
}

// Listen makes a Listener.
func Listen(l net.Listener, limits Limits) *Listener {
	return &Listener{Listener: l, limits: limits, known: map[string]int{}}
}

// Conn is a connection of a Listener.
type Conn struct {
	net.Conn
	of   *Listener
	from netip.Prefix

	// Of mu of the listener.
	name   string // that it has proven; "": a stranger
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
	l.strangers = append(l.strangers, c)
	has := map[netip.Prefix]int{}
	for _, s := range l.strangers {
		has[s.from]++
	}
	from := c.from
	if has[from] <= l.limits.StrangersEach {
		if len(l.strangers) <= l.limits.Strangers {
			return nil
		}
		for f, n := range has {
			if n > has[from] {
				from = f
			}
		}
	}
	for _, s := range l.strangers {
		if s.from == from {
			return s
		}
	}
	return nil
}

// Prove makes a stranger a known one, unless there are too many.
func (c *Conn) Prove(name string) error {
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case l.total >= l.limits.Known:
		return fmt.Errorf("%d connections are open already", l.total)
	case l.known[name] >= l.limits.KnownEach:
		return fmt.Errorf("%s has %d connections open already", name, l.known[name])
	}
	c.name = name
	l.known[name]++
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
			if l.known[c.name]--; l.known[c.name] == 0 {
				delete(l.known, c.name)
			}
		}
	}
	l.mu.Unlock()
	return c.Conn.Close()
}

func (l *Listener) forget(c *Conn) {
	for i, s := range l.strangers {
		if s == c {
			l.strangers = append(l.strangers[:i], l.strangers[i+1:]...)
			return
		}
	}
}

// Open is how many connections are open.
func (l *Listener) Open() (strangers, known int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.strangers), l.total
}
