package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// about holds what the sentence on a drop speaks of.
type about struct {
	mac, want model.MAC
	ip, vtep  netip.Addr
	addrs     []netip.Addr
	net       model.NetworkKey
	port      model.PortKey
	mtu       int
	table     uint32
	iface     string
	words     string
	route     matched
	key       TunnelKey
	ethertype packet.EtherType
	host      model.HostName
}

func (r *run) drop(why reason.Reason, at Object, a about) Result {
	r.mark("drop/" + why.String())
	r.res.Verdict, r.res.Reason, r.res.Output = Drop, why, nil
	if !r.p.quiet {
		found, remedy := r.p.explain(why, at, a)
		r.res.Hops = append(r.res.Hops, Hop{
			At: at.String(), Object: at, Decision: found, Result: "dropped", Reason: why.String(), Remedy: remedy,
		})
	}
	return r.res
}

func (r *run) hopf(at Object, result, format string, args ...any) {
	if r.p.quiet {
		return
	}
	r.res.Hops = append(r.res.Hops, Hop{At: at.String(), Object: at, Decision: fmt.Sprintf(format, args...), Result: result})
}

func (r *run) hopRoute(at Object, m matched, next netip.Addr, mac model.MAC, ttl uint8) {
	if r.p.quiet {
		return
	}
	net := r.p.networkObject(m.route.Network)
	way := fmt.Sprintf("route %s on %s", m.prefix, net)
	if m.route.Kind == hoststate.RouteVia {
		way = fmt.Sprintf("route %s via %s on %s", m.prefix, m.route.NextHop, net)
	}
	switch down := m.hops - m.open; {
	case m.hops == 0:
	case m.open == 0:
		way += fmt.Sprintf(", by the flow's hash one of %d next hops, all of which are down", m.hops)
	case m.open == 1:
		way += fmt.Sprintf(", the only one of %d next hops that is not down", m.hops)
	case down > 0:
		way += fmt.Sprintf(", by the flow's hash one of %d next hops, beside %d that are down", m.open, down)
	default:
		way += fmt.Sprintf(", by the flow's hash one of %d next hops", m.hops)
	}
	r.hopf(at, fmt.Sprintf("TTL %d, to %s at %s", ttl, next, mac), "%s", way)
}

func (p *Pipeline) portObject(k model.PortKey) Object {
	id := string(p.st.Ports[k].ID)
	return Object{Kind: "port", Name: p.env.Names[id], ID: id}
}

func (p *Pipeline) networkObject(k model.NetworkKey) Object {
	n := p.st.Networks[k]
	return Object{Kind: "network", Name: n.Name, ID: string(n.ID)}
}

func (p *Pipeline) routerObject(k model.RouterKey) Object {
	n := p.st.Routers[k]
	return Object{Kind: "router", Name: n.Name, ID: string(n.ID)}
}

func (p *Pipeline) gatewayObject(id model.GatewayDeviceID) Object {
	return Object{Kind: "gateway device", Name: p.env.Names[string(id)], ID: string(id)}
}

// name is what a command takes to name o.
func (o Object) name() string {
	if o.Name != "" {
		return o.Name
	}
	return o.ID
}

