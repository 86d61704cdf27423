package hostsync

import (
	"fmt"
	"iter"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

func addrBytes(a netip.Addr) []byte { return a.AsSlice() }

func prefixOf(p netip.Prefix) *pb.Prefix {
	return &pb.Prefix{Addr: p.Addr().AsSlice(), Bits: uint32(p.Bits())}
}

func macBytes(m model.MAC) []byte { return m[:] }

func endpointRow(k hoststate.EndpointKey, e hoststate.Endpoint) *pb.EndpointRow {
	return &pb.EndpointRow{
		Network: uint32(k.Network), Mac: macBytes(k.MAC), Kind: uint32(e.Kind), Port: uint32(e.Port),
		Router: uint32(e.Router), Addr: addrBytes(e.Addr), TunnelIp: addrBytes(e.TunnelIP),
		Vni: uint32(e.VNI), Gateway: string(e.Gateway), Drop: uint32(e.Drop),
	}
}

func portRow(k model.PortKey, p hoststate.Port) *pb.PortRow {
	row := &pb.PortRow{
		Key: uint32(k), Id: string(p.ID), Network: uint32(p.Network), Interface: p.Interface,
		Mac: macBytes(p.MAC), PortSecurity: p.PortSecurity, Drop: uint32(p.Drop),
	}
	for _, a := range p.Addrs {
		row.Addrs = append(row.Addrs, addrBytes(a))
	}
	for _, a := range p.Pairs {
		row.Pairs = append(row.Pairs, &pb.PairRow{Mac: macBytes(a.MAC), Prefix: prefixOf(a.Prefix)})
	}
	return row
}

func routeRow(k hoststate.RouteKey, r hoststate.Route) *pb.RouteRow {
	return &pb.RouteRow{
		Router: uint32(k.Router), Prefix: prefixOf(k.Prefix), Kind: uint32(r.Kind), Network: uint32(r.Network),
		Nexthop: addrBytes(r.NextHop), Mac: macBytes(r.MAC), Drop: uint32(r.Drop),
	}
}

func gatewayRow(id model.GatewayDeviceID, g hoststate.Gateway) *pb.GatewayRow {
	row := &pb.GatewayRow{Id: string(id), TunnelIp: addrBytes(g.TunnelIP), Epoch: g.Epoch, Router: uint32(g.Router)}
	for _, u := range g.Uplinks {
		row.Uplinks = append(row.Uplinks, &pb.UplinkRow{
			Port: string(u.Port), Interface: u.Interface, Mac: macBytes(u.MAC), Addr: prefixOf(u.Addr), Down: u.Down,
		})
	}
	for _, r := range g.Routes {
		row.Routes = append(row.Routes, &pb.UnderlayRouteRow{Prefix: prefixOf(r.Prefix), Nexthop: addrBytes(r.NextHop)})
	}
	return row
}

func vlanRow(k hoststate.VLANKey, v hoststate.VLAN) *pb.VLANRow {
	row := &pb.VLANRow{
		Interface: k.Interface, Vlan: uint32(k.ID), Network: uint32(v.Network), Gateway: string(v.Gateway), Drop: uint32(v.Drop),
		Port: string(v.Port),
	}
	for _, p := range v.Prefixes {
		row.Prefixes = append(row.Prefixes, prefixOf(p))
	}
	return row
}

// encode cuts a delta into parts of about n rows; there is at least one.
func encode(d hoststate.Delta, n int) iter.Seq[*pb.Delta] {
	return func(yield func(*pb.Delta) bool) {
		part, rows, going := &pb.Delta{Revision: d.Revision, Full: d.Full}, 0, true
		// next is the part that takes one more row; nil: the receiver has had enough.
		next := func() *pb.Delta {
			if going && rows == n {
				part.More = true
				going = yield(part)
				part, rows = &pb.Delta{Revision: d.Revision, Full: d.Full}, 0
			}
			if !going {
				return nil
			}
			rows++
			return part
		}
		encodeRows(d, next)
		if going {
			yield(part)
		}
	}
}

func encodeRows(d hoststate.Delta, next func() *pb.Delta) {
	each(d.Set.Networks, next, func(p *pb.Delta, k model.NetworkKey, v hoststate.Network) {
		p.Networks = append(p.Networks, &pb.NetworkRow{Key: uint32(k), Id: string(v.ID), Name: v.Name, Mtu: uint32(v.MTU)})
	})
	each(d.Set.Routers, next, func(p *pb.Delta, k model.RouterKey, v hoststate.Router) {
		p.Routers = append(p.Routers, &pb.RouterRow{Key: uint32(k), Id: string(v.ID), Name: v.Name})
	})
	each(d.Set.Ports, next, func(p *pb.Delta, k model.PortKey, v hoststate.Port) {
		p.Ports = append(p.Ports, portRow(k, v))
	})
	each(d.Set.Endpoints, next, func(p *pb.Delta, k hoststate.EndpointKey, v hoststate.Endpoint) {
		p.Endpoints = append(p.Endpoints, endpointRow(k, v))
	})
	each(d.Set.Neighbors, next, func(p *pb.Delta, k hoststate.NeighborKey, v model.MAC) {
		p.Neighbors = append(p.Neighbors, &pb.NeighborRow{Network: uint32(k.Network), Ip: addrBytes(k.IP), Mac: macBytes(v)})
	})
	each(d.Set.Routes, next, func(p *pb.Delta, k hoststate.RouteKey, v hoststate.Route) {
		p.Routes = append(p.Routes, routeRow(k, v))
	})
	each(d.Set.VNIs, next, func(p *pb.Delta, k hoststate.VNIKey, v model.NetworkKey) {
		p.Vnis = append(p.Vnis, &pb.VNIRow{TunnelIp: addrBytes(k.TunnelIP), Vni: uint32(k.VNI), Network: uint32(v)})
	})
	each(d.Set.Peers, next, func(p *pb.Delta, k hoststate.PeerKey, v hoststate.Peer) {
		p.Peers = append(p.Peers, &pb.PeerRow{
			TunnelIp: addrBytes(k.TunnelIP), Remote: addrBytes(k.Remote), Vni: uint32(k.VNI),
			Network: uint32(v.Network), Gateway: string(v.Gateway), Drop: uint32(v.Drop),
		})
	})
	each(d.Set.Gateways, next, func(p *pb.Delta, k model.GatewayDeviceID, v hoststate.Gateway) {
		p.Gateways = append(p.Gateways, gatewayRow(k, v))
	})
	each(d.Set.VLANs, next, func(p *pb.Delta, k hoststate.VLANKey, v hoststate.VLAN) {
		p.Vlans = append(p.Vlans, vlanRow(k, v))
	})
	gone(d.Unset.Ports, next, func(p *pb.Delta, k model.PortKey) { p.GonePorts = append(p.GonePorts, uint32(k)) })
	gone(d.Unset.Networks, next, func(p *pb.Delta, k model.NetworkKey) { p.GoneNetworks = append(p.GoneNetworks, uint32(k)) })
	gone(d.Unset.Routers, next, func(p *pb.Delta, k model.RouterKey) { p.GoneRouters = append(p.GoneRouters, uint32(k)) })
	gone(d.Unset.Endpoints, next, func(p *pb.Delta, k hoststate.EndpointKey) {
		p.GoneEndpoints = append(p.GoneEndpoints, &pb.EndpointRow{Network: uint32(k.Network), Mac: macBytes(k.MAC)})
	})
	gone(d.Unset.Neighbors, next, func(p *pb.Delta, k hoststate.NeighborKey) {
		p.GoneNeighbors = append(p.GoneNeighbors, &pb.NeighborRow{Network: uint32(k.Network), Ip: addrBytes(k.IP)})
	})
	gone(d.Unset.Routes, next, func(p *pb.Delta, k hoststate.RouteKey) {
		p.GoneRoutes = append(p.GoneRoutes, &pb.RouteRow{Router: uint32(k.Router), Prefix: prefixOf(k.Prefix)})
	})
	gone(d.Unset.VNIs, next, func(p *pb.Delta, k hoststate.VNIKey) {
		p.GoneVnis = append(p.GoneVnis, &pb.VNIRow{TunnelIp: addrBytes(k.TunnelIP), Vni: uint32(k.VNI)})
	})
	gone(d.Unset.Peers, next, func(p *pb.Delta, k hoststate.PeerKey) {
		p.GonePeers = append(p.GonePeers, &pb.PeerRow{TunnelIp: addrBytes(k.TunnelIP), Remote: addrBytes(k.Remote), Vni: uint32(k.VNI)})
	})
	gone(d.Unset.VLANs, next, func(p *pb.Delta, k hoststate.VLANKey) {
		p.GoneVlans = append(p.GoneVlans, vlanRow(k, hoststate.VLAN{}))
	})
	gone(d.Unset.Gateways, next, func(p *pb.Delta, k model.GatewayDeviceID) { p.GoneGateways = append(p.GoneGateways, string(k)) })
}

func each[K comparable, V any](rows map[K]V, next func() *pb.Delta, add func(*pb.Delta, K, V)) {
	for k, v := range rows {
		p := next()
		if p == nil {
			return
		}
		add(p, k, v)
	}
}

func gone[K any](keys []K, next func() *pb.Delta, add func(*pb.Delta, K)) {
	for _, k := range keys {
		p := next()
		if p == nil {
			return
		}
		add(p, k)
	}
}

// decoder reads rows; its first error sticks.
type decoder struct{ err error }

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("delta: "+format, args...)
	}
}

