package conns_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/causeway-net/causeway/internal/conns"
	"github.com/causeway-net/causeway/internal/testutil"
)

// pair is a connection, at both ends.
type pair struct {
	client net.Conn
	server *conns.Conn
}

type fixture struct {
	t *testing.T
	l *conns.Listener
}

func start(t *testing.T, limits conns.Limits) *fixture {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	return &fixture{t, conns.Listen(raw, limits)}
}

// dial connects from an address of loopback.
func (f *fixture) dial(from string) pair {
	f.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client, err := d.Dial("tcp", f.l.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = client.Close() })
	server, err := f.l.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = server.Close() })
	return pair{client, server.(*conns.Conn)}
}

// over waits until the server has closed a connection.
func (f *fixture) over(p pair) {
	f.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := p.client.Read(make([]byte, 1))
		done <- err
	}()
	if err := testutil.Receive(f.t, "the end of a connection", done); !errors.Is(err, io.EOF) {
		f.t.Error(err)
	}
}

func (f *fixture) open(unauthenticated, authenticated int) {
	f.t.Helper()
	if s, k := f.l.Open(); s != unauthenticated || k != authenticated {
		f.t.Errorf("%d unauthenticated, %d authenticated; want %d, %d", s, k, unauthenticated, authenticated)
	}
}

// TestUnauthenticated: a source that opens many connections and proves nothing loses its own,
// and keeps no other source out; who has proven something is never cut off.
func TestUnauthenticated(t *testing.T) {
	f := start(t, conns.Limits{Unauthenticated: 4, UnauthenticatedEach: 3, Authenticated: 2, AuthenticatedEach: 2})
	good := f.dial("127.0.0.9")
	if err := good.server.Prove("host"); err != nil {
		t.Fatal(err)
	}
	var bad []pair
	for range 10 {
		bad = append(bad, f.dial("127.0.0.2"))
	}
	for _, p := range bad[:7] {
		f.over(p)
	}
	f.open(3, 1)
	other := f.dial("127.0.0.3")
	f.open(4, 1)
	f.dial("127.0.0.4") // in all: the source with the most makes room
	f.over(bad[7])
	f.open(4, 1)
	if err := other.server.Prove("other"); err != nil {
		t.Error(err)
	}
	f.open(3, 2)
	if _, err := good.server.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := bad[7].server.Prove("late"); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestKnown: also those who are known have a bounded number, each and together, and
// what they close they may open again.
func TestKnown(t *testing.T) {
	f := start(t, conns.Limits{Unauthenticated: 4, UnauthenticatedEach: 4, Authenticated: 3, AuthenticatedEach: 2})
	prove := func(name string, want bool) pair {
		t.Helper()
		p := f.dial("127.0.0.1")
		if err := p.server.Prove(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		if !want {
			_ = p.server.Close()
		}
		return p
	}
	first := prove("a", true)
	prove("a", true)
	prove("a", false)
	prove("b", true)
	prove("c", false)
	f.open(0, 3)
	_ = first.server.Close()
	_ = first.server.Close() // twice is once
	f.open(0, 2)
	prove("c", true)
}
