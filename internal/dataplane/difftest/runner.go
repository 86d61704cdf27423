package difftest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/trace"
)

const hashKey = 0x1f2e3d4c5b6a7988

// Runner has the programs and a scratch network namespace to run them in. It
// belongs to the thread that made it.
type Runner struct {
	d        *dataplane.Dataplane
	have     uint64         // one more than the topology whose rows are in the maps
	index    map[string]int // interface → index
	name     map[int]string
	uplink   model.MAC
	out      []byte
	Coverage map[string]uint64 // by branch, of all packets that agreed
	Reasons  [reason.Count]uint64
	memory   *trace.Memory
	// lately are packets that went to ports: those that the programs may remember.
	lately []Case
	Total  uint64
}

// NewRunner moves the calling thread, for good, into a network namespace of its own
// and onto one processor, and loads the programs, cfg.Object's if it is set. The
// thread must end with its goroutine: never unlock it.
func NewRunner(cfg dataplane.Config) (*Runner, error) {
	if err := isolate(); err != nil {
		return nil, err
	}
	r := &Runner{index: map[string]int{}, name: map[int]string{}}
	if err := r.network(Interfaces); err != nil {
		return nil, err
	}
	return r, r.open(cfg)
}

// isolate moves the thread into a namespace and onto a processor.
func isolate() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	var cpu, allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("ask for the thread's processors: %w", err)
	}
	for i := range 1024 {
		if allowed.IsSet(i) {
			cpu.Set(i) // the last one: the first is busier
			if cpu.Count() > 1 {
				cpu.Zero()
				cpu.Set(i)
			}
		}
	}
	if err := unix.SchedSetaffinity(0, &cpu); err != nil {
		return fmt.Errorf("stay on one processor: %w", err)
	}
	return nil
}

// open loads the programs.
func (r *Runner) open(cfg dataplane.Config) (err error) {
	r.out, r.Coverage = make([]byte, maxFrame+512), map[string]uint64{}
	cfg.Record, cfg.HashKey = true, hashKey
	// As if no time passed: trace.Memory has no clock.
	cfg.LearnHold, cfg.LearnAge, cfg.StopAfter = 1000*time.Hour, 1000*time.Hour, 1000*time.Hour
	r.memory = trace.NewMemory(dataplane.LearnPerPort, dataplane.LearnPerNetwork)
	if r.d, err = dataplane.Open(cfg); err != nil {
		return fmt.Errorf("open the dataplane: %w", err)
	}
	return nil
}

// Close removes what NewRunner made; the namespace goes with the thread.
func (r *Runner) Close() error { return r.d.Remove() }

// network makes the interfaces. Their MTUs are far beyond any packet's: outside a
// network the kernel holds every change of a packet's length against the MTU of
// the interface it came from, which no real packet meets.
func (r *Runner) network(workloads int) error {
	var batch strings.Builder
	names := []string{Trunk, Trunk2, vxlanDevice, fabricDevice, "slow0"}
	for i := range workloads {
		names = append(names, InterfaceName(i))
	}
	batch.WriteString("link set lo up\n")
	for _, n := range names {
		fmt.Fprintf(&batch, "link add %s type veth peer name %s-\nlink set %s mtu 65535 up\nlink set %s- up\n", n, n, n, n)
	}
	batch.WriteString("addr add 203.0.113.1/24 dev up0\n")
	batch.WriteString("route add default via 203.0.113.254\n")
	fmt.Fprintf(&batch, "route add default via 203.0.113.253 table %d\n", edgeTable)
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make interfaces: %w\n%s", err, out)
	}
	// bpf_fib_lookup wants the forwarding switch of the vxlan devices.
	for _, n := range []string{vxlanDevice, fabricDevice} {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+n+"/forwarding", []byte("1"), 0o644); err != nil {
			return fmt.Errorf("switch on forwarding of %s: %w", n, err)
		}
	}
	for _, n := range names {
		l, err := net.InterfaceByName(n)
		if err != nil {
			return fmt.Errorf("find interface %s: %w", n, err)
		}
		r.index[n], r.name[l.Index] = l.Index, n
		if n == "up0" {
			r.uplink = model.MAC(l.HardwareAddr)
		}
	}
	return nil
}

// Mismatch is a packet on which the two differ.
type Mismatch struct {
	Topology uint64
	Index    uint64
	Updated  bool // the maps were changed from the topology before, not written anew
	Case     Case
	What     string
	Program  dataplane.TestRecord
	Pure     trace.Result
}

