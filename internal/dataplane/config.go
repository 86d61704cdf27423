package dataplane

import (
	"io"
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

// Config is what a Dataplane is opened with. The zero value of each field but
// PinDir means its default.
type Config struct {
	// PinDir is a directory on a bpf filesystem, one's own. Open makes it, and
	// mounts a bpf filesystem where there is none.
	PinDir string
	// HashKey keys the outer UDP source port. 0: a random one, kept with the maps.
	HashKey uint64
	// ICMPRate is how many ICMP errors a second each router may have made;
	// 0: no limit. ICMPBurst is how many at once.
	ICMPRate, ICMPBurst uint32
	// LearnHold is for how long after the holder of a learned address last spoke nothing
	// but ARP gives it to another port; LearnAge, for how long the holder is known.
	LearnHold, LearnAge time.Duration
	// Limits bounds the maps. Other limits than those of the pinned maps make
	// new maps, as another layout does.
	Limits Limits
	// Record has the programs note each packet's verdict, and send no copies of
	// flooded frames, for TestRun.
	Record bool
	// Object is read instead of the built-in programs, which it must have the
	// maps of: a compiled bpf/causeway.c. For tests of the tests.
	Object io.ReaderAt
}

// Limits are the numbers of entries that maps take. 0 is the default.
type Limits struct {
	Ports     uint32
	PortAddrs uint32 // addresses beyond the first of each port
	Pairs     uint32 // three for each allowed address pair
	Learned   uint32 // addresses and MACs that pairs allow, once they were seen
	Endpoints uint32
	Neighbors uint32
	Routes    uint32
	TunnelIPs uint32
	VNIs      uint32
	VLANs     uint32
	Peers     uint32
	Floods    uint32 // ports that take flooded frames
	Counters  uint32 // ports and (tunnel IP, VNI, remote VTEP) together
	Routers   uint32 // routers with an allowance for ICMP errors
}

// WithDefaults has the defaults in place of zeros.
func (l Limits) WithDefaults() Limits {
	def := func(n *uint32, d uint32) {
		if *n == 0 {
			*n = d
		}
	}
	def(&l.Ports, 4096)
	def(&l.PortAddrs, 16384)
	def(&l.Pairs, 16384)
	def(&l.Learned, 16384)
	def(&l.Endpoints, 65536)
	def(&l.Neighbors, 65536)
	def(&l.Routes, 65536)
	def(&l.TunnelIPs, 1024)
	def(&l.VNIs, 16384)
	def(&l.VLANs, 4096)
	def(&l.Peers, 65536)
	def(&l.Floods, 8192)
	def(&l.Counters, 16384)
	def(&l.Routers, 4096)
	return l
}

// entries is max_entries by map name. Maps that are missing have a fixed size.
func (l Limits) entries() map[string]uint32 {
	l = l.WithDefaults()
	n := map[string]uint32{
		bpfMapPorts:       l.Ports,
		bpfMapPortAddrs:   l.PortAddrs,
		bpfMapPairs:       l.Pairs,
		bpfMapSenders:     l.Learned,
		bpfMapLearners:    l.Ports,
		bpfMapEndpoints:   l.Endpoints,
		bpfMapNeighbors:   l.Neighbors,
		bpfMapRoutes:      l.Routes,
		bpfMapTunnelIps:   l.TunnelIPs,
		bpfMapVnis:        l.VNIs,
		bpfMapVlans:       l.VLANs,
		bpfMapPeers:       l.Peers,
		bpfMapFloods:      l.Floods,
		bpfMapCounters:    l.Counters,
		bpfMapIcmpBuckets: l.Routers,
	}
	for name := range spared {
		n[name] += maxSpares
	}
	return n
}

// MainTable is the kernel's main routing table (RT_TABLE_MAIN).
const MainTable = 254

// overhead is what the tunnel adds to a packet: IPv4, UDP and VXLAN headers and
// the inner Ethernet header, bytes.
const overhead = 50

// Env is what the kernel says about the names in a State.
type Env struct {
	// Links are the workload interfaces that are there, by name. Endpoints of
	// one that is missing drop with destination_unbound.
	Links map[string]Link
	// Trunks are the uplink interfaces of VLANs that are there, by name. MTU is that of
	// an IP packet behind the tag.
	Trunks map[string]Link
	// Tables is the kernel routing table for each gateway device's outer
	// packets; missing: MainTable.
	Tables map[model.GatewayDeviceID]uint32
	// PathMTU is the largest outer IP packet towards a VTEP, bytes; missing:
	// 1500.
	PathMTU map[netip.Addr]int
	// VXLANIndex is the collect-metadata vxlan device, whose IPv4 forwarding
	// switch must be on; SlowIndex the slow path's tap device.
	VXLANIndex, SlowIndex int
}

// Link is a workload's host-side interface.
type Link struct {
	Index int
	// PeerElsewhere: a veth whose peer is in another network namespace.
	PeerElsewhere bool
	MTU           int // bytes of an IP packet; 0: the network's
}
