package hostsync

import (
	"crypto/x509"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestUnauthenticatedConnections opens connections without a certificate, from one address
// and from many, and says nothing on them: they take a bounded number of descriptors,
// and agents get in all the while.
func TestUnauthenticatedConnections(t *testing.T) {
	ca := testutil.SelfSigned(t, t.TempDir(), "authority")
	hosts := newFakeHosts()
	s, err := NewServer(ServerOptions{Hosts: hosts, TLS: issue(t, ca, "controller", nil, net.IPv4(127, 0, 0, 1)), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	before := descriptors(t)
	for name, from := range map[string]func(i int) net.IP{
		"one":  func(int) net.IP { return net.IPv4(127, 0, 0, 2) },
		"many": func(i int) net.IP { return net.IPv4(127, 0, 1, byte(i)) },
	} {
		most := 0
		var open []net.Conn
		for i := range 250 {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from(i)}}
			c, err := d.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, c)
			most = max(most, descriptors(t)-before-len(open))
		}
		if most > MaxUnauthenticated+16 {
			t.Errorf("%s: the server had %d descriptors", name, most)
		}
		agent := withRole(t, ca, "agent", "host:gw-"+name)
		_, stop := connect(t, ClientOptions{Targets: []string{l.Addr().String()}, TLS: agent}, newSink())
		if h := wait(t, hosts.came, "an agent among unauthenticated connections"); string(h) != "gw-"+name {
			t.Error(h)
		}
		stop()
		for _, c := range open {
			_ = c.Close()
		}
		testutil.Eventually(t, "the descriptors to be given back", func() bool { return descriptors(t) <= before+8 })
	}
}

// TestConnectionsOfOneHost: a certificate opens a bounded number of connections.
func TestConnectionsOfOneHost(t *testing.T) {
	ca := testutil.SelfSigned(t, t.TempDir(), "authority")
	s, err := NewServer(ServerOptions{Hosts: newFakeHosts(), TLS: issue(t, ca, "controller", nil, net.IPv4(127, 0, 0, 1)), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	files := withRole(t, ca, "agent", "host:gw")
	refused := 0
	for range connectionsOfHost + 4 {
		creds, err := files.client(new(atomic.Pointer[[]*x509.Certificate]))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = raw.Close() })
		conn, _, err := creds.ClientHandshake(t.Context(), "127.0.0.1", raw)
		if err != nil {
			t.Fatal(err)
		}
		// The server's first frame, or the end.
		if _, err := conn.Read(make([]byte, 9)); err != nil {
			refused++
		}
	}
	if refused != 4 {
		t.Errorf("%d were refused", refused)
	}
}