// Error shows everything that is needed to understand and repeat it.
func (m *Mismatch) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "topology %d, packet %d: %s differs\n", m.Topology, m.Index, m.What)
	if m.Updated {
		fmt.Fprintf(&b, "the maps came by Update from topology %d: alone, the topology is written by Sync\n", m.Topology-1)
	}
	fmt.Fprintf(&b, "%s", m.Case.Program)
	switch m.Case.Program {
	case FromWorkload:
		fmt.Fprintf(&b, " at %s", m.Case.iface())
	case FromVXLAN:
		fmt.Fprintf(&b, ", key %+v, by the fabric %v", m.Case.Key, m.Case.Fabric)
	}
	fmt.Fprintf(&b, ", gso_size %d, %d bytes\n  %x\n", m.Case.GSOSize, len(m.Case.Data), m.Case.Data)
	for _, l := range packet.Describe(m.Case.Data) {
		fmt.Fprintf(&b, "  %s %v\n", l.Name, l.Fields)
	}
	p := m.Program
	fmt.Fprintf(&b, "program: verdict %s, reason %s, ifindex %d, peer %v, network %d, copies %d, local %s, remote %s, VNI %d, table %d, TOS %d\n  %x\n",
		trace.Verdict(p.Verdict), p.Reason, p.Ifindex, p.Peer, p.Network, p.Copies, p.Local, p.Remote, p.VNI, p.Table, p.TOS, p.Data)
	q := m.Pure
	fmt.Fprintf(&b, "pure:    verdict %s, reason %s, interface %s, peer %v, network %d, copies %d, local %s, remote %s, VNI %d, table %d, TOS %d\n  %x\n",
		q.Verdict, q.Reason, q.Interface, q.Peer, q.Network, len(q.Copies), q.Local, q.Remote, q.VNI, q.Table, q.TOS, q.Output)
	fmt.Fprintf(&b, "path %v\n", q.Path)
	for _, h := range q.Hops {
		fmt.Fprintf(&b, "  %s: %s → %s %s\n", h.At, h.Decision, h.Result, h.Reason)
	}
	return b.String()
}

// stage is a topology, and the one whose maps lead to it by Update (nil: none).
// They come in threes: one, the same with rows missing, and the first again.
func stage(seed, topology uint64) (t, last *Topology) {
	base := topology - topology%3
	full, thinned := NewTopology(seed<<16^base), NewTopology(seed<<16^base)
	thinned.Thin(seed<<16 ^ base)
	switch topology % 3 {
	case 1:
		return thinned, full
	case 2:
		return full, thinned
	}
	return full, nil
}

// env is the host of a topology, with the interfaces of the namespace.
func (r *Runner) env(t *Topology) dataplane.Env {
	env := dataplane.Env{
		Links: map[string]dataplane.Link{}, Tables: t.Tables, PathMTU: t.PathMTU,
		Trunks:     map[string]dataplane.Link{Trunk: {Index: r.index[Trunk], MTU: t.trunkMTU}, Trunk2: {Index: r.index[Trunk2]}},
		VXLANIndex: r.index[vxlanDevice], SlowIndex: r.index["slow0"], Ways: map[dataplane.VTEP]dataplane.Way{},
		Fabric: r.fabricEnv(t),
	}
	for v, w := range t.Ways {
		way := dataplane.Way{Kernel: w.Kernel, Drop: w.Drop}
		for i, n := range w.Interfaces {
			way.Interfaces[i] = uint32(r.index[n])
		}
		env.Ways[dataplane.VTEP(v)] = way
	}
	for n, l := range t.Links {
		env.Links[n] = dataplane.Link{Index: r.index[n], PeerElsewhere: l.PeerElsewhere, MTU: l.MTU}
	}
	return env
}

