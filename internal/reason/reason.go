// Package reason is the one list of why a packet is dropped. The C programs, the
// pure pipeline, the metrics and the words of "causeway trace" all take it from
// here; bpf/reasons.h is generated from it (go generate).
package reason

//go:generate go run ./gen -o ../dataplane/bpf/reasons.h

import "fmt"

// Reason is why a packet was dropped. The numbers are the ABI of the drop
// counters in the pinned maps: append only.
type Reason uint8

const (
	None Reason = iota
	PortUnbound
	PortAdminDown
	NetworkAdminDown
	RouterAdminDown
	FrameMalformed
	VLANTagged
	SpoofMAC
	SpoofIP
	SpoofARP
	Hairpin
	L2Unknown
	DestinationUnbound
	RemoteMACMissing
	ConnectionMissing
	TunnelHairpin
	MTUExceeded
	IPMalformed
	IPOptions
	Martian
	RouterNotIP
	NoRoute
	NeighborUnknown
	TTLExceeded
	ToRouter
	FragmentationNeeded
	RouterLoop
	TunnelIPUnknown
	VNIUnknown
	VTEPUnknown
	VTEPSourceMAC
	VXLANMalformed
	VXLANFlags
	ECNCongestion
	UnderlayNoRoute
	SlowPathLimited
	Internal
	NeighborResolving
	ARPToRouter
	LearnLimited
	LinkLocal
	RouterAdvertisement
	DHCPAnswer
	EtherType
	NotUnderlay
	VTEPInterface
	UnderlayPolicy
	FloodLimited
	PathError
	HostUnreachable
	FabricHostUnknown
	FabricSourceMAC
	FabricHairpin
	FabricSourceIP
	AgentDead
	// Count is one more than the last reason.
	Count
)

// Info describes a reason: Name for metrics and C, Text for people. Text says
// what was found, not what to do; trace adds the names of the things concerned.
type Info struct {
	Name string
	Text string
}

