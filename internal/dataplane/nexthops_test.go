package dataplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/dataplane/mutation"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// hopLab is the host of speedState with more remote VTEPs, each behind two gateway devices: one's routes lead
// to the VTEP itself, the other's by one of two routers.
type hopLab struct {
	*flowLab
	away [][]byte // a packet of port 1 into each tunnel
	hops [][]model.MAC
}

const hopVTEPs = 60

func newHopLab(t *testing.T, cfg Config) *hopLab {
	t.Helper()
	const device, router1, router2 = "h", 251, 252
	mac := func(kind, b byte) model.MAC { return model.MAC{2, 0, 0, 0, kind, b} }
	st, env, ways := speedState(t)
	if err := os.WriteFile("/proc/sys/net/ipv4/fib_multipath_hash_policy", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	neighbor := func(b byte) string {
		return fmt.Sprintf("neigh replace 203.0.113.%d lladdr %s dev up0\n", b, mac(9, b))
	}
	batch := neighbor(router1) + neighbor(router2) + "route add default table 100 nexthop via 203.0.113.251 dev up0 nexthop via 203.0.113.252 dev up0\n"
	l := &hopLab{flowLab: &flowLab{st: st, env: env, lo: env.Links["lo"].Index}}
	local := netip.MustParseAddr("203.0.113.1")
	st.Gateways[device] = hoststate.Gateway{TunnelIP: local}
	env.Tables = map[model.GatewayDeviceID]uint32{device: 100}
	for i := range byte(hopVTEPs) {
		batch += neighbor(100 + i)
		e := hoststate.FDBEntry{Kind: hoststate.FDBRemote, Addr: netip.AddrFrom4([4]byte{203, 0, 113, 100 + i}), TunnelIP: local, VNI: 6000, Gateway: "g"}
		st.FDB[hoststate.FDBKey{Network: 1, MAC: mac(10, i)}] = e
		e.Gateway = device
		st.FDB[hoststate.FDBKey{Network: 1, MAC: mac(11, i)}] = e
		for _, kind := range []byte{10, 11} {
			to, hops := mac(kind, i), []model.MAC{mac(9, 100+i)}
			if kind == 11 {
				hops = []model.MAC{mac(9, router1), mac(9, router2)}
			}
			data := append([]byte(nil), ways[0].data...)
			copy(data, to[:])
			l.away, l.hops = append(l.away, data), append(l.hops, hops)
		}
	}
	run(t, "ip -batch - <<'END'\n%sEND", batch)
	l.env = env
	cfg.PinDir = labPins(t)
	l.open(t, cfg)
	if err := l.d.Sync(st, env); err != nil {
		t.Fatal(err)
	}
	return l
}

// send sends a packet of port 1 and returns it as it leaves.
func (l *hopLab) send(t *testing.T, data []byte) []byte {
	t.Helper()
	ctx := skbContext{Ifindex: uint32(l.lo)}
	opts := ebpf.RunOptions{Data: data, DataOut: make([]byte, 2048), Context: &ctx}
	if did, err := l.d.programs[bpfProgFromWorkload].Run(&opts); err != nil || did != 7 { // TCX_REDIRECT
		t.Fatalf("returns %d: %v", int32(did), err)
	}
	return opts.DataOut
}

// wrongHop sends packets of many flows into all tunnels, and returns an error where one goes to a next hop that is
// not its tunnel's.
func (l *hopLab) wrongHop(t *testing.T) error {
	t.Helper()
	const flows = 10 // of each tunnel
	data := make([][]byte, 0, len(l.away)*flows)
	hops := make([][]model.MAC, 0, len(l.away)*flows)
	for i, d := range l.away {
		for range flows {
			d = append([]byte(nil), d...)
			binary.BigEndian.PutUint32(d[packet.EthernetLen+packet.IPv4Len:], rand.Uint32())
			data, hops = append(data, d), append(hops, l.hops[i])
		}
	}
	took := make([]model.MAC, len(data)) // by flow
	all := map[model.MAC]bool{}
	for range 6 {
		for _, i := range rand.Perm(len(data)) {
			for range 3 {
				out := l.send(t, data[i])
				to, hop := netip.AddrFrom4([4]byte(out[30:34])), model.MAC(out[:6])
				switch {
				case hop == model.MAC{}: // the kernel's neighbour table is asked
				case !slices.Contains(hops[i], hop):
					return fmt.Errorf("to %s: by %s, want one of %v", to, hop, hops[i])
				case took[i] != model.MAC{} && took[i] != hop:
					return fmt.Errorf("packets of one flow to %s go by %s and %s", to, took[i], hop)
				default:
					took[i], all[hop] = hop, true
				}
			}
		}
	}
	if len(all) != hopVTEPs+2 {
		return fmt.Errorf("%d next hops were taken, want the %d VTEPs and two routers", len(all), hopVTEPs)
	}
	return nil
}

// TestNextHopsShared: flows share what the kernel said of a next hop, with those alone whose tunnels have the same route, and
// so that equal routes share the flows.
func TestNextHopsShared(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "clang-19")
	if !testutil.InNetNS(t) {
		return
	}
	stayOnOneProcessor(t)
	l := newHopLab(t, Config{HashKey: 1})
	if err := l.wrongHop(t); err != nil {
		t.Error(err)
	}
	for _, m := range []struct{ what, from, to string }{
		{"a row of another VTEP", "addr_to_v4(&n->remote) == o->remote &&", ""},
		{"a row of another table", "n->table == o->table && addr_to_v4(&n->remote) == o->remote &&", "addr_to_v4(&n->remote) == o->remote &&"},
		{"one row for all ports", "NEXTHOP_CLASSES + class_of(o->port); /* 6 bits and 4 */", "NEXTHOP_CLASSES;"},
	} {
		object, err := mutation.Compile(filepath.Join(t.TempDir(), "mutant"), "bpf", "vtep.h", m.from, m.to)
		if err != nil {
			t.Fatal(err)
		}
		d := l.d
		l.open(t, Config{PinDir: labPins(t), HashKey: 1, Object: bytes.NewReader(object)})
		if err := l.d.Sync(l.st, l.env); err != nil {
			t.Fatal(err)
		}
		if err := l.wrongHop(t); err == nil {
			t.Errorf("%s is not seen", m.what)
		} else {
			t.Logf("%s: %v", m.what, err)
		}
		if err := l.d.Remove(); err != nil {
			t.Error(err)
		}
		l.d = d
	}
}

