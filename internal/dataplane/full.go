package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// errFull is what a row that finds no room comes to.
var errFull = errors.New("row left out")

// Full says that a map had no room for some rows. All others were written.
type Full struct {
	Map   string
	Limit uint32 // rows that the map takes
	Kept  int    // how many of them are kept
	For   string // for these rows
	Rows  int    // rows left out
	Lacking
	forPort error
}

// Lacking is who lacks rows.
type Lacking struct {
	Ports map[model.PortKey]error // bound to this host
	// Others have no interface here: routers' ports, remote-site ports, ports that are not
	// bound, by the network and the MAC.
	Others map[hoststate.FDBKey]error
	// Uplinks are the ports by which the host is on its VLANs.
	Uplinks map[model.PortID]error
}

func newLacking() Lacking {
	return Lacking{map[model.PortKey]error{}, map[hoststate.FDBKey]error{}, map[model.PortID]error{}}
}

func (f *Full) Error() string {
	return fmt.Sprintf("%s, and %d more were left out", f.words(), f.Rows)
}

func (f *Full) words() string {
	s := fmt.Sprintf("map %s is full: it takes %d rows", f.Map, f.Limit)
	if f.Kept > 0 {
		s += fmt.Sprintf(" (%d of them only %s)", f.Kept, f.For)
	}
	return s
}

func (f *Full) Unwrap() error { return errFull }

// tell makes f complete: what is said of one port are words that stay the same while
// others come and go.
func (f *Full) tell() *Full {
	f.Lacking = newLacking()
	f.forPort = errors.New(f.words() + ", and none was free for rows of this port")
	return f
}

// LeftOut tells of an error of Sync or Update whether it comes of nothing but full
// maps, and then who lacks a row, each with the reason.
func LeftOut(err error) (lacking Lacking, only bool) {
	lacking = newLacking()
	only = err != nil
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case *Full:
			joinAll(lacking.Ports, e.Ports)
			joinAll(lacking.Others, e.Others)
			joinAll(lacking.Uplinks, e.Uplinks)
		case interface{ Unwrap() []error }:
			for _, e := range e.Unwrap() {
				walk(e)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		default:
			only = false
		}
	}
	walk(err)
	return lacking, only
}

func joinAll[K comparable](to, from map[K]error) {
	for k, e := range from {
		to[k] = errors.Join(to[k], e)
	}
}