// Run sends packets from to (exclusive) of one topology through both. The error is
// a *Mismatch where they differ.
func (r *Runner) Run(seed, topology, from, to uint64) error {
	t, last := stage(seed, topology)
	env := r.env(t)
	if r.have != topology || last == nil {
		last = nil
		if err := r.d.Sync(t.State, env); err != nil {
			return fmt.Errorf("write the maps of topology %d: %w", topology, err)
		}
	} else if err := r.d.Update(hoststate.Diff(last.State, t.State), t.State, env); err != nil {
		return fmt.Errorf("change the maps to those of topology %d: %w", topology, err)
	}
	r.have = topology + 1
	before, err := r.d.Drops()
	if err != nil {
		return err
	}
	trafficBefore, err := r.d.Counters()
	if err != nil {
		return err
	}
	traffic := dataplane.Counters{Ports: map[model.PortID]dataplane.Traffic{}, Tunnels: map[dataplane.Tunnel]dataplane.Traffic{}, VLANs: map[hoststate.VLANKey]dataplane.Traffic{}}
	pure := t.Env(hashKey)
	pure.Memory = r.memory
	loud := trace.New(t.State, pure)
	r.memory.Keep(loud)
	quiet := loud.Quiet()
	g := &gen{t: t, underlayMAC: r.uplink}
	drops, err := r.portDrops(t)
	if err != nil {
		return err
	}
	b := &batch{Runner: r, drops: drops, topology: topology, ports: t.State.Ports, updated: last != nil, quiet: quiet, loud: loud, traffic: traffic}
	if err := b.again(from); err != nil {
		return err
	}
	for i := from; i < to; i++ {
		c := g.Case(seed<<16^topology, i)
		if err := b.flow(g, i, c); err != nil {
			return err
		}
		if i%deadOften == 0 {
			if err := b.dead(i, c); err != nil {
				return err
			}
		}
	}
	want := b.want
	if err := r.sameMemory(); err != nil {
		return fmt.Errorf("topology %d: %w", topology, err)
	}
	after, err := r.d.Drops()
	if err != nil {
		return err
	}
	for why := range want {
		if n := after[why] - before[why]; n != want[why] {
			return differ("topology %d: the programs counted %d drops for %s, the pipeline %d", topology, n, reason.Reason(why), want[why])
		}
		r.Reasons[why] += want[why]
	}
	if err := r.sameDrops(t, drops); err != nil {
		return fmt.Errorf("topology %d: %w", topology, err)
	}
	trafficAfter, err := r.d.Counters()
	if err != nil {
		return err
	}
	if err := sameTraffic("port", trafficBefore.Ports, trafficAfter.Ports, traffic.Ports); err != nil {
		return fmt.Errorf("topology %d: %w", topology, err)
	}
	if err := sameTraffic("VLAN", trafficBefore.VLANs, trafficAfter.VLANs, traffic.VLANs); err != nil {
		return fmt.Errorf("topology %d: %w", topology, err)
	}
	if err := sameTraffic("tunnel", trafficBefore.Tunnels, trafficAfter.Tunnels, traffic.Tunnels); err != nil {
		return fmt.Errorf("topology %d: %w", topology, err)
	}
	return nil
}

// stateError says that the two have not learned or counted the same.
type stateError string

func (e stateError) Error() string { return string(e) }

func differ(format string, args ...any) error { return stateError(fmt.Sprintf(format, args...)) }

// sameMemory compares what was learned.
func (r *Runner) sameMemory() error {
	learned, err := r.d.Learned()
	if err != nil {
		return err
	}
	have := map[dataplane.Learned]bool{}
	for _, l := range learned {
		have[l] = true
	}
	r.memory.Holders(func(s trace.Sender, port model.PortKey, mac model.MAC, vlan hoststate.VLANKey) {
		l := dataplane.Learned{Network: s.Network, Addr: s.Addr, MAC: s.MAC, Port: port}
		if port == 0 && !s.Addr.IsValid() {
			l.Trunk, l.VLAN = r.index[vlan.Interface], vlan.ID
		}
		if s.Addr.IsValid() {
			l.MAC = mac
		}
		if !have[l] {
			err = differ("the pipeline has learned %+v, the programs have not", l)
		}
		delete(have, l)
	})
	if err != nil {
		return err
	}
	for l := range have {
		return differ("the programs have learned %+v and %d more, the pipeline has not", l, len(have)-1)
	}
	return err
}

func add(t dataplane.Traffic, n trace.Count) dataplane.Traffic {
	if n.Sent {
		t.TxPackets++
		t.TxBytes += uint64(n.Bytes)
	} else {
		t.RxPackets++
		t.RxBytes += uint64(n.Bytes)
	}
	return t
}

// portDrops are the drops of each port so far, by reason.
func (r *Runner) portDrops(t *Topology) (map[model.PortKey]*[reason.Count]uint64, error) {
	drops := map[model.PortKey]*[reason.Count]uint64{}
	for k := range t.State.Ports {
		s, _, err := r.d.Port(k)
		if err != nil {
			return nil, err
		}
		drops[k] = &s.Drops
	}
	return drops, nil
}

// sameDrops compares the drops of ports with what they should have come to.
func (r *Runner) sameDrops(t *Topology, want map[model.PortKey]*[reason.Count]uint64) error {
	have, err := r.portDrops(t)
	if err != nil {
		return err
	}
	for k, drops := range want {
		drops[reason.None] = 0
		for why, n := range drops {
			if have[k][why] != n {
				return differ("port %d: the programs counted %d drops for %s, the pipeline %d", k, have[k][why], reason.Reason(why), n)
			}
		}
	}
	return nil
}

