package dataplane

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testutil"
)

// speedObjects is the environment variable with compiled programs to measure beside the
// built-in ones, with commas between; the same may stand there twice. (Flags do not reach a test
// in a namespace of its own.)
const speedObjects = "SPEED_OBJECTS"

// wayOfPacket is a packet that the test of speed sends, again and again.
type wayOfPacket struct {
	name, program string
	data          []byte
	shrinks       int // by how much the program makes it shorter
	// anew: each packet is a new one, because the kernel adds an outer header to a packet only once. The
	// figure has the costs of taking the time, and of cold caches.
	anew bool
	// flows is how many flows the packets are of, by their ports; 0: one. ports is where those are.
	flows, ports int
}

// TestSpeed says what a packet costs on each way, the making of it anew included. It passes
// whatever that is; to compare, name other objects in SPEED_OBJECTS.
func TestSpeed(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip")
	if !testutil.InNetNS(t) {
		return
	}
	stayOnOneProcessor(t)
	st, env, ways := speedState(t)
	objects, rounds, repeat := []string{"built-in"}, 3, 2000
	if more := os.Getenv(speedObjects); more != "" {
		objects, rounds, repeat = append(objects, strings.Split(more, ",")...), 25, 20_000
	}
	var planes []*Dataplane
	for _, o := range objects {
		cfg := Config{PinDir: labPins(t)}
		if o != "built-in" {
			b, err := os.ReadFile(o)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Object = bytes.NewReader(b)
		}
		d, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Remove(); err != nil {
				t.Error(err)
			}
		})
		if err := d.Sync(st, env); err != nil {
			t.Fatal(err)
		}
		planes = append(planes, d)
	}
	for _, w := range ways {
		times := make([][]int64, len(planes))
		programs := make([]*ebpf.Program, len(planes))
		for i, d := range planes {
			programs[i] = d.programs[w.program]
			if !w.anew {
				programs[i] = again(t, programs[i], w)
			}
		}
		for range rounds {
			for i, p := range programs {
				times[i] = append(times[i], w.measure(t, p, repeat))
			}
		}
		for i, o := range objects[1:] {
			var ratios []float64
			for r, n := range times[i+1] {
				ratios = append(ratios, float64(n)/float64(times[0][r]))
			}
			slices.Sort(ratios)
			t.Logf("%s: %.2f times as long as built-in (median of the rounds' ratios), %s", w.name, ratios[len(ratios)/2], o)
		}
		for i, o := range objects {
			slices.Sort(times[i])
			t.Logf("%s: %d ns a packet, %s", w.name, times[i][len(times[i])/2], o)
		}
	}
}

// measure is the nanoseconds that each of so many packets takes.
func (w wayOfPacket) measure(t *testing.T, p *ebpf.Program, packets int) int64 {
	t.Helper()
	run := func(data []byte, packets int) time.Duration {
		did, each, err := p.Benchmark(data, packets, nil)
		const redirect = 7 // TCX_REDIRECT
		if err != nil || did != redirect {
			t.Fatalf("%s: returns %d: %v", w.name, int32(did), err)
		}
		return each
	}
	if !w.anew {
		return run(w.data, packets).Nanoseconds()
	}
	var all time.Duration
	data := slices.Clone(w.data)
	for range packets {
		if w.flows != 0 {
			binary.BigEndian.PutUint32(data[w.ports:], uint32(rand.IntN(w.flows)))
		}
		all += run(data, 1)
	}
	return all.Nanoseconds() / int64(packets)
}

