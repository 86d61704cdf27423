package hostsync

import (
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/causeway-net/causeway/internal/conns"
)

// DefaultConnections are how many connections of agents there may be: a few for each
// host of a large site.
const DefaultConnections = 4096

// What has proven nothing yet is few: a handshake takes milliseconds, and helloTimeout
// at most. An agent has one connection, and beside it for a moment those that broke.
const (
	MaxUnauthenticated  = 128
	unauthenticatedEach = 32
	connectionsOfHost   = 8
)

// An agent has one stream on its connection. What it says in one message is at most a
// report of maxReports ports; these bound together what one host can make a controller
// hold.
const (
	maxFromAgent = 4 << 20
	streamsEach  = 2
)

// What one agent's stream may bring: in the long run, at once, and what a message counts
// for at least. A port's state is some sixty bytes.
const (
	reportBytes      = 512 << 10 // a second
	reportBurst      = 8 << 20
	reportBytesLeast = 128
)

func (s *Server) guarded(l net.Listener) net.Listener {
	return conns.Listen(l, conns.Limits{Unauthenticated: MaxUnauthenticated, UnauthenticatedEach: unauthenticatedEach, Authenticated: s.most, AuthenticatedEach: connectionsOfHost})
}

// guardedCredentials tell the listener which host a connection has proven to be of.
type guardedCredentials struct {
	credentials.TransportCredentials
	admission admission
}

func (g guardedCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	guarded, ok := raw.(*conns.Conn)
	if !ok {
		return g.TransportCredentials.ServerHandshake(raw)
	}
	inner := raw
	if _, asked := g.TransportCredentials.(unixCredentials); asked {
		inner = guarded.Conn // whose peer the kernel knows
	}
	conn, info, err := g.TransportCredentials.ServerHandshake(inner)
	if err != nil {
		return nil, nil, err
	}
	if conn == guarded.Conn {
		conn = guarded
	}
	host, err := g.admission.hostOfInfo(info)
	if err != nil {
		return conn, info, nil // unauthenticated still, and refused in words
	}
	if err := guarded.Prove(string(host)); err != nil {
		return nil, nil, fmt.Errorf("agent refused: %w", err)
	}
	return conn, info, nil
}

func (g guardedCredentials) Clone() credentials.TransportCredentials {
	return guardedCredentials{g.TransportCredentials.Clone(), g.admission}
}
