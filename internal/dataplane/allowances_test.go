package dataplane

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane/mutation"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testutil"
)

// allowanceLab is five networks, each with a router and five workloads that may write any address.
type allowanceLab struct {
	d     *Dataplane
	env   Env
	st    hoststate.State
	start time.Time
	errs  []error
}

const crowd = 5 // networks, and workloads of each

func allowanceMAC(kind, n, w int) model.MAC { return model.MAC{2, 0, byte(kind), 0, byte(n), byte(w)} }

func newAllowanceLab(t *testing.T) *allowanceLab {
	l := &allowanceLab{st: hoststate.NewState(), env: Env{Links: map[string]Link{}}}
	for n := 1; n <= crowd; n++ {
		key, gw := model.NetworkKey(n), allowanceMAC(1, n, 0)
		l.st.Networks[key] = hoststate.Network{MTU: 1000}
		l.st.Routers[model.RouterKey(n)] = hoststate.Router{}
		own := netip.AddrFrom4([4]byte{10, byte(n), 0, 1})
		l.st.FDB[hoststate.FDBKey{Network: key, MAC: gw}] = hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: model.RouterKey(n), Addr: own}
		l.st.Routes[hoststate.RouteKey{Router: model.RouterKey(n), Prefix: netip.PrefixFrom(own, 24).Masked()}] = hoststate.Route{Kind: hoststate.RouteConnected, Network: key, MAC: gw}
		l.st.Routes[hoststate.RouteKey{Router: model.RouterKey(n), Prefix: netip.PrefixFrom(own, 32)}] = hoststate.Route{Kind: hoststate.RouteLocal}
		for w := 1; w <= crowd; w++ {
			name := fmt.Sprintf("w%d-%d", n, w)
			run(t, "ip link add %s type veth peer name %s-", name, name)
			i, err := net.InterfaceByName(name)
			if err != nil {
				t.Fatal(err)
			}
			mac, port := allowanceMAC(0, n, w), model.PortKey(10*n+w)
			l.env.Links[name] = Link{Index: i.Index, MTU: 9000}
			l.st.Ports[port] = hoststate.Port{ID: model.PortID(name), Network: key, Interface: name, MAC: mac}
			l.st.FDB[hoststate.FDBKey{Network: key, MAC: mac}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: port}
			l.st.Neighbors[hoststate.NeighborKey{Network: key, IP: netip.AddrFrom4([4]byte{10, byte(n), 0, byte(10 + w)})}] = mac
		}
	}
	return l
}

// sends is how many of count frames of a workload have the verdict. Each comes from another address.
func (l *allowanceLab) sends(n, w, count int, dst model.MAC, to [4]byte, h packet.IPv4, body []byte, verdict uint8) (got int) {
	for i := range count {
		h.Src, h.Dst, h.TTL = netip.AddrFrom4([4]byte{10, byte(n), 1, byte(i)}), netip.AddrFrom4(to), 64
		f := packet.Ethernet{Dst: dst, Src: allowanceMAC(0, n, w), Type: packet.TypeIPv4}.Append(nil)
		f = append(h.Append(f, len(body)), body...)
		r, err := l.d.TestRun(&TestRun{Program: bpfProgFromWorkload, Ifindex: l.env.Links[fmt.Sprintf("w%d-%d", n, w)].Index, Data: f, Out: make([]byte, 4096)})
		if err != nil {
			l.errs = append(l.errs, err)
			return got
		}
		if r.Verdict == verdict {
			got++
		}
	}
	return got
}

// between notes what is not within a bound and what has come in since by rate a second.
func (l *allowanceLab) between(what string, got, want, rate int) {
	if most := want + rate*(1+int(time.Since(l.start).Seconds())); got < want || got > most {
		l.errs = append(l.errs, fmt.Errorf("%s: %d passed, want %d to %d", what, got, want, most))
	}
}