func stayOnOneProcessor(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for i := range 1024 {
		if allowed.IsSet(i) {
			one.Zero()
			one.Set(i) // the last one: the first is busier
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
}

// speedState is a host with two networks on a router. Test runs come by the loopback interface: it is
// a port's, and what carries the tunnel.
func speedState(t *testing.T) (hoststate.State, Env, []wayOfPacket) {
	t.Helper()
	run(t, "ip link set lo up mtu 65535 && ip link add up0 mtu 9000 type veth peer name up1 && ip link set up0 up && ip link set up1 up")
	run(t, "ip addr add 203.0.113.1/24 dev up0 && ip neigh add 203.0.113.9 lladdr 02:00:00:00:00:99 dev up0")
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/up0/forwarding", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	index := func(name string) int {
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return i.Index
	}
	mac := func(b byte) model.MAC { return model.MAC{2, 0, 0, 0, 0, b} }
	ip, prefix := netip.MustParseAddr, netip.MustParsePrefix
	local, remote := ip("203.0.113.1"), ip("203.0.113.9")
	env := Env{
		Links:      map[string]Link{"lo": {Index: index("lo"), MTU: 9000}, "w2": {Index: index("up0"), MTU: 9000}, "w3": {Index: index("up1"), MTU: 9000}},
		VXLANIndex: index("up0"), SlowIndex: index("up1"),
		Ways: map[VTEP]Way{{Local: local, Remote: remote}: {Interfaces: [MaxWays]uint32{uint32(index("lo"))}}},
	}
	st := hoststate.NewState()
	st.Networks[1], st.Networks[2] = hoststate.Network{ID: "n", MTU: 8900}, hoststate.Network{ID: "m", MTU: 8900}
	st.Gateways["g"] = hoststate.Gateway{TunnelIP: local}
	has := func(net model.NetworkKey, addr string, m model.MAC, e hoststate.FDBEntry) {
		st.FDB[hoststate.FDBKey{Network: net, MAC: m}] = e
		st.Neighbors[hoststate.NeighborKey{Network: net, IP: ip(addr)}] = m
	}
	port := func(k model.PortKey, net model.NetworkKey, name, addr string) {
		st.Ports[k] = hoststate.Port{ID: model.PortID(name), Network: net, Interface: name, MAC: mac(byte(k)), PortSecurity: true, Addrs: []netip.Addr{ip(addr)}}
		has(net, addr, mac(byte(k)), hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: k})
	}
	port(1, 1, "lo", "10.0.1.1")
	port(2, 1, "w2", "10.0.1.2")
	port(3, 2, "w3", "10.0.2.3")
	has(1, "10.0.1.254", mac(100), hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: 7, Addr: ip("10.0.1.254")})
	has(2, "10.0.2.254", mac(101), hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: 7, Addr: ip("10.0.2.254")})
	has(2, "10.0.2.200", mac(200), hoststate.FDBEntry{Kind: hoststate.FDBRemote, Addr: remote, TunnelIP: local, VNI: 5000, Gateway: "g"})
	for name, addr := range map[model.HostName]netip.Addr{"own": local, "c": remote} {
		st.Hosts[name] = hoststate.Host{Addr: addr, Port: labFabricPort}
	}
	env.Fabric, env.PathMTU = hostenv.Fabric{Addr: local, Port: labFabricPort, Index: index("up1")}, map[netip.Addr]int{remote: 9000}
	has(2, "10.0.2.50", mac(50), hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 50, Host: "c"})
	route := func(p string, r hoststate.Route) {
		st.Routes[hoststate.RouteKey{Router: 7, Prefix: prefix(p)}] = r
	}
	route("10.0.1.0/24", hoststate.Route{Kind: hoststate.RouteConnected, Network: 1, MAC: mac(100)})
	route("10.0.2.0/24", hoststate.Route{Kind: hoststate.RouteConnected, Network: 2, MAC: mac(101)})
	route("10.1.0.0/16", hoststate.Route{Kind: hoststate.RouteVia, Network: 2, MAC: mac(101), NextHop: ip("10.0.2.200")})
	st.Peers[hoststate.PeerKey{TunnelIP: local, Remote: remote, VNI: 5000}] = hoststate.Peer{Network: 2}
	st.VNIs[hoststate.VNIKey{TunnelIP: local, VNI: 5000}] = 2
	st.Gateways["g"] = hoststate.Gateway{TunnelIP: local}

	frame := func(to, from model.MAC, src, dst string) []byte {
		f := packet.Ethernet{Dst: to, Src: from, Type: packet.TypeIPv4}.Append(nil)
		f = append(f, packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: ip(src), Dst: ip(dst)}.Append(nil, packet.UDPLen+18)...)
		return append(f, packet.UDP{Src: 7, Dst: 9}.Append(nil, ip(src), ip(dst), make([]byte, 18))...)
	}
	tunneled := func(f []byte) []byte {
		return packet.Encapsulate(nil, packet.Outer{Local: remote, Remote: local, VNI: 5000, SrcPort: 50000}, f)
	}
	const outer, ports = packet.VXLANOverhead, packet.EthernetLen + packet.IPv4Len
	ways := []wayOfPacket{
		{name: "workload to port", program: bpfProgFromWorkload, data: frame(mac(2), mac(1), "10.0.1.1", "10.0.1.2"), ports: ports},
		{name: "workload by router to port", program: bpfProgFromWorkload, data: frame(mac(100), mac(1), "10.0.1.1", "10.0.2.3"), ports: ports},
		{name: "workload by router to tunnel", program: bpfProgFromWorkload, data: frame(mac(100), mac(1), "10.0.1.1", "10.1.0.3"), anew: true, ports: ports},
		{name: "tunnel to port", program: bpfProgFromUnderlay, data: tunneled(frame(mac(3), mac(200), "10.1.0.3", "10.0.2.3")), shrinks: outer, ports: outer + ports},
		{name: "tunnel by router to port", program: bpfProgFromUnderlay, data: tunneled(frame(mac(101), mac(200), "10.1.0.3", "10.0.1.2")), shrinks: outer, ports: outer + ports},
	}
	ways = append(ways, wayOfPacket{name: "tunnel by router to tunnel", program: bpfProgFromUnderlay, data: tunneled(frame(mac(101), mac(200), "10.1.0.3", "10.1.0.4")), anew: true, ports: outer + ports},
		wayOfPacket{name: "tunnel to fabric", program: bpfProgFromUnderlay, data: tunneled(frame(mac(50), mac(200), "10.1.0.3", "10.0.2.50")), anew: true, ports: outer + ports})
	for _, w := range slices.Clone(ways) {
		for n, what := range map[int]string{20_000: "20,000 flows", math.MaxInt32: "all new flows"} {
			w := w
			w.name, w.flows = w.name+", "+what, n
			ways = append(ways, w)
		}
	}
	return st, env, ways
}

