package scenario

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

func unmarshal(s string, v any) error { return json.Unmarshal([]byte(s), v) }

// flood sends 64-byte UDP datagrams from a workload as fast as one thread can.
type flood struct {
	t    testing.TB
	sent atomic.Uint64
	stop chan struct{}
	done chan error
}

func (l *lab) startFlood(from, to string) *flood {
	l.t.Helper()
	ns, err := l.NetNS(from)
	if err != nil {
		l.t.Fatal(err)
	}
	defer ns.Close()
	var conn net.Conn
	if err := ns.Do(func() (err error) { conn, err = net.Dial("udp", to); return err }); err != nil {
		l.t.Fatal(err)
	}
	f := &flood{t: l.t, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		defer conn.Close()
		payload := make([]byte, 64)
		for {
			select {
			case <-f.stop:
				f.done <- nil
				return
			default:
			}
			if _, err := conn.Write(payload); err != nil {
				f.done <- err
				return
			}
			f.sent.Add(1)
		}
	}()
	return f
}

func (f *flood) end() error {
	close(f.stop)
	return testutil.Receive(f.t, "the flood's end", f.done)
}

// sink opens a UDP port in a workload, so that what comes is not answered by ICMP.
func (l *lab) sink(workload string, port int) {
	l.t.Helper()
	ns, err := l.NetNS(workload)
	if err != nil {
		l.t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Do(func() error {
		c, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err == nil {
			l.t.Cleanup(func() { c.Close() })
		}
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
}

// underFlood counts, at the sender's and the receiver's interface, the packets of
// a flood while something happens.
func (p *pair) underFlood(t *testing.T, during func()) (sent, received uint64) {
	t.Helper()
	p.reach(p.vmA, p.addrB) // neighbours are known on all the way
	tx, rx := p.interfaceCount(p.vmA, "eth0", "tx_packets"), p.interfaceCount(p.vmB, "eth0", "rx_packets")
	f := p.startFlood(p.vmA, p.addrB+":9999")
	// The flood is at its rate when it has sent some.
	testutil.Succeeds(t, "the flood to flow", func() error {
		if n := f.sent.Load(); n < 20000 {
			return fmt.Errorf("%d packets so far", n)
		}
		return nil
	})
	during()
	if err := f.end(); err != nil {
		t.Fatalf("the flood: %v", err)
	}
	sent = p.interfaceCount(p.vmA, "eth0", "tx_packets") - tx
	testutil.Succeeds(t, "the last packets to arrive", func() error {
		received = p.interfaceCount(p.vmB, "eth0", "rx_packets") - rx
		if received < sent {
			return fmt.Errorf("%d of %d", received, sent)
		}
		return nil
	})
	return sent, received
}

// steadyNeighbours keeps the workloads from asking by ARP in the middle of a flood, which would
// be counted at one end.
func (p *pair) steadyNeighbours() {
	p.t.Helper()
	for _, w := range []string{p.vmA, p.vmB} {
		p.mustRun(w, "sh", "-c", `ip neigh replace $(ip -4 route show default | cut -d' ' -f3) lladdr $(ip -4 neigh show | head -1 | cut -d' ' -f5 || true) dev eth0 nud permanent || true`)
	}
}

// TestNoPacketLost floods from site A to site B, both agents are killed and
// started again, upgraded with programs of the same and of another map layout, and
// the controllers are killed: not one packet is lost.
func TestNoPacketLost(t *testing.T) {
	p := newPair(t)
	p.sink(p.vmB, 9999)
	p.steadyNeighbours()
	restart := func(t *testing.T, server string, more ...string) {
		t.Helper()
		if err := p.Restart(t.Context(), server, more...); err != nil {
			t.Fatal(err)
		}
	}
	kill := func(t *testing.T, server string) {
		t.Helper()
		if err := p.Kill(server); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name   string
		during func(t *testing.T)
	}{
		{"control run", func(t *testing.T) {
			begin := p.interfaceCount(p.vmA, "eth0", "tx_packets")
			testutil.Eventually(t, "as many packets again", func() bool { return p.interfaceCount(p.vmA, "eth0", "tx_packets") >= begin+50000 })
		}},
		{"agents killed and restarted", func(t *testing.T) {
			for _, h := range []string{"a1", "b1"} {
				kill(t, h)
				restart(t, h)
				p.waitSynced(h)
			}
		}},
		{"agents restarted with another map layout", func(t *testing.T) {
			for _, h := range []string{"a1", "b1"} {
				restart(t, h, "--max-endpoints", "30000")
				p.waitSynced(h)
			}
		}},
		{"controllers killed", func(t *testing.T) {
			for _, s := range []string{"site-a", "site-b"} {
				kill(t, s)
				restart(t, s)
			}
			p.waitSynced("a1")
			p.waitSynced("b1")
		}},
	}
	for _, c := range cases {
		p.sub(c.name, func(t *testing.T) {
			sent, received := p.underFlood(t, func() { c.during(t) })
			t.Logf("%d sent, %d received", sent, received)
			if sent != received {
				t.Errorf("%d packets sent, %d received", sent, received)
			}
		})
	}
}

// waitSynced waits until a host's agent has applied all that its controller sent.
func (l *lab) waitSynced(host string) {
	l.t.Helper()
	testutil.Succeeds(l.t, host+" to be in sync", func() error {
		m, err := l.metrics(host)
		if err != nil {
			return err
		}
		if m["causeway_agent_connected"] != 1 {
			return fmt.Errorf("it is not connected")
		}
		if w, a := m["causeway_agent_wanted_revision"], m["causeway_agent_applied_revision"]; w != a || w == 0 {
			return fmt.Errorf("applied revision %v of %v", a, w)
		}
		return nil
	})
}

// TestControllerLost kills a controller for good: packets go on; changes apply
// when it is back.
func TestControllerLost(t *testing.T) {
	p := newPair(t)
	if err := p.Kill("site-a"); err != nil {
		t.Fatal(err)
	}
	p.mustPing(p.vmA, p.addrB)
	if err := p.Kill("a1"); err != nil {
		t.Fatal(err)
	}
	p.mustPing(p.vmA, p.addrB)
	// The agent comes back while the controller is away, and changes nothing.
	if err := p.Restart(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	p.mustPing(p.vmA, p.addrB)
	if err := p.Restart(t.Context(), "site-a"); err != nil {
		t.Fatal(err)
	}
	p.a.setRoutes()
	testutil.Succeeds(t, "the change to apply", func() error { return mustFail(p.ping(p.vmA, p.addrB, 1)) })
	p.a.setRoutes(p.b)
	testutil.Succeeds(t, "the change to apply", func() error {
		if p.ping(p.vmA, p.addrB, 1) != 1 {
			return fmt.Errorf("the ping is lost")
		}
		return nil
	})
}

// rebind is what a crash of the host leaves: no pins. Everything is built again.
func TestPinsGone(t *testing.T) {
	p := newPair(t)
	if err := p.Kill("a1"); err != nil {
		t.Fatal(err)
	}
	out := p.mustRun("a1", "sh", "-c", "rm -rf "+p.PinDir("a1")+"/* && ls "+p.PinDir("a1"))
	if strings.TrimSpace(out) != "" {
		t.Fatalf("pins left: %s", out)
	}
	testutil.Succeeds(t, "the programs to go with their pins", func() error { return mustFail(p.ping(p.vmA, p.addrB, 1)) })
	if err := p.Restart(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	p.waitSynced("a1")
	p.mustPing(p.vmA, p.addrB)
	p.mustPing(p.vmB, p.addrA)
}
