package difftest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/trace"
	"github.com/causeway-net/causeway/internal/trace/spread"
)

// The most hosts of a random site, and workloads of one.
const (
	mostHosts     = 4
	mostWorkloads = 30
)

// Followed has the programs of several hosts of one site, and follows each packet over all hosts that it crosses.
// All hosts are in one network namespace: which packet is whose, the maps alone say.
type Followed struct {
	base    *Runner
	runners []*Runner
	Ends    map[string]uint64 // what became of packets and copies
	Known   uint64            // packets that a row of flows decided
	Total   uint64            // packets of all hosts
	// Of the site that is in the maps.
	seed  uint64
	site  *spread.Site
	hosts map[model.HostName]*followedHost
}

type followedHost struct {
	*Runner
	pure *trace.Pipeline
	want [reason.Count]uint64
}

// NewFollowed is NewRunner for several hosts.
func NewFollowed(cfg dataplane.Config) (*Followed, error) {
	if err := isolate(); err != nil {
		return nil, err
	}
	f := &Followed{base: &Runner{index: map[string]int{}, name: map[int]string{}}, Ends: map[string]uint64{}}
	if err := f.base.network(mostWorkloads); err != nil {
		return nil, err
	}
	dir := cfg.PinDir
	for i := range mostHosts {
		r := &Runner{uplink: f.base.uplink}
		cfg.PinDir = filepath.Join(dir, strconv.Itoa(i))
		if err := r.open(cfg); err != nil {
			return nil, fmt.Errorf("host %d: %w", i, err)
		}
		f.runners = append(f.runners, r)
	}
	return f, nil
}

