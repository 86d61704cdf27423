// Package hoststate says what one host must know to forward: a flat set of small
// tables, computed from the site's resources by a pure function. The agent writes
// the tables into the BPF maps almost row by row, and package trace walks the same
// tables, so that what is explained is what is done.
//
// A row never refers to an interface by index or to the kernel in any other way;
// names are resolved on the host.
package hoststate

import (
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// State is everything one host needs. The zero value is an empty host.
// States are compared and streamed by row; rows never change, and may be shared. No row depends on the host: which are
// its own, and whether what they lead to is on it, follows from what rows there are (State.Here).
type State struct {
	Ports     map[model.PortKey]Port
	Networks  map[model.NetworkKey]Network
	Routers   map[model.RouterKey]Router
	FDB       map[FDBKey]FDBEntry
	Neighbors map[NeighborKey]model.MAC
	Routes    map[RouteKey]Route
	Hops      map[RouteKey][]Hop
	VNIs      map[VNIKey]model.NetworkKey
	Peers     map[PeerKey]Peer
	Gateways  map[model.GatewayDeviceID]Gateway
	VLANs     map[VLANKey]VLAN
	Hosts     map[model.HostName]Host
	Members   map[MemberKey]Member
	Speakers  map[SpeakerKey]Speaker
	HostPairs map[HostPairKey]HostPair
}

// Port is a port bound to an interface of this host.
type Port struct {
	ID           model.PortID
	Project      model.ProjectID // whose budget its rows count against
	Network      model.NetworkKey
	Interface    string // name of the host-side interface
	MAC          model.MAC
	Addrs        []netip.Addr // the addresses it may send from, in order
	PortSecurity bool         // check source MAC, IP and ARP against MAC and Addrs
	// Pairs are further senders that PortSecurity lets pass, in order; empty without
	// it. Who holds such an address is learned on the host.
	Pairs []Pair
	// Drop, when not None, is why every frame from this port is dropped
	// (PortAdminDown, NetworkAdminDown).
	Drop reason.Reason
}

// Pair allows addresses to be sent from with a MAC.
type Pair struct {
	MAC    model.MAC
	Prefix netip.Prefix // masked
}

// Network carries the names for people and what flooding needs to know. The
// ports that take flooded frames are the rows of Ports on this network whose
// Drop is None.
type Network struct {
	ID      model.NetworkID
	Name    string
	Project model.ProjectID
	MTU     int // bytes of an IP packet
}

// Router carries the names for people.
type Router struct {
	ID      model.RouterID
	Name    string
	Project model.ProjectID
}

// FDBKey is the key of the MAC table.
type FDBKey struct {
	Network model.NetworkKey
	MAC     model.MAC
}

// FDBKind says what takes frames for a MAC.
type FDBKind uint8

const (
	FDBPort   FDBKind = iota + 1 // a port of a host of the site
	FDBRouter                    // a router's interface
	FDBRemote                    // a VTEP at another site
	FDBDrop                      // known, and not reachable: see Drop
)

// FDBEntry is where frames for a MAC of a network go. Which fields count depends
// on Kind; the others are zero.
type FDBEntry struct {
	Kind   FDBKind
	Port   model.PortKey   // FDBPort
	Router model.RouterKey // FDBRouter
	// Addr is the router's address on this network, the source of its ICMP
	// errors for packets that came in here (FDBRouter), or the VTEP's
	// address (FDBRemote).
	Addr     netip.Addr
	TunnelIP netip.Addr            // FDBRemote: our side
	VNI      model.VNI             // FDBRemote
	Gateway  model.GatewayDeviceID // FDBRemote
	Drop     reason.Reason         // FDBDrop
	// Project is whose it is, where that is not the network's: a port of a shared network.
	Project model.ProjectID
	// Host is where the port is (FDBPort), or who serves the gateway device (FDBRemote).
	Host model.HostName
	// Also is another host that has it too, while it moves from one to the other (FDBPort, FDBRemote): frames go to
	// Host, and are taken from both.
	Also model.HostName
	// Domain is the domain of the router (FDBRouter): the key of one of the overlay networks that hang together with it by
	// router interfaces. A controller of an older release names it by the least key of the routers.
	Domain model.NetworkKey
}

// Here tells whether what an entry leads to is on the host whose State it is: the port, or
// the gateway device. What is elsewhere cannot be reached.
func (s *State) Here(e FDBEntry) bool {
	switch e.Kind {
	case FDBPort:
		_, ok := s.Ports[e.Port]
		return ok
	case FDBRemote:
		_, ok := s.Gateways[e.Gateway]
		return ok
	}
	return true
}

// NeighborKey is the key of the ARP table: which MAC has this address. The answer
// to an ARP request for IP in Network, and the next hop's MAC for routers.
type NeighborKey struct {
	Network model.NetworkKey
	IP      netip.Addr
}

// RouteKey is a router's prefix; lookups take the longest.
type RouteKey struct {
	Router model.RouterKey
	Prefix netip.Prefix // masked
}

// RouteKind says what a route does.
type RouteKind uint8

const (
	RouteConnected RouteKind = iota + 1 // the next hop is the destination itself
	RouteVia                            // the next hop is NextHop
	RouteLocal                          // the destination is the router itself
	RouteDrop                           // the way is known to be shut: see Drop
)

// Route leads out of a router. RouteLocal and RouteDrop use no other field than
// Kind and Drop.
type Route struct {
	Kind    RouteKind
	Network model.NetworkKey // the network it leads out to
	NextHop netip.Addr       // RouteVia
	MAC     model.MAC        // of the router's interface on Network: the source
	Drop    reason.Reason    // RouteDrop
}

// Hop is one of several next hops of a destination, in order of address. Its route has
// the first of them, which is the way where nothing is known of the others.
type Hop struct {
	Network model.NetworkKey // the network it is on
	NextHop netip.Addr
	MAC     model.MAC // of the router's interface on Network: the source
}

// VNIKey names a VNI on a tunnel IP.
type VNIKey struct {
	TunnelIP netip.Addr
	VNI      model.VNI
}

// PeerKey names who may send on a VNI: Remote is the outer source.
type PeerKey struct {
	TunnelIP netip.Addr
	Remote   netip.Addr
	VNI      model.VNI
}

// Peer is where such packets go.
type Peer struct {
	Network model.NetworkKey
	Gateway model.GatewayDeviceID
	// Drop, when not None, is why nothing is accepted from it now
	// (NetworkAdminDown, RouterAdminDown).
	Drop reason.Reason
}

// VLANKey names a VLAN on an interface of this host.
type VLANKey struct {
	Interface string
	ID        uint16 // 1 to model.MaxVLAN
}

// VLAN puts a network on a VLAN: frames with the tag come in on the network, and its
// frames leave with it.
type VLAN struct {
	Network model.NetworkKey
	Gateway model.GatewayDeviceID
	Port    model.PortID // of the uplink network, bound to the interface
	// Prefixes are the network's subnets, in order: who has an address of theirs
	// that no port has may be on the VLAN.
	Prefixes []netip.Prefix
	// Drop, when not None, is why nothing comes in or leaves (PortAdminDown of the
	// interface's port, NetworkAdminDown).
	Drop reason.Reason
}

// Host is a host of the site that is on the fabric.
type Host struct {
	Addr netip.Addr // on the fabric
	Port uint16     // UDP
	MTU  int        // bytes of the largest IP packet of its underlay on the fabric; 0: unknown
}

// MemberKey names a host that takes frames of a network.
type MemberKey struct {
	Network model.NetworkKey
	Host    model.HostName
}

// Member says that the host has a port that is bound and not down on the network: flooded
// frames go to it.
type Member struct{}

// SpeakerKey names a host that may send frames from the MACs of a domain's routers.
type SpeakerKey struct {
	Domain model.NetworkKey
	Host   model.HostName
}

// Speaker says that packets may enter the domain at the host: it has a bound port, a VLAN or a gateway
// device on a network of it.
type Speaker struct{}

// HostPairKey names what a port of a host may send from that is not its own: an address of Prefix with MAC, or
// where Prefix is the zero Prefix the MAC itself.
type HostPairKey struct {
	Network model.NetworkKey
	Host    model.HostName
	MAC     model.MAC
	Prefix  netip.Prefix // masked
}

// Stations tells whether a row is not of a port but of who is on a host's VLAN of the network, whom no row names.
func (k HostPairKey) Stations() bool { return k.MAC.IsZero() }

// StationsKey is the row that says that a host has a VLAN of a network. Its Port is StationsPort where the host serves those that have
// none: they send it what is for stations, and learn of them what comes from it. It then has rows for the network's subnets too, and the
// FDB entry of MAC 0 names the host.
func StationsKey(net model.NetworkKey, host model.HostName) HostPairKey {
	return HostPairKey{Network: net, Host: host}
}

// StationsPort stands for all who are on a network's VLANs where else there is a port's key. It is none.
func StationsPort(net model.NetworkKey) model.PortKey { return 1<<31 | model.PortKey(net) }

// HostPair says who may: a bound port of the host by an allowed address pair. Other hosts learn from the
// host's announcements that the port has such an address or MAC. Of several ports it is the one with the least id.
type HostPair struct {
	// Port is 0 where the port has no port security: it may send from any address, and nothing is learned of that.
	Port model.PortKey
	MAC  model.MAC // the port's own
}

// GobEncode encodes no bytes: gob takes no struct without fields by itself.
func (Member) GobEncode() ([]byte, error) { return nil, nil }

// GobDecode reads nothing.
func (*Member) GobDecode([]byte) error { return nil }

// GobEncode encodes no bytes, as Member's.
func (Speaker) GobEncode() ([]byte, error) { return nil, nil }

// GobDecode reads nothing.
func (*Speaker) GobDecode([]byte) error { return nil }

// Gateway is a gateway device that this host serves.
type Gateway struct {
	TunnelIP netip.Addr
	Epoch    uint64
	Router   model.RouterKey // the VTEP router
	// Uplinks is empty where the host routes its own underlay: then the outer
	// packets go by the host's main table. Otherwise the VTEP router is the edge
	// router, and they go by a table of its own that Uplinks and Routes fill.
	Uplinks []Uplink
	Routes  []UnderlayRoute
}

// Uplink is an interface of this host that a VTEP router has as its port.
type Uplink struct {
	Port      model.PortID
	Interface string
	MAC       model.MAC    // of the Neutron port; informative, the interface keeps its own
	Addr      netip.Prefix // the port's address with its subnet's length
	Down      bool         // admin_state_up is false on port, network or router
}

// UnderlayRoute is a route of the VTEP router.
type UnderlayRoute struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
}
