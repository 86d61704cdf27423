package trace

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// Pipeline is the tables of one host, ready for look-ups. It never changes.
type Pipeline struct {
	st      hoststate.State
	env     Env
	quiet   bool
	ifaces  map[string]model.PortKey
	floods  map[model.NetworkKey][]string
	vlans   map[model.NetworkKey][]hoststate.VLANKey // those that are there
	paired  map[model.NetworkKey][]model.PortKey     // ports with allowed address pairs
	routes  map[model.RouterKey]*bart.Table[matched]
	tunnels map[netip.Addr]model.GatewayDeviceID
	// hosts are the other hosts of the site, by their addresses on the fabric; empty where this one is not on it.
	hosts map[netip.Addr]model.HostName
	own   model.HostName // this one there; "": the site does not know it
	// members are those of them that are on a network.
	members map[model.NetworkKey][]member
	// hearers are those that hear what is said of the pairs of a network's ports here and are not on it.
	hearers map[model.NetworkKey][]member
	// afar are the allowed address pairs of ports of other hosts.
	afar map[model.NetworkKey]map[hoststate.HostPairKey]hoststate.HostPair
	// stationsAt is, where this host has no VLAN of a network, the other host by which its stations are reached.
	stationsAt map[model.NetworkKey]model.HostName
}

type matched struct {
	prefix netip.Prefix
	route  hoststate.Route
	// hops is how many next hops the destination has, where they are several, and open
	// how many of them are not known to be down.
	hops, open int
}

// New indexes st. The Pipeline keeps st and env; neither may change afterwards.
func New(st hoststate.State, env Env) *Pipeline {
	p := &Pipeline{
		st: st, env: env,
		ifaces:  make(map[string]model.PortKey, len(st.Ports)),
		floods:  make(map[model.NetworkKey][]string),
		vlans:   make(map[model.NetworkKey][]hoststate.VLANKey),
		paired:  make(map[model.NetworkKey][]model.PortKey),
		routes:  make(map[model.RouterKey]*bart.Table[matched]),
		tunnels: make(map[netip.Addr]model.GatewayDeviceID, len(st.Gateways)),
		hosts:   make(map[netip.Addr]model.HostName),
		members: make(map[model.NetworkKey][]member),
		hearers: make(map[model.NetworkKey][]member),
		afar:    make(map[model.NetworkKey]map[hoststate.HostPairKey]hoststate.HostPair),

		stationsAt: make(map[model.NetworkKey]model.HostName),
	}
	for k, port := range st.Ports {
		if _, ok := p.link(port); !ok {
			continue
		}
		p.ifaces[port.Interface] = k
		if len(port.Pairs) > 0 {
			p.paired[port.Network] = append(p.paired[port.Network], k)
		}
		if port.Drop == reason.None {
			p.floods[port.Network] = append(p.floods[port.Network], port.Interface)
		}
	}
	for _, f := range p.floods {
		slices.Sort(f)
	}
	for k, v := range st.VLANs {
		if _, ok := p.trunk(k); ok {
			p.vlans[v.Network] = append(p.vlans[v.Network], k)
		}
	}
	for _, f := range p.vlans {
		slices.SortFunc(f, hoststate.VLANKey.Compare)
	}
	for _, f := range p.paired {
		slices.Sort(f)
	}
	for k, r := range st.Routes {
		t := p.routes[k.Router]
		if t == nil {
			t = new(bart.Table[matched])
			p.routes[k.Router] = t
		}
		t.Insert(k.Prefix, matched{prefix: k.Prefix, route: r})
	}
	for id, g := range st.Gateways {
		p.tunnels[g.TunnelIP] = id
	}
	p.indexFabric()
	return p
}

// Quiet is the same pipeline without words: its Results have no Hops.
func (p *Pipeline) Quiet() *Pipeline {
	q := *p
	q.quiet = true
	return &q
}

// WithDeadAgent is the same pipeline on a host whose agent vouches for nothing any more.
func (p *Pipeline) WithDeadAgent() *Pipeline {
	q := *p
	q.env.AgentDead = true
	return &q
}

// link is the interface of a port; false: it is not there.
func (p *Pipeline) link(port hoststate.Port) (Link, bool) {
	if p.env.Links == nil {
		return Link{}, true
	}
	l, ok := p.env.Links[port.Interface]
	return l, ok
}

// fdbEntry is a row of the FDB entries table, as the host makes it of the state.
type fdbEntry struct {
	hoststate.FDBEntry
	iface string
	peer  bool
	mtu   int
	table uint32
	// kernel: by the kernel's output, always
	kernel bool
	vlan   hoststate.VLANKey // of kind fdbVLAN
	// Of kind fdbHost: Addr and TunnelIP are the two ends of the fabric, remote says that the host serves the gateway
	// device that leads there.
	host   model.HostName
	port   uint16 // UDP
	remote bool
}

