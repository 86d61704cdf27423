// Package maplimit says how many rows the maps of an agent take, and by which settings.
package maplimit

// Limits are the numbers of entries that maps take. 0 is the default.
type Limits struct {
	Ports     uint32
	PortAddrs uint32 // addresses beyond the first of each port
	Pairs     uint32 // three for each allowed address pair
	Learned   uint32 // addresses and MACs that pairs allow, once they were seen
	FDB       uint32
	Neighbors uint32
	Routes    uint32
	Hops      uint32 // destinations with several next hops
	TunnelIPs uint32
	VNIs      uint32
	VLANs     uint32
	Peers     uint32
	Floods    uint32 // ports, VLANs and other hosts that take flooded frames
	Counters  uint32 // ports and (tunnel IP, VNI, remote VTEP) together
	Routers   uint32 // routers with an allowance of the slow path's work
	// Of the fabric between the site's hosts.
	FabricHosts uint32 // other hosts
	Speakers    uint32 // hosts that may send for routers, for each domain
	HostPairs   uint32 // two for each allowed address pair of ports of other hosts
}

// Most is the most that one map may have: beyond it the kernel refuses some kinds.
const Most = 1 << 24

// Each goes through the limits with their flags, defaults, the maps that they are named
// after, and what these count.
func (l *Limits) Each(fn func(value *uint32, flag string, def uint32, of, counts string)) {
	fn(&l.Ports, "max-ports", 4096, "ports", "bound ports on this host")
	fn(&l.PortAddrs, "max-port-addresses", 16384, "port_addrs", "addresses beyond the first of each bound port")
	fn(&l.Pairs, "max-address-pairs", 16384, "pairs", "allowed address pairs of bound ports, up to three rows each")
	fn(&l.Learned, "max-learned", 65536, "learned", "addresses and MAC addresses seen of allowed address pairs")
	fn(&l.FDB, "max-endpoints", 65536, "fdb", "MAC addresses of ports, router ports and remote MAC entries")
	fn(&l.Neighbors, "max-neighbors", 65536, "neighbors", "IP addresses of ports and router ports")
	fn(&l.Routes, "max-routes", 65536, "routes", "routes of all routers together")
	fn(&l.Hops, "max-hops", 4096, "hops", "routes with several next hops, of all routers together")
	fn(&l.Routers, "max-routers", 4096, "icmp_buckets", "routers that make ICMP errors; one beyond them makes none, and neither asks for neighbors nor hears of its probes")
	fn(&l.TunnelIPs, "max-tunnel-ips", 1024, "tunnel_ips", "tunnel IPs of this host")
	fn(&l.VNIs, "max-vnis", 16384, "vnis", "connected VNIs of all tunnel IPs together")
	fn(&l.VLANs, "max-vlans", 4096, "vlans", "networks on VLANs of this host's interfaces")
	fn(&l.Peers, "max-peers", 65536, "peers", "remote VTEPs of all VNIs together")
	fn(&l.Floods, "max-floods", 65536, "floods", "ports, VLANs and other hosts that get broadcasts and frames to unknown MAC addresses, network by network")
	fn(&l.FabricHosts, "max-fabric-hosts", 2048, "fabric_hosts", "other hosts of the site on the fabric")
	fn(&l.Speakers, "max-speakers", 65536, "speakers", "other hosts that may send for routers: each once for each domain of routers that hang together")
	fn(&l.HostPairs, "max-host-pairs", 65536, "host_pairs", "allowed address pairs of ports of other hosts, up to two rows each; ports without port security have one; and which of them have a network's VLAN")
	fn(&l.Counters, "max-counters", 16384, "counters", "ports and remote VTEPs (of each VNI) that are counted apart; the first row is for all others")
}

// WithDefaults has the defaults in place of zeros.
func (l Limits) WithDefaults() Limits {
	l.Each(func(value *uint32, _ string, def uint32, _, _ string) {
		if *value == 0 {
			*value = def
		}
	})
	return l
}