// Close removes what NewFollowed made.
func (f *Followed) Close() (err error) {
	for _, r := range f.runners {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

// Run sends packets into one random site.
func (f *Followed) Run(seed uint64, packets int) error {
	f.seed, f.site, f.hosts = seed, spread.New(seed), map[model.HostName]*followedHost{}
	states := f.site.States(false)
	r := rand.New(rand.NewPCG(seed, 7))
	for i, name := range f.site.Hosts {
		h := &followedHost{Runner: f.runners[i]}
		env, pure := f.environment(r, h, name)
		if err := h.d.Sync(states[name], env); err != nil {
			return fmt.Errorf("write the maps of site %d, host %s: %w", seed, name, err)
		}
		pure.Memory = h.memory
		h.pure = trace.New(states[name], pure).Quiet()
		h.memory.Keep(h.pure)
		f.hosts[name] = h
	}
	before := map[model.HostName][]uint64{}
	for name, h := range f.hosts {
		drops, err := h.d.Drops()
		if err != nil {
			return err
		}
		before[name] = slices.Clone(drops[:])
	}
	for i := range packets {
		p, ok := f.site.Packet()
		if !ok {
			return nil
		}
		w := &followedWay{Followed: f, index: uint64(i), tunnel: p.Outer != nil}
		if err := w.enter(p); err != nil {
			return err
		}
	}
	for name, h := range f.hosts {
		if err := h.sameMemory(); err != nil {
			return fmt.Errorf("site %d, host %s: %w", seed, name, err)
		}
		drops, err := h.d.Drops()
		if err != nil {
			return err
		}
		for why := range h.want {
			if n := drops[why] - before[name][why]; n != h.want[why] {
				return differ("site %d, host %s: the programs counted %d drops for %s, the pipeline %d", seed, name, n, reason.Reason(why), h.want[why])
			}
		}
	}
	return nil
}

// environment is what a host has beside its rows, for the programs and for the pipeline. Workloads of one host in five take less
// than their network.
func (f *Followed) environment(r *rand.Rand, h *followedHost, name model.HostName) (dataplane.Env, trace.Env) {
	h.index, h.name = maps.Clone(f.base.index), maps.Clone(f.base.name)
	mtu := 0
	if r.IntN(5) == 0 {
		mtu = 1300
	}
	links, pureLinks := map[string]dataplane.Link{}, map[string]trace.Link{}
	for i, w := range f.site.Interfaces(name) {
		index := f.base.index[InterfaceName(i)]
		h.index[w], h.name[index] = index, w
		links[w], pureLinks[w] = dataplane.Link{Index: index, MTU: mtu}, trace.Link{MTU: mtu}
	}
	ways, pureWays := map[dataplane.VTEP]dataplane.Way{}, map[trace.VTEP]trace.Way{}
	lead := func(v trace.VTEP) {
		var way dataplane.Way
		way.Interfaces[0] = uint32(f.base.index[Trunk])
		ways[dataplane.VTEP(v)] = way
		pureWays[v] = trace.Way{Interfaces: []string{Trunk}}
	}
	own := f.site.Fabric(name)
	for _, other := range f.site.Hosts {
		lead(trace.VTEP{Local: own.Addr, Remote: f.site.Fabric(other).Addr})
	}
	for _, v := range f.site.VTEPs() {
		lead(v)
	}
	fabric := hostenv.Fabric{Addr: own.Addr, Port: own.Port}
	pure := trace.Env{
		Trunks: map[string]trace.Link{Trunk: {}}, Links: pureLinks, HashKey: hashKey, Ways: pureWays, Fabric: fabric, Mark: dataplane.DefaultMark,
	}
	fabric.Index = f.base.index[fabricDevice]
	return dataplane.Env{
		Links: links, Trunks: map[string]dataplane.Link{Trunk: {Index: f.base.index[Trunk]}},
		VXLANIndex: f.base.index[vxlanDevice], SlowIndex: f.base.index["slow0"], Ways: ways, Fabric: fabric,
	}, pure
}

// followedWay is the way of one packet.
type followedWay struct {
	*Followed
	index   uint64
	tunnel  bool // it came out of one
	crossed int  // how often this branch of it has crossed the fabric
	routed  bool // by a router, or answered by one
}

func (w *followedWay) enter(p spread.Packet) error {
	if p.Interface != "" {
		return w.at(p.Host, Case{Program: FromWorkload, Name: p.Interface, Data: p.Frame})
	}
	if p.Tagged != nil {
		return w.at(p.Host, Case{Program: FromUnderlay, Data: p.Tagged})
	}
	return w.fromUnderlay(p.Host, p.Outer, Case{
		Program: FromVXLAN, Data: p.Frame, Key: &trace.TunnelKey{Local: p.Local, Remote: p.Remote, VNI: p.VNI}})
}

// fromUnderlay hands a packet to a host's uplink, and what the programs leave to the kernel to the device that takes off the
// outer headers.
func (w *followedWay) fromUnderlay(at model.HostName, outer []byte, device Case) error {
	outer = slices.Clone(outer)
	copy(outer, w.base.uplink[:])
	res, err := w.send(at, Case{Program: FromUnderlay, Data: outer})
	if err != nil {
		return err
	}
	if res.Verdict != trace.Pass {
		return w.follow(at, res)
	}
	device.Mark = res.Mark
	return w.at(at, device)
}

func (w *followedWay) at(at model.HostName, c Case) error {
	res, err := w.send(at, c)
	if err != nil {
		return err
	}
	return w.follow(at, res)
}

// send sends a packet through the programs and the pipeline of a host.
func (w *followedWay) send(at model.HostName, c Case) (trace.Result, error) {
	h := w.hosts[at]
	got, err := h.d.TestRun(h.testRun(c))
	if err != nil {
		return trace.Result{}, fmt.Errorf("site %d, packet %d at %s (%s, %x): %w", w.seed, w.index, at, c.Program, c.Data, err)
	}
	res := enter(h.pure, c, h.uplink)
	if what := h.compare(got, res); what != "" {
		m := &Mismatch{w.seed, w.index, false, c, what, got, res}
		return res, fmt.Errorf("site %d, at %s: %w", w.seed, at, m)
	}
	h.want[reason.LearnLimited] += uint64(res.Limited)
	if res.Reason != reason.None {
		h.want[res.Reason]++
	}
	w.Total++
	if got.Known {
		w.Known++
	}
	return res, nil
}

// follow goes on where a host has sent a packet.
func (w *followedWay) follow(from model.HostName, res trace.Result) error {
	w.routed = w.routed || slices.ContainsFunc(res.Path, func(step string) bool {
		return step == "bridge/router" || strings.HasPrefix(step, "arp/answer")
	})
	if res.Verdict == trace.Flood {
		return w.copies(from, res)
	}
	if res.Host == "" {
		if w.tunnel && !w.routed && (res.Verdict == trace.Tunnel || res.Verdict == trace.VXLAN) {
			return differ("site %d, packet %d: bridged from tunnel to tunnel: %+v", w.seed, w.index, res)
		}
		w.end(res)
		return nil
	}
	over, err := w.cross()
	if err != nil {
		return err
	}
	inner := res.Output
	if res.Verdict == trace.Tunnel {
		inner = inner[packet.EthernetLen+packet.IPv4Len+packet.UDPLen+packet.VXLANLen:]
	}
	device := Case{Program: FromVXLAN, Fabric: true, Data: inner, Mark: dataplane.DefaultMark, Key: &trace.TunnelKey{Local: res.Remote, Remote: res.Local, VNI: res.VNI}}
	if res.Verdict == trace.Tunnel {
		return over.fromUnderlay(res.Host, res.Output, device)
	}
	return over.at(res.Host, device)
}

// cross is a branch of a packet's way on the other side of the fabric.
func (w *followedWay) cross() (*followedWay, error) {
	if w.crossed > 0 {
		return nil, differ("site %d, packet %d: the fabric is crossed twice", w.seed, w.index)
	}
	over := *w
	over.crossed++
	return &over, nil
}

// copies follows those of a flooded frame that go to other hosts.
func (w *followedWay) copies(from model.HostName, res trace.Result) error {
	for _, c := range res.Copies {
		host, fabric := strings.CutPrefix(c, "host ")
		if !fabric {
			w.end(res)
			continue
		}
		over, err := w.cross()
		if err != nil {
			return err
		}
		key := &trace.TunnelKey{Local: w.site.Fabric(model.HostName(host)).Addr, Remote: w.site.Fabric(from).Addr, VNI: model.VNI(res.Network)}
		if err := over.at(model.HostName(host), Case{Program: FromVXLAN, Fabric: true, Data: res.Output, Mark: dataplane.DefaultMark, Key: key}); err != nil {
			return err
		}
	}
	return nil
}

func (w *followedWay) end(res trace.Result) {
	kind := res.Verdict.String()
	if w.crossed > 0 {
		kind += " over the fabric"
	}
	w.Ends[kind]++
}