// The kinds that no row of the state has.
const (
	fdbVLAN = hoststate.FDBDrop + 1 // what is learned of a VLAN
	fdbHost = hoststate.FDBDrop + 2 // what another host has
)

// fdbEntry is where frames for a MAC go, as far as that is known.
func (p *Pipeline) fdbEntry(net model.NetworkKey, mac model.MAC) (fdbEntry, bool) {
	if e, ok := p.fixedEntry(net, mac); ok {
		return e, true
	}
	return p.learnedEntry(net, mac)
}

// fixedEntry is what the state says.
func (p *Pipeline) fixedEntry(net model.NetworkKey, mac model.MAC) (fdbEntry, bool) {
	row, ok := p.st.FDB[hoststate.FDBKey{Network: net, MAC: mac}]
	if row.Also != "" && (row.Kind == hoststate.FDBPort || row.Kind == hoststate.FDBRemote) {
		to, _ := p.moving(net, row)
		return to, true
	}
	return p.place(net, row), ok
}

// place is the entry for a row that lies in one place.
func (p *Pipeline) place(net model.NetworkKey, row hoststate.FDBEntry) fdbEntry {
	e := fdbEntry{FDBEntry: row}
	switch {
	case p.elsewhere(row):
		return p.hostEntry(net, row)
	case row.Kind == hoststate.FDBPort:
		port, known := p.st.Ports[row.Port]
		l, there := p.link(port)
		if !known || !there {
			e.FDBEntry = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Port: row.Port, Drop: reason.DestinationUnbound}
			return e
		}
		e.iface, e.peer, e.mtu = port.Interface, l.PeerElsewhere, l.MTU
		if l.MTU <= 0 {
			e.mtu = p.st.Networks[net].MTU
		}
	case row.Kind == hoststate.FDBRemote && !p.st.Here(row):
		e.FDBEntry = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Addr: row.Addr, Drop: reason.ConnectionMissing}
	case row.Kind == hoststate.FDBRemote:
		way := p.env.Ways[VTEP{Local: row.TunnelIP, Remote: row.Addr}]
		if way.Drop != reason.None {
			e.FDBEntry = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Addr: row.Addr, Drop: way.Drop}
			return e
		}
		e.kernel = way.Kernel
		e.table = hostenv.MainTable
		if t, ok := p.env.Tables[row.Gateway]; ok {
			e.table = t
		}
		e.mtu = 1500
		if m, ok := p.env.PathMTU[row.Addr]; ok {
			e.mtu = m
		}
		e.mtu = max(0, e.mtu-packet.OverheadTo(row.Addr))
	}
	return e
}

func (p *Pipeline) route(router model.RouterKey, dst netip.Addr) (matched, bool) {
	t := p.routes[router]
	if t == nil {
		return matched{}, false
	}
	return t.Lookup(dst)
}

// connections are the VNIs that lead into net, in a fixed order.
func (p *Pipeline) connections(net model.NetworkKey) []hoststate.VNIKey {
	var out []hoststate.VNIKey
	for k, n := range p.st.VNIs {
		if n == net {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b hoststate.VNIKey) int {
		return cmp.Or(a.TunnelIP.Compare(b.TunnelIP), cmp.Compare(a.VNI, b.VNI))
	})
	return out
}

// run is one frame on its way.
type run struct {
	p     *Pipeline
	res   Result
	frame []byte // a copy of its own
	gso   int
	rigid bool
	// trusted: the slow path's own packet, which is taken for IPv4 whatever its
	// version says.
	trusted bool

	paired netip.Addr // the IPv4 source where a pair of the port allows it

	// flow: it may be remembered where the packet goes.
	flow bool

	// stays: it came in outer headers that may be written anew where they are, once it is known where it goes.
	// routed: a router has had it.
	stays, routed bool

	// learned: something was learned of its sender.
	learned bool

	// heard: ARP from a sender that a pair allows, who was learned from it.
	heard bool

	net    model.NetworkKey  // the network it is in
	source Source            // where it came from
	from   string            // SourceWorkload: the interface
	vlan   hoststate.VLANKey // SourceVLAN: which
	host   model.HostName    // SourceFabric: which
}

func (p *Pipeline) start(f Frame, from Source) *run {
	return &run{p: p, source: from, frame: slices.Clone(f.Data), gso: f.GSOSize, rigid: f.Rigid, res: Result{Mark: f.Mark}}
}

// mark notes a branch for coverage.
func (r *run) mark(branch string) { r.res.Path = append(r.res.Path, branch) }

// count adds the frame as it is now to the counter of a port, or of a tunnel where
// port is 0.
func (r *run) count(port model.PortKey, tunnel TunnelKey, sent bool) {
	r.res.Counts = append(r.res.Counts, Count{port, tunnel, hoststate.VLANKey{}, sent, len(r.frame)})
}

// end is a verdict with the frame as it is now.
func (r *run) end(v Verdict) Result {
	r.res.Verdict, r.res.Output = v, r.frame
	r.mark(v.String())
	return r.res
}