// again is a program that makes the packet what it was before p, and then runs p: a test run
// goes on with the packet as the last turn left it.
func again(t *testing.T, p *ebpf.Program, w wayOfPacket) *ebpf.Program {
	t.Helper()
	next, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = next.Close() })
	if err := next.Put(uint32(0), p); err != nil {
		t.Fatal(err)
	}
	ins := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	if w.shrinks != 0 {
		const mac, fixedGSO = 1, 1
		ins = append(ins,
			asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), // the length, which is right the first time
			asm.JEq.Imm(asm.R2, int32(len(w.data)), "same"),
			asm.Mov.Imm(asm.R2, int32(w.shrinks)), asm.Mov.Imm(asm.R3, mac), asm.Mov.Imm(asm.R4, fixedGSO),
			asm.FnSkbAdjustRoom.Call(),
		)
	}
	n := min(len(w.data), 104) / 8 * 8 // all headers
	for i := 0; i < n; i += 8 {
		word := asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(w.data[i:])), asm.DWord)
		if i == 0 {
			word = word.WithSymbol("same")
		}
		ins = append(ins, word, asm.StoreMem(asm.RFP, int16(i-n), asm.R1, asm.DWord))
	}
	if w.flows != 0 {
		ins = append(ins, asm.FnGetPrandomU32.Call(), asm.Mod.Imm32(asm.R0, int32(w.flows)), asm.StoreMem(asm.RFP, int16(w.ports-n), asm.R0, asm.Half))
		ins = append(ins, asm.RSh.Imm(asm.R0, 16), asm.StoreMem(asm.RFP, int16(w.ports+2-n), asm.R0, asm.Half))
	}
	ins = append(ins,
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, 0), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, int32(-n)),
		asm.Mov.Imm(asm.R4, int32(n)), asm.Mov.Imm(asm.R5, 0), asm.FnSkbStoreBytes.Call(),
		asm.Mov.Reg(asm.R1, asm.R6), asm.LoadMapPtr(asm.R2, next.FD()), asm.Mov.Imm(asm.R3, 0), asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, -1), asm.Return(),
	)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, AttachType: ebpf.AttachTCXIngress, Instructions: ins, License: "GPL"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	return prog
}
