package dataplane

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// Port 7 of newLearningAfar is on host b.
var (
	farMAC  = model.MAC{2, 0, 0, 0, 0, 7}
	vrrpMAC = model.MAC{0, 0, 0x5e, 0, 1, 7}
)

// newLearningAfar is a host of a site whose other host has a port with the same pairs as the two here.
func newLearningAfar(t *testing.T, cfg Config) *learning {
	t.Helper()
	run(t, "ip link add f1 type veth peer name f2")
	i, err := net.InterfaceByName("f1")
	if err != nil {
		t.Fatal(err)
	}
	l := newLearning(t, cfg)
	l.env.Fabric = hostenv.Fabric{Addr: labHost(0), Port: labFabricPort, Index: i.Index}
	for i, h := range []model.HostName{"a", "b", "c"} {
		l.st.Hosts[h] = hoststate.Host{Addr: labHost(i), Port: labFabricPort}
	}
	l.st.FDB[hoststate.FDBKey{Network: 1, MAC: farMAC}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 7, Host: "b"}
	l.pairAfar(farMAC, "10.8.0.0/16", true)
	l.pairAfar(vrrpMAC, "10.8.0.0/16", true)
	l.st.HostPairs[hoststate.HostPairKey{Network: 1, Host: "b", MAC: vrrpMAC}] = hoststate.HostPair{Port: 7, MAC: farMAC}
	l.sync()
	return l
}

func (l *learning) pairAfar(mac model.MAC, prefix string, yes bool) {
	k := hoststate.HostPairKey{Network: 1, Host: "b", MAC: mac, Prefix: netip.MustParsePrefix(prefix)}
	if delete(l.st.HostPairs, k); yes {
		l.st.HostPairs[k] = hoststate.HostPair{Port: 7, MAC: farMAC}
	}
}