// explain puts a drop into words: what was found, and the way out.
func (p *Pipeline) explain(why reason.Reason, at Object, a about) (found, remedy string) {
	net := p.networkObject(a.net)
	switch why {
	case reason.PortUnbound:
		return at.String() + " has no port: none is bound to it, or the host has not heard of it yet",
			"bind one: `causeway port bind PORT --host HOST --interface " + at.Name + "`"
	case reason.PortAdminDown:
		who := "the port with " + a.mac.String()
		if at.Kind == "port" {
			who = at.String()
		} else if a.route.prefix.IsValid() {
			who = fmt.Sprintf("the interface of %s that %s leads to", at, a.route.prefix)
		}
		return who + " has admin_state_up=false", "put it up: `openstack port set --enable PORT`"
	case reason.NetworkAdminDown:
		if a.net == 0 {
			return fmt.Sprintf("the network that %s leads to has admin_state_up=false", a.route.prefix),
				"put it up: `openstack network set --enable NETWORK`"
		}
		return net.String() + " has admin_state_up=false", "put it up: `openstack network set --enable " + net.name() + "`"
	case reason.RouterAdminDown:
		who, name := p.downRouter(at, a)
		return who + " has admin_state_up=false", "put it up: `openstack router set --enable " + name + "`"
	case reason.SpoofMAC:
		return fmt.Sprintf("port security: source MAC %s is not the port's %s, nor in an allowed address pair of it", a.mac, a.want),
			"give the workload's interface the port's MAC, or allow this one: `openstack port set --allowed-address ip-address=ADDRESS,mac-address=" + a.mac.String() + " " + at.name() + "`"
	case reason.SpoofIP:
		return fmt.Sprintf("port security: source address %s is none of the port's (%s), nor in an allowed address pair of it with this MAC", a.ip, joinAddrs(a.addrs)),
			"send from the port's address, or allow this one: `openstack port set --allowed-address ip-address=" + a.ip.String() + " " + at.name() + "`"
	case reason.SpoofARP:
		return fmt.Sprintf("port security: ARP sender %s, %s is not the port", a.mac, a.ip), "use the port's own MAC and address, or allow these as an address pair"
	case reason.RouterAdvertisement:
		return "port security: " + at.String() + " may not advertise itself as an IPv6 router", "switch port security off where the workload is one: `openstack port set --disable-port-security " + at.name() + "`"
	case reason.DHCPAnswer:
		return "port security: " + at.String() + " may not answer as a DHCP server", "switch port security off where the workload is one: `openstack port set --disable-port-security " + at.name() + "`"
	case reason.EtherType:
		return fmt.Sprintf("port security: EtherType 0x%04x is neither ARP nor IPv4 nor IPv6", uint16(a.ethertype)), "switch port security off where the workload needs it: `openstack port set --disable-port-security " + at.name() + "`"
	case reason.AgentDead:
		return why.Text(), "start the agent of that host: `systemctl start causeway-agent`"
	case reason.FloodLimited:
		return why.Text(), "look what the workload sends; a network that needs more wants a higher `--flood-rate` of the agent"
	case reason.HostUnreachable:
		return fmt.Sprintf("%s of %s is on host %s, and from here no way there over the fabric is known", a.mac, net, a.host),
			"look whether both hosts' agents run with a `--fabric-address`"
	case reason.FabricHostUnknown:
		return fmt.Sprintf("no other host of the site has the address %s on the fabric", a.key.Remote), "look who sends with this address to the fabric's UDP port; a host of the site needs an agent that is registered with the address"
	case reason.FabricSourceMAC:
		return fmt.Sprintf("%s of %s is neither on host %s nor a router's that this host speaks for", a.mac, net, a.host), "none is needed where a port has just moved to another host; else look what the other host sends"
	case reason.FabricSourceIP:
		return fmt.Sprintf("%s with %s is what allowed address pairs on %s are of, and no port of host %s has such a pair", a.ip, a.mac, net, a.host), "add the pair to the port on that host; else look what the other host sends"
	case reason.FabricHairpin:
		return why.Text(), "none is needed where a port has just moved to another host; else compare the agents' states of the two hosts"
	case reason.Hairpin:
		return fmt.Sprintf("%s is where the frame came from", a.mac), "send it to somebody else's MAC"
	case reason.L2Unknown:
		return fmt.Sprintf("no port of %s on this host has MAC %s", at, a.mac), "create the port, or correct the MAC"
	case reason.DestinationUnbound:
		who := "the port with MAC " + a.mac.String()
		if a.port != 0 && p.st.Ports[a.port].ID != "" {
			who = p.portObject(a.port).String()
		}
		return fmt.Sprintf("%s of %s is not bound to an interface of this host", who, net),
			"bind it: `causeway port bind PORT --host HOST --interface INTERFACE`"
	case reason.RemoteMACMissing:
		return p.explainRemoteMAC(net, a)
	case reason.ConnectionMissing:
		return fmt.Sprintf("%s has no L2 gateway connection, and %s belongs to another site", net, a.mac),
			"connect it: `causeway l2-gateway-connection create L2-GATEWAY " + net.name() + "`"
	case reason.TunnelHairpin:
		return fmt.Sprintf("%s is at another site too (VTEP %s): nothing is bridged from one tunnel into another", a.mac, a.ip),
			"let the sites reach each other directly: each needs a remote MAC entry of the other"
	case reason.MTUExceeded:
		return fmt.Sprintf("the packet is larger than the %d bytes that the way to %s takes", a.mtu, a.mac),
			"send smaller packets: set the workload's MTU to the network's, and the network's to what the underlay takes less 50"
	case reason.NoRoute:
		return fmt.Sprintf("%s has no route to %s", at, a.ip),
			"add one: `openstack router add route --route destination=PREFIX,gateway=NEXTHOP " + at.name() + "`"
	case reason.NeighborUnknown:
		return fmt.Sprintf("no port of %s has the address %s", net, a.ip),
			fmt.Sprintf("create it; for a router of another site: `openstack port create --network %s --fixed-ip ip-address=%s --mac-address MAC --device-owner network:remote_site NAME`", net.name(), a.ip)
	case reason.NeighborResolving:
		who := "may be on a VLAN"
		if ports := p.holders(a.net, a.ip); len(ports) > 0 {
			who = "is an allowed address pair of " + p.portNames(ports)
		}
		return fmt.Sprintf("%s of %s %s: who has it is learned on the host, where the router asks by ARP if it does not know", a.ip, net, who),
			"packets pass when the one that has it has answered; if none does, look whether a workload has the address"
	case reason.ARPToRouter:
		return fmt.Sprintf("%s belongs to a router, which answers ARP requests for its address and takes from other ARP what it says", a.mac), "none is needed"
	case reason.LearnLimited:
		return why.Text(), "give the port narrower allowed address pairs"
	case reason.TTLExceeded:
		return "the TTL ran out at " + at.String(), "send with a larger TTL"
	case reason.ToRouter:
		return fmt.Sprintf("%s is an address of %s, which answers pings and nothing else", a.ip, at), "send it to a workload"
	case reason.FragmentationNeeded:
		return fmt.Sprintf("the packet is larger than the %d bytes that the way out of %s takes, and must not be cut", a.mtu, at),
			"send smaller packets (a sender with path MTU discovery does so by itself)"
	case reason.RouterLoop:
		return fmt.Sprintf("the packet passed %d routers of this site", MaxRouters), "look for extra routes that point at each other"
	case reason.TunnelIPUnknown:
		return fmt.Sprintf("no gateway device on this host has the tunnel IP %s", a.ip),
			"correct the other site's remote MAC entries, or this site's tunnel IP: `causeway gateway-device update DEVICE --tunnel-ip " + a.ip.String() + "`"
	case reason.VNIUnknown:
		return fmt.Sprintf("no network is connected to %s with VNI %d", at, a.key.VNI),
			fmt.Sprintf("connect one: `causeway l2-gateway create NAME --gateway-device %s --segmentation-id %d`, then `causeway l2-gateway-connection create NAME NETWORK`; both sites need the same VNI", at.name(), a.key.VNI)
	case reason.VTEPUnknown:
		return fmt.Sprintf("no remote MAC entry with VNI %d on %s leads to VTEP %s", a.key.VNI, at, a.key.Remote),
			fmt.Sprintf("create one: `causeway remote-mac create --gateway-device %s --mac-address MAC --vtep-address %s --segmentation-id %d`", at.name(), a.key.Remote, a.key.VNI)
	case reason.VTEPSourceMAC:
		return fmt.Sprintf("no remote MAC entry says that %s with VNI %d is at VTEP %s", a.mac, a.key.VNI, a.key.Remote),
			fmt.Sprintf("if it is: `causeway remote-mac create --gateway-device %s --mac-address %s --vtep-address %s --segmentation-id %d`", at.name(), a.mac, a.key.Remote, a.key.VNI)
	case reason.NotUnderlay:
		return fmt.Sprintf("the tunnel packet from VTEP %s came in by an interface that carries no tunnels, or none from it", a.key.Remote),
			"if it may come in there: route to the VTEP by that interface, and name it with `causeway agent --underlay-interface`"
	case reason.VTEPInterface:
		return fmt.Sprintf("the tunnel packet from VTEP %s came in by interface %s, and the host's routes to it lead by others", a.key.Remote, a.iface),
			"if it may come in there: give the host a route to the VTEP by that interface too, or start its agent with `--underlay-reverse-path off`"
	case reason.UnderlayPolicy:
		return fmt.Sprintf("an IPsec policy of the host speaks of VTEP %s, and tunnels pass the kernel's IPsec by", a.vtep),
			"start the host's agent with `--underlay-output kernel`, or take the policy away (`ip xfrm policy`)"
	case reason.UnderlayNoRoute:
		if a.words != "" {
			return fmt.Sprintf("nothing leaves for VTEP %s: %s", a.ip, a.words), "mend it on the host that serves the gateway device"
		}
		return fmt.Sprintf("the host has no route to VTEP %s in its routing table %d", a.ip, a.table),
			"add a route to it on the gateway host, or on the VTEP router where that is the edge router"
	}
	return why.Text(), ""
}

