package hostsync

import (
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// decode adds a part's rows to to.
func decode(p *pb.Delta, to *hoststate.Delta) error {
	var d decoder
	d.set(p, &to.Set)
	d.unset(p, &to.Unset)
	return d.err
}

func (d *decoder) set(p *pb.Delta, s *hoststate.State) {
	for _, r := range p.Networks {
		s.Networks[model.NetworkKey(d.key(r.Key))] = hoststate.Network{ID: model.NetworkID(r.Id), Name: r.Name, MTU: int(r.Mtu)}
	}
	for _, r := range p.Routers {
		s.Routers[model.RouterKey(d.key(r.Key))] = hoststate.Router{ID: model.RouterID(r.Id), Name: r.Name}
	}
	for _, r := range p.Ports {
		port := hoststate.Port{
			ID: model.PortID(r.Id), Network: model.NetworkKey(d.key(r.Network)), Interface: r.Interface,
			MAC: d.mac(r.Mac), PortSecurity: r.PortSecurity, Drop: d.reason(r.Drop),
		}
		for _, a := range r.Addrs {
			port.Addrs = append(port.Addrs, d.addr(a))
		}
		for _, a := range r.Pairs {
			port.Pairs = append(port.Pairs, hoststate.Pair{MAC: d.mac(a.GetMac()), Prefix: d.masked(a.GetPrefix())})
		}
		s.Ports[model.PortKey(d.key(r.Key))] = port
	}
	for _, r := range p.Endpoints {
		s.Endpoints[d.endpointKey(r)] = hoststate.Endpoint{
			Kind: hoststate.EndpointKind(d.kind(r.Kind, uint8(hoststate.EndpointDrop))), Port: model.PortKey(r.Port),
			Router: model.RouterKey(r.Router), Addr: d.maybeAddr(r.Addr), TunnelIP: d.maybeAddr(r.TunnelIp),
			VNI: model.VNI(r.Vni), Gateway: model.GatewayDeviceID(r.Gateway), Drop: d.reason(r.Drop),
		}
	}
	for _, r := range p.Neighbors {
		s.Neighbors[d.neighborKey(r)] = d.mac(r.Mac)
	}
	for _, r := range p.Routes {
		s.Routes[d.routeKey(r)] = hoststate.Route{
			Kind: hoststate.RouteKind(d.kind(r.Kind, uint8(hoststate.RouteDrop))), Network: model.NetworkKey(r.Network),
			NextHop: d.maybeAddr(r.Nexthop), MAC: d.mac(r.Mac), Drop: d.reason(r.Drop),
		}
	}
	for _, r := range p.Vnis {
		s.VNIs[d.vniKey(r)] = model.NetworkKey(d.key(r.Network))
	}
	for _, r := range p.Peers {
		s.Peers[d.peerKey(r)] = hoststate.Peer{
			Network: model.NetworkKey(d.key(r.Network)), Gateway: model.GatewayDeviceID(r.Gateway), Drop: d.reason(r.Drop),
		}
	}
	for _, r := range p.Gateways {
		s.Gateways[model.GatewayDeviceID(r.Id)] = d.gateway(r)
	}
	for _, r := range p.Vlans {
		v := hoststate.VLAN{Network: model.NetworkKey(d.key(r.Network)), Gateway: model.GatewayDeviceID(r.Gateway), Port: model.PortID(r.Port), Drop: d.reason(r.Drop)}
		for _, q := range r.Prefixes {
			v.Prefixes = append(v.Prefixes, d.masked(q))
		}
		s.VLANs[d.vlanKey(r)] = v
	}
}

func (d *decoder) gateway(r *pb.GatewayRow) hoststate.Gateway {
	g := hoststate.Gateway{TunnelIP: d.addr(r.TunnelIp), Epoch: r.Epoch, Router: model.RouterKey(r.Router)}
	for _, u := range r.Uplinks {
		g.Uplinks = append(g.Uplinks, hoststate.Uplink{
			Port: model.PortID(u.Port), Interface: u.Interface, MAC: d.mac(u.Mac), Addr: d.prefix(u.Addr), Down: u.Down,
		})
	}
	for _, u := range r.Routes {
		g.Routes = append(g.Routes, hoststate.UnderlayRoute{Prefix: d.masked(u.Prefix), NextHop: d.addr(u.Nexthop)})
	}
	return g
}

func (d *decoder) unset(p *pb.Delta, k *hoststate.Keys) {
	for _, r := range p.GonePorts {
		k.Ports = append(k.Ports, model.PortKey(r))
	}
	for _, r := range p.GoneNetworks {
		k.Networks = append(k.Networks, model.NetworkKey(r))
	}
	for _, r := range p.GoneRouters {
		k.Routers = append(k.Routers, model.RouterKey(r))
	}
	for _, r := range p.GoneEndpoints {
		k.Endpoints = append(k.Endpoints, d.endpointKey(r))
	}
	for _, r := range p.GoneNeighbors {
		k.Neighbors = append(k.Neighbors, d.neighborKey(r))
	}
	for _, r := range p.GoneRoutes {
		k.Routes = append(k.Routes, d.routeKey(r))
	}
	for _, r := range p.GoneVnis {
		k.VNIs = append(k.VNIs, d.vniKey(r))
	}
	for _, r := range p.GonePeers {
		k.Peers = append(k.Peers, d.peerKey(r))
	}
	for _, r := range p.GoneGateways {
		k.Gateways = append(k.Gateways, model.GatewayDeviceID(r))
	}
	for _, r := range p.GoneVlans {
		k.VLANs = append(k.VLANs, d.vlanKey(r))
	}
}

func (d *decoder) vlanKey(r *pb.VLANRow) hoststate.VLANKey {
	if r.Vlan == 0 || r.Vlan > model.MaxVLAN {
		d.fail("VLAN %d", r.Vlan)
		return hoststate.VLANKey{}
	}
	return hoststate.VLANKey{Interface: r.Interface, ID: uint16(r.Vlan)}
}

func (d *decoder) endpointKey(r *pb.EndpointRow) hoststate.EndpointKey {
	return hoststate.EndpointKey{Network: model.NetworkKey(d.key(r.Network)), MAC: d.mac(r.Mac)}
}

func (d *decoder) neighborKey(r *pb.NeighborRow) hoststate.NeighborKey {
	return hoststate.NeighborKey{Network: model.NetworkKey(d.key(r.Network)), IP: d.addr(r.Ip)}
}

func (d *decoder) routeKey(r *pb.RouteRow) hoststate.RouteKey {
	return hoststate.RouteKey{Router: model.RouterKey(d.key(r.Router)), Prefix: d.masked(r.Prefix)}
}

func (d *decoder) vniKey(r *pb.VNIRow) hoststate.VNIKey {
	return hoststate.VNIKey{TunnelIP: d.addr(r.TunnelIp), VNI: d.vni(r.Vni)}
}

func (d *decoder) peerKey(r *pb.PeerRow) hoststate.PeerKey {
	return hoststate.PeerKey{TunnelIP: d.addr(r.TunnelIp), Remote: d.addr(r.Remote), VNI: d.vni(r.Vni)}
}