// TestNextHopOfKnownFlow: a flow that the programs remember follows the kernel's neighbour table and routes, by the next tick of the
// clock.
func TestNextHopOfKnownFlow(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip")
	if !testutil.InNetNS(t) {
		return
	}
	stayOnOneProcessor(t)
	l := newHopLab(t, Config{HashKey: 1})
	goesTo := func(want model.MAC) {
		t.Helper()
		testutil.Eventually(t, "a packet to "+want.String(), func() bool {
			// The first packet of a tick leaves the address to the kernel.
			return slices.ContainsFunc([]int{1, 2, 3}, func(int) bool { return model.MAC(l.send(t, l.away[0])[:6]) == want })
		})
	}
	goesTo(l.hops[0][0])
	to := model.MAC{2, 0, 0, 0, 12, 1}
	run(t, "ip neigh replace 203.0.113.100 lladdr %s dev up0", to)
	goesTo(to)
}

// TestKnownFlowWithoutRoute: a flow that is remembered is dropped, and counted where it comes from, where the
// kernel has no route to its VTEP any more.
func TestKnownFlowWithoutRoute(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip")
	if !testutil.InNetNS(t) {
		return
	}
	stayOnOneProcessor(t)
	l := newHopLab(t, Config{HashKey: 1, Record: true})
	send := func() TestRecord {
		t.Helper()
		r, err := l.d.TestRun(&TestRun{Program: bpfProgFromWorkload, Ifindex: l.lo, Data: l.away[0], Out: make([]byte, 2048)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	received := func() uint64 {
		c, err := l.d.Counters()
		if err != nil {
			t.Fatal(err)
		}
		return c.Ports["lo"].RxPackets
	}
	send()
	send()
	if r := send(); !r.Known {
		t.Fatal("the flow is not remembered")
	}
	run(t, "ip addr flush dev up0; ip route flush table 100")
	var before uint64
	testutil.Eventually(t, "a drop", func() bool {
		before = received()
		return send().Reason == reason.UnderlayNoRoute
	})
	if n := received() - before; n != 1 {
		t.Errorf("the dropped packet was counted %d times", n)
	}
	run(t, "ip addr add 203.0.113.1/24 dev up0; ip route add default table 100 via 203.0.113.251 dev up0")
	testutil.Eventually(t, "a packet with a route", func() bool { return send().Known })
}

// TestSentFromKnownFlow: the source port of a flow that is remembered counts as lately used.
func TestSentFromKnownFlow(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "clang-19")
	if !testutil.InNetNS(t) {
		return
	}
	stayOnOneProcessor(t)
	l := newHopLab(t, Config{HashKey: 1})
	sent := func(port uint16, out []byte) bool {
		t.Helper()
		ok, err := l.d.SentFrom(netip.AddrFrom4([4]byte(out[26:30])), netip.AddrFrom4([4]byte(out[30:34])), port)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	var out []byte
	for range 3 {
		out = l.send(t, l.away[0])
	}
	port := binary.BigEndian.Uint16(out[34:])
	if !sent(port, out) || sent(port^1, out) {
		t.Errorf("port %d has been used: %v, another: %v", port, sent(port, out), sent(port^1, out))
	}
	// Another flow has its place.
	at := uint32(port) % l.d.tables.maps[bpfMapSentPorts].MaxEntries()
	if err := l.d.tables.maps[bpfMapSentPorts].Put(at, make([]bpfSentPort, ebpf.MustPossibleCPU())); err != nil {
		t.Fatal(err)
	}
	if sent(port, out) {
		t.Fatal("the port still counts")
	}
	testutil.Eventually(t, "the port to count again", func() bool { return sent(port, l.send(t, l.away[0])) })
}