// downRouter finds the router that is down: the one whose interface has the MAC, or
// else the VTEP router of the network's gateway device. State need not name either.
func (p *Pipeline) downRouter(at Object, a about) (who, name string) {
	if at.Kind == "router" {
		return at.String(), at.name()
	}
	if !a.mac.IsZero() {
		for k, r := range p.st.Routes {
			if o := p.routerObject(k.Router); r.MAC == a.mac && r.Network == a.net && o.ID != "" {
				return o.String(), o.name()
			}
		}
	}
	for _, c := range p.connections(a.net) {
		device := p.tunnels[c.TunnelIP]
		if o := p.routerObject(p.st.Gateways[device].Router); o.ID != "" {
			return "the VTEP " + o.String(), o.name()
		}
	}
	if a.mac.IsZero() {
		return "the VTEP router of the gateway device", "ROUTER"
	}
	return fmt.Sprintf("the router with %s, or the VTEP router on the way there,", a.mac), "ROUTER"
}

func (p *Pipeline) explainRemoteMAC(net Object, a about) (found, remedy string) {
	var where, how []string
	for _, c := range p.connections(a.net) {
		g := p.gatewayObject(p.tunnels[c.TunnelIP])
		where = append(where, fmt.Sprintf("with VNI %d on %s", c.VNI, g))
		how = append(how, fmt.Sprintf("`causeway remote-mac create --gateway-device %s --mac-address %s --vtep-address REMOTE-TUNNEL-IP --segmentation-id %d`",
			g.name(), a.mac, c.VNI))
	}
	if len(where) == 0 {
		return fmt.Sprintf("no remote MAC entry for %s of %s", a.mac, net), "create one: `causeway remote-mac create`"
	}
	return fmt.Sprintf("no remote MAC entry for %s %s", a.mac, strings.Join(where, " or ")),
		"create one: " + strings.Join(how, " or ")
}

func (p *Pipeline) portNames(ks []model.PortKey) string {
	s := make([]string, len(ks))
	for i, k := range ks {
		s[i] = p.portObject(k).String()
	}
	return strings.Join(s, " and of ")
}

func joinAddrs(as []netip.Addr) string {
	if len(as) == 0 {
		return "it has none"
	}
	s := make([]string, len(as))
	for i, a := range as {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}