// leftOut tells of all rows that wait. Others are there because of them: each is told
// whom it concerns.
func (t *tables) leftOut(tr translator) error {
	w := &concerned{t: t, tr: tr}
	var errs []error
	for _, x := range t.all {
		if f := x.leftOut(w); f != nil {
			errs = append(errs, f)
		}
	}
	for _, net := range slices.Sorted(maps.Keys(t.crowded)) {
		f := (&Full{Map: bpfMapFloods + " of one network", Limit: floodMax, Rows: len(t.crowded[net])}).tell()
		for _, row := range t.crowded[net] {
			w.flood(f, bpfFloodKey{Net: uint32(net)}, row)
		}
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// waits tells whether a row of any table has no room.
func (t *tables) waits() bool {
	return len(t.crowded) > 0 || slices.ContainsFunc(t.all, func(x mapTable) bool { return x.use().waiting > 0 })
}

// concerned finds the ports that rows serve. What it looks up in the state it looks up
// once.
type concerned struct {
	t  *tables
	tr translator

	interfaces map[uint32]model.PortKey         // by index
	pairs      map[bpfPairKey][]model.PortKey   // of rows of kind pairNet
	legs       map[routerAddr]hoststate.FDBKey  // routers' addresses
	remotes    map[tunnelKey][]hoststate.FDBKey // what is behind a VTEP
	tunnels    map[bpfAddr][]hoststate.FDBKey   // what goes by a tunnel IP
	uplinks    map[bpfVlanKey]model.PortID      // of VLANs
	pairOwners map[bpfPairKey][]owner           // of rows of kind pairNet
	vteps      map[bpfVtepKey][]owner
	gateways   map[bpfAddr][]owner
	onNetwork  map[uint32][]model.PortKey // by network
	noCopies   map[copiesOf]bool          // whose ports have been told
}

// copiesOf are the rows of one network that are left out of floods.
type copiesOf struct {
	f   *Full
	net uint32
}

type routerAddr struct {
	router uint32
	addr   bpfAddr
}

func (c *concerned) add(f *Full, k model.PortKey) {
	if k != 0 {
		f.Ports[k] = f.forPort
	}
}

func (c *concerned) addAt(f *Full, k hoststate.FDBKey) {
	e := c.tr.st.FDB[k]
	switch {
	case !c.tr.st.Here(e):
		return // what is elsewhere lacks nothing here
	case e.Kind == hoststate.FDBPort:
		c.add(f, e.Port)
		return
	case e.Drop == reason.DestinationUnbound:
		return // it is DOWN, and lacks no more than that
	}
	f.Others[k] = f.forPort
}

func at(net uint32, mac [6]uint8) hoststate.FDBKey {
	return hoststate.FDBKey{Network: model.NetworkKey(net), MAC: mac}
}

func (c *concerned) port(f *Full, _ uint32, v bpfPort) { c.add(f, model.PortKey(v.Port)) }

func (c *concerned) portAddr(f *Full, k bpfPortAddrKey, _ uint32) { c.add(f, model.PortKey(k.Port)) }

func (c *concerned) pair(f *Full, k bpfPairKey, _ uint32) {
	if k.Kind != pairNet {
		c.add(f, model.PortKey(bigEndian(k.Id)))
		return
	}
	if c.pairs == nil {
		c.pairs = map[bpfPairKey][]model.PortKey{}
		for p := range c.tr.st.Ports {
			for _, a := range c.tr.pairs(p) {
				if a.Kind == pairNet {
					c.pairs[a] = append(c.pairs[a], p)
				}
			}
		}
	}
	for _, p := range c.pairs[k] {
		c.add(f, p)
	}
}

func (c *concerned) fdbEntry(f *Full, k bpfFdbKey, _ bpfFdbEntry) { c.addAt(f, at(k.Net, k.Mac)) }

func (c *concerned) neighbor(f *Full, k bpfNeighborKey, v bpfNeighbor) { c.addAt(f, at(k.Net, v.Mac)) }

// route concerns the router's port that it leads out by, and one of its own addresses the
// port that has it.
func (c *concerned) route(f *Full, k bpfRouteKey, v bpfRoute) {
	switch v.Kind {
	case routeConnected, routeVia:
		c.addAt(f, at(v.Net, v.Mac))
		return
	}
	if c.legs == nil {
		c.legs = map[routerAddr]hoststate.FDBKey{}
		for ek, e := range c.tr.st.FDB {
			if e.Kind == hoststate.FDBRouter {
				c.legs[routerAddr{uint32(e.Router), addrRow(e.Addr)}] = ek
			}
		}
	}
	if ek, ok := c.legs[routerAddr{bigEndian(k.Router), k.Addr}]; ok {
		c.addAt(f, ek)
	}
}

// hop concerns who the destination's route does: its flows go by one next hop alone.
func (c *concerned) hop(f *Full, k bpfRouteKey, _ bpfNextHops) { c.route(f, k, c.t.routes.row(k)) }

func (c *concerned) remote() {
	if c.remotes != nil {
		return
	}
	c.remotes, c.tunnels = map[tunnelKey][]hoststate.FDBKey{}, map[bpfAddr][]hoststate.FDBKey{}
	for ek, e := range c.tr.st.FDB {
		if e.Kind == hoststate.FDBRemote && c.tr.st.Here(e) {
			k := tunnelKey{e.TunnelIP, e.Addr, e.VNI}
			c.remotes[k] = append(c.remotes[k], ek)
			local := addrRow(e.TunnelIP)
			c.tunnels[local] = append(c.tunnels[local], ek)
		}
	}
}

func (c *concerned) peer(f *Full, k bpfPeerKey, _ bpfPeer) {
	c.remote()
	for _, ek := range c.remotes[tunnelOfPeer(k)] {
		c.addAt(f, ek)
	}
}

func (c *concerned) vtep(f *Full, k bpfVtepKey, _ bpfVtep) {
	c.remote()
	for _, ek := range c.tunnels[k.Local] {
		if addrRow(c.tr.st.FDB[ek].Addr) == k.Remote {
			c.addAt(f, ek)
		}
	}
}

func (c *concerned) tunnelIP(f *Full, k bpfAddr, _ bpfTunnelIp) {
	c.remote()
	for _, ek := range c.tunnels[k] {
		c.addAt(f, ek)
	}
}

func (c *concerned) vlan(f *Full, k bpfVlanKey, _ bpfFdbEntry) {
	if c.uplinks == nil {
		c.uplinks = map[bpfVlanKey]model.PortID{}
		for v, row := range c.tr.st.VLANs {
			if l, ok := c.tr.env.Trunks[v.Interface]; ok {
				c.uplinks[bpfVlanKey{Ifindex: uint32(l.Index), Vlan: uint32(v.ID)}] = row.Port
			}
		}
	}
	if id, ok := c.uplinks[k]; ok {
		f.Uplinks[id] = f.forPort
	}
}

func (c *concerned) flood(f *Full, k bpfFloodKey, v bpfFlood) {
	if v.Vlan != 0 {
		c.vlan(f, bpfVlanKey{Ifindex: v.Ifindex, Vlan: v.Vlan}, bpfFdbEntry{})
		return
	}
	if v.Addr != (bpfAddr{}) {
		c.noCopy(f, k.Net&^floodHeard)
		return
	}
	if c.interfaces == nil {
		c.interfaces = make(map[uint32]model.PortKey, len(c.tr.st.Ports))
		for p := range c.tr.st.Ports {
			if l, ok := c.tr.link(p); ok {
				c.interfaces[uint32(l.Index)] = p
			}
		}
	}
	c.add(f, c.interfaces[v.Ifindex])
}

// noCopy concerns all ports of a network: their broadcasts do not get to another host. It is the same
// for each host.
func (c *concerned) noCopy(f *Full, net uint32) {
	if c.noCopies[copiesOf{f, net}] {
		return
	}
	if c.onNetwork == nil {
		c.onNetwork, c.noCopies = map[uint32][]model.PortKey{}, map[copiesOf]bool{}
		for p, row := range c.tr.st.Ports {
			c.onNetwork[uint32(row.Network)] = append(c.onNetwork[uint32(row.Network)], p)
		}
	}
	c.noCopies[copiesOf{f, net}] = true
	for _, p := range c.onNetwork[net] {
		c.add(f, p)
	}
}