var infos = [Count]Info{
	None:                {"none", "not dropped"},
	PortUnbound:         {"port_unbound", "the interface has no port: it is not bound, or not bound yet"},
	PortAdminDown:       {"port_admin_down", "the port's admin_state_up is false"},
	NetworkAdminDown:    {"network_admin_down", "the network's admin_state_up is false"},
	RouterAdminDown:     {"router_admin_down", "the router's admin_state_up is false"},
	FrameMalformed:      {"frame_malformed", "the frame is cut short or its lengths contradict each other"},
	VLANTagged:          {"vlan_tagged", "the frame carries a VLAN tag"},
	SpoofMAC:            {"spoof_mac", "port security: the source MAC is not the port's"},
	SpoofIP:             {"spoof_ip", "port security: the source IP address is not the port's"},
	SpoofARP:            {"spoof_arp", "port security: the ARP sender is not the port"},
	Hairpin:             {"hairpin", "the frame would leave by the port it came from"},
	L2Unknown:           {"l2_unknown", "no port of the network on this host takes the destination MAC"},
	DestinationUnbound:  {"destination_unbound", "the destination port is not bound to a host"},
	RemoteMACMissing:    {"remote_mac_missing", "the gateway device has no remote MAC entry for the destination"},
	ConnectionMissing:   {"l2_gateway_connection_missing", "the network has no L2 gateway connection that leads to the remote site"},
	TunnelHairpin:       {"tunnel_hairpin", "a frame from a tunnel is not bridged into a tunnel"},
	MTUExceeded:         {"mtu_exceeded", "the bridged frame is larger than the path takes"},
	IPMalformed:         {"ip_malformed", "the IP header is wrong: version, length or checksum"},
	IPOptions:           {"ip_options", "routers here forward no packets with IP options"},
	Martian:             {"martian", "the source or destination address may not be routed"},
	RouterNotIP:         {"router_not_ip", "the frame to the router's MAC is not IPv4"},
	NoRoute:             {"no_route", "the router has no route to the destination"},
	NeighborUnknown:     {"neighbor_unknown", "no port of the network has the next hop's address"},
	TTLExceeded:         {"ttl_exceeded", "the TTL ran out at the router"},
	ToRouter:            {"to_router", "the packet is for the router itself, which offers no such service"},
	FragmentationNeeded: {"fragmentation_needed", "the packet is larger than the next MTU and must not be fragmented"},
	RouterLoop:          {"router_loop", "the packet passed too many routers of this site"},
	TunnelIPUnknown:     {"tunnel_ip_unknown", "the outer destination is no gateway device's tunnel IP"},
	VNIUnknown:          {"vni_unknown", "no network is connected to the gateway device with this VNI"},
	VTEPUnknown:         {"vtep_unknown", "the outer source is no VTEP of this VNI's remote MAC table"},
	VTEPSourceMAC:       {"vtep_source_mac", "the inner source MAC does not belong to the VTEP that sent it"},
	VXLANMalformed:      {"vxlan_malformed", "the VXLAN packet is cut short or its lengths contradict each other"},
	VXLANFlags:          {"vxlan_flags", "the VXLAN header's I bit is not set"},
	ECNCongestion:       {"ecn_congestion", "congestion was marked on a packet whose ends do not know ECN (RFC 6040 §4.2)"},
	UnderlayNoRoute:     {"underlay_no_route", "the host has no route to the remote VTEP"},
	SlowPathLimited:     {"slow_path_limited", "the limit of the slow path was reached"},
	Internal:            {"internal", "a kernel helper refused; see the agent's log"},
	NeighborResolving:   {"neighbor_resolving", "who holds the next hop's address is not known yet: the router asks"},
	ARPToRouter:         {"arp_to_router", "the ARP message was for a router, which has taken from it what it says"},
	LearnLimited:        {"learn_limited", "a sender's address was not learned: its port has as many as it may have"},
	LinkLocal:           {"link_local", "the frame from a VLAN is for its link alone (IEEE 802.1Q §8.6.3)"},
	RouterAdvertisement: {"router_advertisement", "port security: a workload may not advertise itself as an IPv6 router"},
	DHCPAnswer:          {"dhcp_answer", "port security: a workload may not answer as a DHCP server"},
	EtherType:           {"ethertype", "port security: the frame is neither ARP nor IPv4 nor IPv6"},
	NotUnderlay:         {"not_underlay", "the tunnel packet came in by an interface that carries no tunnels, or none from its VTEP"},
	VTEPInterface:       {"vtep_interface", "the tunnel packet came in by another interface than those that lead to its VTEP"},
	UnderlayPolicy:      {"underlay_policy", "an IPsec policy of the host speaks of the remote VTEP, which the tunnel would pass by"},
	FloodLimited:        {"flood_limited", "the sender has more broadcasts, or frames to unknown MACs, copied than it may"},
	PathError:           {"path_error", "an ICMP error or redirect about the way to a remote VTEP: anybody can send one, so the host's stack does not hear it"},
	HostUnreachable:     {"host_unreachable", "another host of the site has the destination, and there is no way to that host: none over the fabric, or none from a VLAN"},
	FabricHostUnknown:   {"fabric_host_unknown", "the outer source of the fabric packet is no host of the site"},
	FabricSourceMAC:     {"fabric_source_mac", "the inner source MAC is not one that the host that sent the fabric packet may send from"},
	FabricHairpin:       {"fabric_hairpin", "a frame from the fabric is neither routed nor sent into the fabric again or onto a VLAN"},
	FabricSourceIP:      {"fabric_source_ip", "the ARP sender has an address of allowed address pairs, and the host that sent it has no port with such a pair"},
	AgentDead:           {"agent_dead", "the host's agent has been dead for longer than its --stop-after: nobody vouches any more for what the host would forward"},
}

// Info of r. Unknown numbers get a name that shows the number.
func (r Reason) Info() Info {
	if r < Count {
		return infos[r]
	}
	return Info{fmt.Sprintf("reason_%d", uint8(r)), fmt.Sprintf("unknown reason %d", uint8(r))}
}

// String is the name used in metrics.
func (r Reason) String() string { return r.Info().Name }

// Text is the sentence for people.
func (r Reason) Text() string { return r.Info().Text }

// Parse finds a reason by its name.
func Parse(name string) (Reason, bool) {
	for r, i := range infos {
		if i.Name == name {
			return Reason(r), true
		}
	}
	return None, false
}
