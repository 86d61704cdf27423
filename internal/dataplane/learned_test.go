package dataplane

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// learning is a dataplane with two ports on a network that share addresses, and
// packets that never leave it.
type learning struct {
	t    *testing.T
	dp   *Dataplane
	cfg  Config
	st   hoststate.State
	env  Env
	macs map[model.PortKey]model.MAC
}

func newLearning(t *testing.T, cfg Config) *learning {
	t.Helper()
	run(t, "ip link add t1 type veth peer name t2")
	cfg.PinDir, cfg.Record = labPins(t), true
	l := &learning{t: t, cfg: cfg, st: hoststate.NewState(), env: Env{Links: map[string]Link{}}, macs: map[model.PortKey]model.MAC{}}
	l.st.Networks[1] = hoststate.Network{ID: "n", MTU: 1450}
	for k := model.PortKey(1); k <= 2; k++ {
		name := fmt.Sprintf("t%d", k)
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		l.env.Links[name] = Link{Index: i.Index}
		l.macs[k] = model.MAC{2, 0, 0, 0, 0, byte(k)}
		l.st.Ports[k] = hoststate.Port{
			ID: model.PortID(name), Network: 1, Interface: name, MAC: l.macs[k], PortSecurity: true,
			Pairs: []hoststate.Pair{{MAC: l.macs[k], Prefix: netip.MustParsePrefix("10.8.0.0/16")}},
		}
		l.st.FDB[hoststate.FDBKey{Network: 1, MAC: l.macs[k]}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: k}
	}
	l.open(layoutVersion)
	t.Cleanup(func() {
		if err := l.dp.Remove(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *learning) open(version int) {
	l.t.Helper()
	if l.dp != nil {
		if err := l.dp.Close(); err != nil {
			l.t.Fatal(err)
		}
	}
	var err error
	if l.dp, err = open(l.cfg, version); err != nil {
		l.t.Fatal(err)
	}
	l.sync()
}

func (l *learning) sync() {
	l.t.Helper()
	if err := l.dp.Sync(l.st, l.env); err != nil {
		l.t.Fatal(err)
	}
}

// speak has a port send from an address: gratuitous ARP, or an IPv4 packet.
func (l *learning) speak(k model.PortKey, ip string, byARP bool) {
	l.t.Helper()
	src := netip.MustParseAddr(ip)
	var f []byte
	if byARP {
		f = packet.Ethernet{Dst: packet.Broadcast, Src: l.macs[k], Type: packet.TypeARP}.Append(nil)
		f = append(f, packet.ARP{Op: packet.ARPRequest, SenderMAC: l.macs[k], SenderIP: src, TargetIP: src}.Append(nil)...)
	} else {
		f = packet.Ethernet{Dst: l.macs[3-k], Src: l.macs[k], Type: packet.TypeIPv4}.Append(nil)
		f = append(f, packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: src, Dst: netip.MustParseAddr("10.0.0.1")}.Append(nil, 8)...)
		f = append(f, make([]byte, 8)...)
	}
	r, err := l.dp.TestRun(&TestRun{Program: bpfProgFromWorkload, Ifindex: l.env.Links[l.st.Ports[k].Interface].Index, Data: f, Out: make([]byte, 2000)})
	if err != nil {
		l.t.Fatal(err)
	}
	if r.Reason != reason.None {
		l.t.Fatalf("port %d speaks as %s: %s", k, ip, r.Reason)
	}
}

// holders are who holds what: "10.8.0.1:1" is address 10.8.0.1 of port 1.
func (l *learning) holders() []string {
	l.t.Helper()
	all, err := l.dp.Learned()
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, a := range all {
		out = append(out, fmt.Sprintf("%s:%d", a.Addr, a.Port))
	}
	slices.Sort(out)
	return out
}

// hold wants ports 1 and 2 to hold so many rows.
func (l *learning) hold(what string, one, two int) {
	l.t.Helper()
	n := map[byte]int{}
	for _, h := range l.holders() {
		n[h[len(h)-1]]++
	}
	if n['1'] != one || n['2'] != two {
		l.t.Errorf("%s: ports 1 and 2 hold %d and %d, want %d and %d", what, n['1'], n['2'], one, two)
	}
}

func (l *learning) want(what string, holders ...string) {
	l.t.Helper()
	if got := l.holders(); !slices.Equal(got, holders) {
		l.t.Errorf("%s: %v, want %v", what, got, holders)
	}
}

// TestLearnedHolders: who moves an address, and what ends it.
func TestLearnedHolders(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	l := newLearning(t, Config{LearnHold: time.Hour})
	l.speak(1, "10.8.0.1", false)
	l.want("a packet is enough", "10.8.0.1:1")
	l.speak(2, "10.8.0.1", false)
	l.want("a packet takes it from nobody", "10.8.0.1:1")
	l.speak(2, "10.8.0.1", true)
	l.want("ARP does", "10.8.0.1:2")
	l.speak(1, "10.8.0.1", false)
	l.want("what was still under way does not take it back", "10.8.0.1:2")

	// Another process, with the same maps and with others.
	l.open(layoutVersion)
	l.want("after a restart", "10.8.0.1:2")
	l.open(layoutVersion + 1)
	l.want("after an upgrade", "10.8.0.1:2")

	// Its port leaves it.
	p := l.st.Ports[2]
	p.Pairs = []hoststate.Pair{{MAC: p.MAC, Prefix: netip.MustParsePrefix("10.8.0.2/32")}}
	next := l.st.Clone()
	next.Ports[2] = p
	if err := l.dp.Update(hoststate.Diff(l.st, next), next, l.env); err != nil {
		t.Fatal(err)
	}
	l.st = next
	l.want("without the pair")
	l.speak(1, "10.8.0.1", false)
	l.speak(2, "10.8.0.2", true)
	l.want("others", "10.8.0.1:1", "10.8.0.2:2")
	// An address that the tables give to somebody.
	l.st.Neighbors[hoststate.NeighborKey{Network: 1, IP: netip.MustParseAddr("10.8.0.3")}] = l.macs[2]
	l.sync()
	l.speak(1, "10.8.0.3", true)
	l.want("a port's own address is not learned", "10.8.0.1:1", "10.8.0.2:2")
	delete(l.st.Ports, 1)
	l.sync()
	l.want("without the port", "10.8.0.2:2")
}

// TestLearnedTimes: the holder who is silent loses to whoever speaks, and is forgotten.
func TestLearnedTimes(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	l := newLearning(t, Config{LearnHold: time.Nanosecond, LearnAge: 300 * time.Millisecond})
	l.speak(1, "10.8.0.1", true)
	testutil.Eventually(t, "another to be heard", func() bool {
		l.speak(2, "10.8.0.1", false)
		return !slices.Equal(l.holders(), []string{"10.8.0.1:1"})
	})
	l.want("a packet takes it from one who is silent", "10.8.0.1:2")
	testutil.Eventually(t, "the one who is silent to be forgotten", func() bool { return len(l.holders()) == 0 })
	if err := l.dp.Forget(l.st, l.env); err != nil {
		t.Fatal(err)
	}
	if l.dp.learnedRows != 0 {
		t.Errorf("%d rows are left", l.dp.learnedRows)
	}
}

// TestLearnedBound: a wide pair fills no more than its port's share, which is given back
// exactly as rows go and move.
func TestLearnedBound(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	l := newLearning(t, Config{LearnHold: time.Hour})
	addr := func(i int) string { return fmt.Sprintf("10.8.%d.%d", i/256, i%256) }
	fill := func(k model.PortKey, from, to int) {
		for i := from; i < to; i++ {
			l.speak(k, addr(i), true)
		}
	}
	fill(1, 0, 1000)
	l.hold("one port fills its share", LearnPerPort, 0)
	fill(2, 0, 100)
	l.hold("the other takes some over", LearnPerPort-100, 100)
	fill(1, 1000, 2000)
	l.hold("and the first has room again", LearnPerPort, 100)
	fill(2, 1000, 2000)
	l.hold("the other takes what it has room for", 156, LearnPerPort)
	// Rows are removed, and come anew.
	for round := range 3 {
		one, narrow := 100, 0
		if round == 0 {
			one, narrow = 156, 64
		}
		pairs := l.st.Ports[2].Pairs
		p := l.st.Ports[2]
		p.Pairs = []hoststate.Pair{{MAC: p.MAC, Prefix: netip.MustParsePrefix("10.8.0.0/26")}}
		l.st.Ports[2] = p
		l.sync()
		l.hold("a narrower pair", one, narrow)
		p.Pairs = pairs
		l.st.Ports[2] = p
		l.open(layoutVersion)
		fill(2, 3000, 4000)
		l.hold("the share is whole again", one, LearnPerPort)
		p.Pairs = nil
		l.st.Ports[2] = p
		l.sync()
		l.hold("no pair", one, 0)
		p.Pairs = pairs
		l.st.Ports[2] = p
		l.sync()
		fill(2, 0, 1000)
		l.hold("whole once more", 0, LearnPerPort)
		fill(1, 0, 100)
		l.hold("as at first", 100, LearnPerPort-100)
		fill(2, 1000, 2000)
		l.hold("as at first", 100, LearnPerPort)
	}
	drops, err := l.dp.Drops()
	if err != nil || drops[reason.LearnLimited] == 0 {
		t.Errorf("%d were counted as limited, %v", drops[reason.LearnLimited], err)
	}
}

// TestLearnedCarried: what was learned outlives a new layout, also from a release in which the map
// had another name.
func TestLearnedCarried(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	l := newLearning(t, Config{LearnHold: time.Hour})
	l.speak(1, "10.8.0.1", true)
	l.speak(2, "10.8.0.2", false)
	for i, name := range []string{bpfMapLearned, formerLearned} {
		used, _, err := mapDirs(l.cfg.PinDir)
		if err != nil || len(used) != 1 {
			t.Fatalf("maps in %v, %v", used, err)
		}
		if err := os.Rename(filepath.Join(used[0], bpfMapLearned), filepath.Join(used[0], name)); err != nil {
			t.Fatal(err)
		}
		l.open(layoutVersion + i + 1)
		l.want("from "+name, "10.8.0.1:1", "10.8.0.2:2")
	}
}

// TestLearnedLevel: where the map is nearly full, who holds most of it gives way to who holds little, and
// comes back when there is room.
func TestLearnedLevel(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	learnedLevel(t, nil)
}

func learnedLevel(t *testing.T, object io.ReaderAt) {
	l := newLearning(t, Config{LearnHold: time.Hour, Limits: Limits{Learned: 300}, Object: object})
	fill := func(k model.PortKey) {
		for i := range LearnPerPort + 44 {
			l.speak(k, fmt.Sprintf("10.8.%d.%d", int(k)*8+i/256, i%256), true)
		}
	}
	forget := func() {
		if err := l.dp.Forget(l.st, l.env); err != nil {
			t.Fatal(err)
		}
	}
	fill(1)
	l.hold("alone", LearnPerPort, 0)
	forget()
	l.hold("three quarters", 225, 0)
	fill(1)
	l.hold("no more than that", 225, 0)
	fill(2)
	l.hold("what is kept for who comes", 225, 75)
	forget()
	l.hold("who holds little keeps it", 150, 75)
	fill(1)
	l.hold("and the other stays", 150, 75)
	l.open(layoutVersion)
	fill(1)
	l.hold("after a restart too", 150, 75)
	fill(2)
	l.hold("each the same", 150, 150)
	forget()
	l.hold("each the same, with room to spare", 112, 112)
	p := l.st.Ports[1]
	p.Pairs = nil
	l.st.Ports[1] = p
	l.sync()
	fill(2)
	l.hold("alone again", 0, LearnPerPort)
}

// TestLevels: what a level leaves to whom.
func TestLevels(t *testing.T) {
	vlan := uint32(learnerVLAN | 7)
	rows := func(n int) []heldRow {
		r := make([]heldRow, n)
		for i := range r {
			r[i] = heldRow{bpfLearnedKey{Net: uint32(i)}, uint64(n - i)}
		}
		return r
	}
	for _, c := range []struct {
		name        string
		held        heldRows
		room, level int
		over        int
	}{
		{"all fit", heldRows{1: rows(256), 2: rows(256)}, 512, 256, 0},
		{"one gives way", heldRows{1: rows(256), 2: rows(20)}, 200, 180, 76},
		{"a network's VLANs are as many ports", heldRows{vlan: rows(4096), 1: rows(256)}, 1700, 100, 2496 + 156},
		{"never none", heldRows{1: rows(2), 2: rows(2), 3: rows(2)}, 2, 1, 3},
	} {
		if got := c.held.highest(LearnPerPort, c.room); got != c.level {
			t.Errorf("%s: level %d, want %d", c.name, got, c.level)
		}
		over := c.held.above(c.level)
		if len(over) != c.over {
			t.Errorf("%s: %d rows too many, want %d", c.name, len(over), c.over)
		}
	}
	over := heldRows{1: rows(3)}.above(2)
	if len(over) != 1 || over[0].Net != 2 {
		t.Errorf("not the one that was silent longest goes: %v", over)
	}
}

// TestLearnedOnVLAN: what is on the VLANs of a network fills no more than its share, takes
// nothing that a port holds, and goes with the VLAN.
func TestLearnedOnVLAN(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	l := newLearning(t, Config{LearnHold: time.Hour})
	key := hoststate.VLANKey{Interface: "lo", ID: 42}
	l.env.Trunks = map[string]Link{"lo": {Index: 1}}
	l.st.VLANs[key] = hoststate.VLAN{Network: 1, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/16")}}
	l.sync()
	enter := func(mac model.MAC, ip string) reason.Reason {
		t.Helper()
		src := netip.MustParseAddr(ip)
		f := packet.Ethernet{Dst: l.macs[1], Src: mac, Type: packet.TypeVLAN}.Append(nil)
		f = append(f, 0, 42, 8, 0)
		f = append(f, packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: src, Dst: netip.MustParseAddr("10.0.0.1")}.Append(nil, 8)...)
		r, err := l.dp.TestRun(&TestRun{Program: bpfProgFromUnderlay, Ifindex: 1, Data: append(f, make([]byte, 8)...), Out: make([]byte, 2000)})
		if err != nil {
			t.Fatal(err)
		}
		return r.Reason
	}
	l.speak(1, "10.8.0.1", true)
	if why := enter(model.MAC{0x52, 0x54, 0, 0, 0, 1}, "10.8.0.1"); why != reason.SpoofIP {
		t.Errorf("an address that a port holds: %s", why)
	}
	if why := enter(l.macs[2], "10.8.0.2"); why != reason.SpoofMAC {
		t.Errorf("a port's MAC: %s", why)
	}
	for i := range LearnPerNetwork {
		n := []byte{byte(i >> 8), byte(i)}
		if why := enter(model.MAC{0x52, 0x54, 1, 0, n[0], n[1]}, fmt.Sprintf("10.8.%d.%d", 16+n[0], n[1])); why != reason.None {
			t.Fatalf("station %d: %s", i, why)
		}
	}
	if n := len(l.holders()); n != LearnPerNetwork+1 {
		t.Errorf("%d things are known, want %d of the VLAN and one of a port", n, LearnPerNetwork)
	}
	drops, err := l.dp.Drops()
	if err != nil || drops[reason.LearnLimited] < LearnPerNetwork {
		t.Errorf("%d were counted as limited, %v", drops[reason.LearnLimited], err)
	}
	c, err := l.dp.Counters()
	if err != nil || c.VLANs[key].RxPackets != LearnPerNetwork+2 {
		t.Errorf("counted %+v, %v", c.VLANs[key], err)
	}
	// A port takes over what a VLAN held.
	l.speak(2, "10.8.16.0", true)
	next := l.st.Clone()
	delete(next.VLANs, key)
	if err := l.dp.Update(hoststate.Diff(l.st, next), next, l.env); err != nil {
		t.Fatal(err)
	}
	l.want("without the VLAN", "10.8.0.1:1", "10.8.16.0:2")
}