// sameTraffic compares what counters have risen by with what they should have.
func sameTraffic[K comparable](what string, before, after, want map[K]dataplane.Traffic) error {
	for k := range want {
		if _, ok := after[k]; !ok {
			return differ("%s %v has no counter, and should have %+v", what, k, want[k])
		}
	}
	for k, a := range after {
		b := before[k]
		got := dataplane.Traffic{
			RxPackets: a.RxPackets - b.RxPackets, RxBytes: a.RxBytes - b.RxBytes,
			TxPackets: a.TxPackets - b.TxPackets, TxBytes: a.TxBytes - b.TxBytes,
		}
		if got != want[k] {
			return differ("%s %v: the programs counted %+v, the pipeline %+v", what, k, got, want[k])
		}
	}
	return nil
}

// testRun is a case as the dataplane takes it.
func (r *Runner) testRun(c Case) *dataplane.TestRun {
	run := &dataplane.TestRun{Program: c.Program.String(), Data: c.Data, GSOSize: c.GSOSize, Mark: c.Mark, Out: r.out}
	switch c.Program {
	case FromWorkload:
		run.Ifindex = r.index[c.iface()]
	case FromUnderlay:
		run.Ifindex = r.index["up0"]
	case FromVXLAN:
		run.Ifindex = r.index[vxlanDevice]
		if c.Fabric {
			run.Ifindex = r.index[fabricDevice]
		}
		if c.Key != nil {
			run.Key = &dataplane.Tunnel{Local: c.Key.Local, Remote: c.Key.Remote, VNI: c.Key.VNI}
		}
	case FromSlow:
		run.Ifindex = r.index["slow0"]
	}
	return run
}

// enter is the pure side.
func enter(p *trace.Pipeline, c Case, uplink model.MAC) trace.Result {
	// A test run cannot say what kind of GSO it is, so the kernel refuses to
	// resize the packet.
	f := trace.Frame{Data: c.Data, GSOSize: c.GSOSize, Rigid: c.GSOSize != 0, Mark: c.Mark}
	switch c.Program {
	case FromWorkload:
		return p.FromWorkload(c.iface(), f)
	case FromUnderlay:
		// eth_type_trans decides the packet type by the destination MAC.
		f.Interface = Trunk
		f.OtherHost = model.MAC(c.Data[:6]) != uplink
		return p.FromUnderlay(f)
	case FromVXLAN:
		if c.Fabric {
			return p.FromFabric(f, c.Key)
		}
		return p.FromVXLAN(f, c.Key)
	}
	return p.FromSlow(f)
}

// compare names what differs, "" where nothing does.
func (r *Runner) compare(got dataplane.TestRecord, want trace.Result) string {
	if trace.Verdict(got.Verdict) != want.Verdict {
		return "verdict"
	}
	if got.Reason != want.Reason {
		return "reason"
	}
	if got.Known && !want.Remembered {
		return "what is remembered"
	}
	if got.Stays && !want.Stays {
		return "what is written anew in place"
	}
	tunnel := func() bool {
		same := func(a, b netip.Addr) bool { return a == b }
		return same(got.Local, want.Local) && same(got.Remote, want.Remote) && got.VNI == want.VNI &&
			got.Table == want.Table && got.TOS == want.TOS
	}
	ok := true
	switch want.Verdict {
	case trace.Drop:
		return "" // what is left of the packet is nobody's
	case trace.Port:
		ok = r.name[got.Ifindex] == want.Interface && got.Peer == want.Peer
	case trace.Reply:
		ok = r.name[got.Ifindex] == want.Interface
	case trace.Flood:
		ok = got.Network == want.Network && got.Copies == len(want.Copies)
	case trace.Tagged:
		ok = r.name[got.Ifindex] == want.Interface && int(got.VNI) == int(want.VLAN)
	case trace.Tunnel:
		ok = tunnel()
	case trace.VXLAN:
		device := vxlanDevice
		if want.Host != "" {
			device = fabricDevice
		}
		ok = tunnel() && r.name[got.Ifindex] == device
	}
	if !ok {
		return "target"
	}
	if got.Mark != want.Mark {
		return "mark"
	}
	if !bytes.Equal(got.Data, want.Output) {
		return "output packet"
	}
	return ""
}

// IsMismatch tells whether err says that the two differ.
func IsMismatch(err error) bool {
	var m *Mismatch
	var e stateError
	return errors.As(err, &m) || errors.As(err, &e)
}