// check tries all that has an allowance, one sender's first, and returns what is not as it should be.
func (l *allowanceLab) check(cfg Config) (errs []error) {
	l.errs, l.start = nil, time.Now()
	var err error
	if l.d, err = Open(cfg); err != nil {
		return []error{err}
	}
	defer func() {
		if err := l.d.Remove(); err != nil {
			errs = append(errs, err)
		}
	}()
	if err := l.d.Sync(l.st, l.env); err != nil {
		return []error{err}
	}
	udp := make([]byte, 1200)
	junk := func(n, w, count int) int {
		return l.sends(n, w, count, allowanceMAC(1, n, 0), [4]byte{203, 0, 113, 9}, packet.IPv4{Protocol: packet.ProtoUDP}, udp[:8], verdictSlow)
	}
	large := func(n, w, count int, df bool) int {
		return l.sends(n, w, count, allowanceMAC(1, n, 0), [4]byte{10, byte(n), 0, 15}, packet.IPv4{Protocol: packet.ProtoUDP, DF: df}, udp, verdictSlow)
	}
	flood := func(n, w, count int) int {
		return l.sends(n, w, count, packet.Broadcast, [4]byte{255, 255, 255, 255}, packet.IPv4{Protocol: packet.ProtoUDP}, udp[:8], verdictFlood)
	}
	l.between("one sender's errors", junk(1, 1, 40), 5, 1)
	l.between("the same one's too big packets", large(1, 1, 20, true), 5, 1)
	l.between("fragments, of which two are a packet", large(1, 1, 300, false), fragmentBurst/2, 1)
	sum := 0
	for w := 2; w <= crowd; w++ {
		sum += junk(1, w, 40)
	}
	l.between("the errors of the others at its router", sum, 15, 4)
	l.between("errors at another router", junk(2, 1, 40), 5, 1)
	probe := packet.ICMP{Rest: packet.ProbeID << 16}.Append(nil, nil)
	l.sends(1, 1, 20, allowanceMAC(1, 1, 0), [4]byte{10, 1, 0, 1}, packet.IPv4{Protocol: packet.ProtoICMP}, probe, verdictSlow)
	if l.d.ProbesLimited(1) == 0 {
		l.errs = append(l.errs, fmt.Errorf("no answer to a probe was noted as refused"))
	}
	// A frame is four copies. The last one may owe three.
	all := 0
	for n := 1; n <= crowd; n++ {
		of := flood(n, 1, 10)
		if n == 1 {
			l.between("one sender's floods", of, 3, 1)
		}
		for w := 2; w <= crowd; w++ {
			of += flood(n, w, 10)
		}
		if n < crowd {
			l.between(fmt.Sprintf("floods of network %d", n), of, 10, 1)
		}
		all += of
	}
	l.between("floods of the host", all, 40, 4)
	return l.errs
}

var allowanceMutants = []struct{ name, from, to string }{
	{"a sender's", "if (!spent || !take(spent, &r->source, n))", "if (!spent)"},
	{"a router's", "if (!b || !take(&b->spent[purpose], &r->owner, n))", "if (!b)"},
	{"a network's", "if (!spent || !take(spent, &r->owner, n))", "if (!spent)"},
	{"the host's", "return spent && take(spent, &r->host, n);", "return spent;"},
	{"purposes apart", "(__u64)purpose << 32 | owner", "owner"},
	{"owners apart", "(__u64)purpose << 32 | owner", "(__u64)purpose << 32"},
	{"senders apart", ", source) >> (64", ", 0) >> (64"},
	{"who a workload is", "if (bpf_map_lookup_elem(&ports, &ifindex))", "if (0)"},
	{"rows of routers", "if (purpose < ROUTER_PURPOSES)", "if (0)"},
	{"how many tokens", "next += step * n;", "next += step;"},
	{"what is saved up", "if (now > full && next < now - full)", "if (0)"},
	{"what is used up", "if (next + step > now)", "if (0)"},
}

// TestAllowances: each allowance bounds what it is for, and is taken from nobody else's; and a
// program without one of the checks is seen to be.
func TestAllowances(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "clang-19")
	if !testutil.InNetNS(t) {
		return
	}
	l := newAllowanceLab(t)
	cfg := Config{Record: true, ICMPRate: 1, ICMPBurst: 5, ProbeRate: 2, FragmentRate: 1, FloodRate: 1, FloodBurst: 10}
	cfg.PinDir = labPins(t)
	for _, err := range l.check(cfg) {
		t.Error(err)
	}
	for _, m := range allowanceMutants {
		object, err := mutation.Compile(filepath.Join(t.TempDir(), "bpf"), "bpf", "fair.h", m.from, m.to)
		if err != nil {
			t.Fatal(err)
		}
		c := cfg
		c.PinDir, c.Object = labPins(t), bytes.NewReader(object)
		errs := l.check(c)
		if len(errs) == 0 {
			t.Errorf("without %s: not caught", m.name)
			continue
		}
		t.Logf("without %s: %s", m.name, strings.SplitN(errs[0].Error(), "\n", 2)[0])
	}
}