func (d *decoder) mac(b []byte) (m model.MAC) {
	if len(b) != len(m) {
		d.fail("a MAC of %d bytes", len(b))
		return m
	}
	return model.MAC(b)
}

// addr reads an address that must be there; maybeAddr one that need not.
func (d *decoder) addr(b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		d.fail("an address of %d bytes", len(b))
	}
	return a
}

func (d *decoder) maybeAddr(b []byte) netip.Addr {
	if len(b) == 0 {
		return netip.Addr{}
	}
	return d.addr(b)
}

func (d *decoder) prefix(p *pb.Prefix) netip.Prefix {
	q := netip.PrefixFrom(d.addr(p.GetAddr()), int(min(p.GetBits(), 255)))
	if !q.IsValid() {
		d.fail("prefix %v/%d", q.Addr(), p.GetBits())
	}
	return q
}

func (d *decoder) masked(p *pb.Prefix) netip.Prefix {
	q := d.prefix(p)
	if q != q.Masked() {
		d.fail("prefix %v has host bits", q)
	}
	return q
}

func (d *decoder) key(k uint32) uint32 {
	if k == 0 || k > model.MaxKey {
		d.fail("key %d", k)
	}
	return k
}

func (d *decoder) vni(v uint32) model.VNI {
	if v == 0 || v > model.MaxVNI {
		d.fail("VNI %d", v)
	}
	return model.VNI(v)
}

func (d *decoder) reason(r uint32) reason.Reason {
	if r >= uint32(reason.Count) {
		d.fail("drop reason %d", r)
		return reason.Internal
	}
	return reason.Reason(r)
}

func (d *decoder) kind(k uint32, last uint8) uint8 {
	if k == 0 || k > uint32(last) {
		d.fail("kind %d", k)
		return last
	}
	return uint8(k)
}