// announce has a host say by gratuitous ARP that a MAC of it has an address.
func (l *learning) announce(host int, mac model.MAC, ip string) reason.Reason {
	l.t.Helper()
	a := netip.MustParseAddr(ip)
	f := packet.Ethernet{Dst: packet.Broadcast, Src: mac, Type: packet.TypeARP}.Append(nil)
	f = packet.ARP{Op: packet.ARPRequest, SenderMAC: mac, SenderIP: a, TargetIP: a}.Append(f)
	r, err := l.dp.TestRun(&TestRun{
		Program: bpfProgFromVxlan, Ifindex: l.env.Fabric.Index, Data: f, Mark: DefaultMark, Out: make([]byte, 2000),
		Key: &Tunnel{Local: labHost(0), Remote: labHost(host), VNI: 1},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return r.Reason
}

// update has the maps follow from what st was.
func (l *learning) update(was hoststate.State) {
	l.t.Helper()
	if err := l.dp.Update(hoststate.Diff(was, l.st), l.st, l.env); err != nil {
		l.t.Fatal(err)
	}
}

func (l *learning) wantReason(what string, got, want reason.Reason) {
	l.t.Helper()
	if got != want {
		l.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// heldBy is how many rows a port holds.
func (l *learning) heldBy(port int) (n int) {
	for _, h := range l.holders() {
		if strings.HasSuffix(h, fmt.Sprint(":", port)) {
			n++
		}
	}
	return n
}

// TestLearnedAfar: who moves an address between hosts, and what ends it, is as on one host; and only the host whose port
// has the pair is believed.
func TestLearnedAfar(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	l := newLearningAfar(t, Config{LearnHold: time.Hour})
	l.speak(1, "10.8.0.1", false)
	l.want("a port here", "10.8.0.1:1")
	l.wantReason("another host says that it has it", l.announce(1, farMAC, "10.8.0.1"), reason.None)
	l.want("the other host", "10.8.0.1:7")
	l.speak(2, "10.8.0.1", false)
	l.want("a packet does not take it back", "10.8.0.1:7")
	l.speak(2, "10.8.0.1", true)
	l.want("ARP does", "10.8.0.1:2")
	l.wantReason("a host without such a MAC", l.announce(2, farMAC, "10.8.0.1"), reason.FabricSourceMAC)
	l.wantReason("a host without such a pair of that MAC", l.announce(2, vrrpMAC, "10.8.0.1"), reason.FabricSourceMAC)
	l.wantReason("an address that no pair allows", l.announce(1, farMAC, "10.9.0.1"), reason.None) // a port without port security may
	l.want("nobody else", "10.8.0.1:2")
	l.wantReason("VRRP's MAC", l.announce(1, vrrpMAC, "10.8.0.1"), reason.None)
	l.want("address and MAC", "10.8.0.1:7", "invalid IP:7")

	was := l.st.Clone()
	l.pairAfar(farMAC, "10.8.0.0/16", false)
	l.pairAfar(farMAC, "10.8.0.2/32", true)
	l.update(was)
	l.wantReason("beside the pair that is left", l.announce(1, farMAC, "10.8.0.1"), reason.FabricSourceIP)
	l.want("VRRP's pair is another", "10.8.0.1:7", "invalid IP:7")
	was = l.st.Clone()
	l.pairAfar(vrrpMAC, "10.8.0.0/16", false)
	delete(l.st.HostPairs, hoststate.HostPairKey{Network: 1, Host: "b", MAC: vrrpMAC})
	l.update(was)
	l.want("without the pair")
	l.wantReason("the pair that is left", l.announce(1, farMAC, "10.8.0.2"), reason.None)
	l.want("an address", "10.8.0.2:7")

	// The port comes here, with its pair.
	was = l.st.Clone()
	l.pairAfar(farMAC, "10.8.0.2/32", false)
	p := l.st.Ports[2]
	p.MAC, p.Pairs = farMAC, []hoststate.Pair{{MAC: farMAC, Prefix: netip.MustParsePrefix("10.8.0.2/32")}}
	delete(l.st.Ports, 2)
	l.st.Ports[7] = p
	l.st.FDB[hoststate.FDBKey{Network: 1, MAC: farMAC}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 7, Host: "a"}
	l.update(was)
	l.want("the port is here now", "10.8.0.2:7")
	l.wantReason("from where it was", l.announce(1, farMAC, "10.8.0.2"), reason.FabricSourceMAC)
}

// TestLearnedAfarBound: a port of another host fills no more than its share here, which is given back exactly as rows go.
func TestLearnedAfarBound(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	l := newLearningAfar(t, Config{LearnHold: time.Hour})
	drops := func() uint64 {
		d, err := l.dp.Drops()
		if err != nil {
			t.Fatal(err)
		}
		return d[reason.LearnLimited]
	}
	fill := func() {
		t.Helper()
		for i := range LearnPerPort + 20 {
			if why := l.announce(1, farMAC, fmt.Sprintf("10.8.%d.%d", i/256, i%256)); why != reason.None {
				t.Fatal(why)
			}
		}
	}
	before := drops()
	fill()
	if n := l.heldBy(7); n != LearnPerPort || drops()-before != 20 {
		t.Errorf("the port holds %d rows, and %d were refused: want %d and 20", n, drops()-before, LearnPerPort)
	}
	for range 2 {
		was := l.st.Clone()
		l.pairAfar(farMAC, "10.8.0.0/16", false)
		l.pairAfar(farMAC, "10.8.0.0/25", true)
		l.update(was)
		if n := l.heldBy(7); n != 128 {
			t.Errorf("with a narrower pair the port holds %d rows, want 128", n)
		}
		was = l.st.Clone()
		l.pairAfar(farMAC, "10.8.0.0/25", false)
		l.pairAfar(farMAC, "10.8.0.0/16", true)
		l.update(was)
		fill()
		if n := l.heldBy(7); n != LearnPerPort {
			t.Errorf("with the wide one again it holds %d rows, want %d", n, LearnPerPort)
		}
	}
	l.open(layoutVersion)
	fill()
	if n := l.heldBy(7); n != LearnPerPort {
		t.Errorf("after a restart it holds %d rows, want %d", n, LearnPerPort)
	}
}

// TestPairsThatEndWhatWasLearned: what was learned is gone through where a pair of another host's port by which it may have been
// learned goes or changes, and for nothing else.
func TestPairsThatEndWhatWasLearned(t *testing.T) {
	secured := hoststate.HostPairKey{Network: 1, Host: "b", MAC: vrrpMAC, Prefix: netip.MustParsePrefix("10.8.0.0/16")}
	open := hoststate.HostPairKey{Network: 1, Host: "b", MAC: farMAC, Prefix: netip.MustParsePrefix("0.0.0.0/0")}
	st := hoststate.NewState()
	st.Hosts["a"], st.Hosts["b"] = hoststate.Host{Addr: fabricAddr(0), Port: 4798}, hoststate.Host{Addr: fabricAddr(1), Port: 4798}
	st.FDB[hoststate.FDBKey{Network: 1, MAC: farMAC}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 7, Host: "b"}
	m := newInMemory(Limits{}.WithDefaults(), Env{Fabric: hostenv.Fabric{Addr: fabricAddr(0), Port: 4798, Index: 60}})
	m.sync(t, st)
	for _, c := range []struct {
		what string
		set  func()
		want bool
	}{
		{"pairs come", func() {
			st.HostPairs[secured], st.HostPairs[open] = hoststate.HostPair{Port: 7, MAC: farMAC}, hoststate.HostPair{MAC: farMAC}
		}, false},
		{"their host's MTU changes", func() { st.Hosts["b"] = hoststate.Host{Addr: fabricAddr(1), Port: 4798, MTU: 9000} }, false},
		{"a port without port security goes", func() { delete(st.HostPairs, open) }, false},
		{"the port has another MAC", func() { st.HostPairs[secured] = hoststate.HostPair{Port: 7, MAC: vmMAC(1)} }, true},
		{"the host goes", func() { delete(st.Hosts, "b") }, true},
		{"it comes back", func() { st.Hosts["b"] = hoststate.Host{Addr: fabricAddr(1), Port: 4798} }, false},
		{"the pair is another port's", func() { st.HostPairs[secured] = hoststate.HostPair{Port: 8, MAC: vmMAC(1)} }, true},
		{"the pair goes", func() { delete(st.HostPairs, secured) }, true},
	} {
		was := st.Clone()
		c.set()
		d := hoststate.Diff(was, st)
		tr, x := m.tr(st), m.index.touched(d)
		m.index.allowed.follow(tr, x, d)
		m.write(t, m.t.delta(tr, m.index, x, d))
		if got := m.index.note(tr, x, d); got != c.want {
			t.Errorf("%s: gone through %v, want %v", c.what, got, c.want)
		}
	}
	if len(m.index.onFabric.fdb[""]) > 0 {
		t.Error("entries depend on a host without a name")
	}
}

// TestRaiseWaitingPairs: a row of host_pairs that waits for room hears as well of what was taken from its port.
func TestRaiseWaitingPairs(t *testing.T) {
	k := hoststate.HostPairKey{Network: 1, Host: "b", MAC: farMAC, Prefix: netip.MustParsePrefix("10.8.0.0/16")}
	st := hoststate.NewState()
	st.Hosts["a"], st.Hosts["b"] = hoststate.Host{Addr: fabricAddr(0), Port: 4798}, hoststate.Host{Addr: fabricAddr(1), Port: 4798}
	st.HostPairs[k] = hoststate.HostPair{Port: 7, MAC: farMAC}
	d := &Dataplane{tables: newTables(nil), forgotten: map[model.PortKey]uint32{7: 3}}
	tr := wholeTranslator(st, Env{Fabric: hostenv.Fabric{Addr: fabricAddr(0), Port: 4798, Index: 60}}, newCounterIndex(100), d.forgotten)
	key, row, ok := tr.hostPair(k)
	if !ok {
		t.Fatal("no row")
	}
	stale := row
	stale.LearnLimit = LearnPerPort
	d.tables.hostPairs.waiting[key] = stale
	if err := d.raiseAfar(tr, map[model.PortKey]bool{7: true}); err != nil {
		t.Fatal(err)
	}
	if got := d.tables.hostPairs.waiting[key]; got != row || len(d.tables.hostPairs.have) > 0 {
		t.Errorf("the row that waits is %+v, want %+v", got, row)
	}
}
