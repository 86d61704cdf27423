package sites

import (
	"context"
	"net/url"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// fields are what is asked for of each kind: a remote MAC table in every gateway
// device would be most of the answer.
var (
	networkFields = []string{"id", "name", "description", "tags", "admin_state_up", "port_security_enabled", "mtu", "provider:network_type", "router:external"}
	deviceFields  = []string{"id", "name", "type", "resource_id", "tunnel_ips"}
)

// chunk bounds the ids in one query, so that no URL is too long.
const chunk = 40

// Observe reads what a peering needs to know of a site. What goes wrong is in the
// Problem; only the end of ctx is an error.
func (s *Site) Observe(ctx context.Context, p *peering.Peering) (observed.Site, error) {
	o := &observer{s: s, p: p, spec: p.Site(s.Name), out: observed.Site{Name: s.Name, Endpoint: s.Endpoint()}}
	err := o.all(ctx)
	if ctx.Err() != nil {
		return observed.Site{}, ctx.Err()
	}
	if err != nil {
		return observed.Site{Name: s.Name, Endpoint: s.Endpoint(), Problem: ProblemOf(err)}, nil
	}
	return o.out, nil
}

type observer struct {
	s    *Site
	p    *peering.Peering
	spec *peering.Site
	out  observed.Site
}

func (o *observer) list(ctx context.Context, k client.Collection, q url.Values) (out []client.Attrs, err error) {
	err = o.s.read(ctx, func(ctx context.Context) (err error) {
		out, err = o.s.api.List(ctx, k, q)
		return err
	})
	return out, err
}

// listInto reads a list and converts each item. Something that cannot be understood
// is an error: a plan must not be made on half of what is there.
func listInto[T any](ctx context.Context, o *observer, k client.Collection, q url.Values, into *[]T, convert func(client.Attrs) (T, error)) error {
	all, err := o.list(ctx, k, q)
	if err != nil {
		return err
	}
	out := make([]T, 0, len(all))
	for _, a := range all {
		t, err := convert(a)
		if err != nil {
			return err
		}
		out = append(out, t)
	}
	*into = out
	return nil
}

// all reads in three rounds, each of what the one before has named.
func (o *observer) all(ctx context.Context) error {
	ext, err := o.s.Extensions(ctx)
	if err != nil {
		return err
	}
	if err := missing(ext); err != nil {
		return err
	}
	o.out.Extensions = ext
	if err := o.first(ctx); err != nil {
		return err
	}
	if err := o.findRouter(ctx); err != nil {
		return err
	}
	if err := o.second(ctx); err != nil {
		return err
	}
	return o.third(ctx)
}

// findRouter looks where the peering's own port is if the file's name means no router, or several:
// tenants may rename their routers, and call others the same. An id means what it means.
func (o *observer) findRouter(ctx context.Context) error {
	if len(o.out.Routers) == 1 || client.IsUUID(o.spec.Router) {
		return nil
	}
	on := ""
	for _, n := range o.out.Networks {
		var ports []observed.Port
		if err := listInto(ctx, o, client.Ports, url.Values{"network_id": {n.ID}}, &ports, port); err != nil {
			return err
		}
		for _, p := range ports {
			site, _ := observed.SiteOfTag(o.p.Name, p.Tags, p.Description)
			if site == o.s.Name && p.NetworkID == n.ID && p.DeviceID != "" && observed.OwnerRouterInterface(p.DeviceOwner) {
				on = p.DeviceID
			}
		}
	}
	if on == "" {
		return nil
	}
	if len(o.out.Routers) > 1 {
		i := slices.IndexFunc(o.out.Routers, func(r observed.Router) bool { return r.ID == on })
		if i < 0 {
			return nil
		}
		for _, r := range o.out.Routers {
			if r.ID != on {
				o.out.Namesakes = append(o.out.Namesakes, r.ID)
			}
		}
		o.out.Routers = o.out.Routers[i : i+1]
		return nil
	}
	return byIDs(ctx, o, client.Routers, nil, []string{on}, &o.out.Routers, router)
}

func (o *observer) first(ctx context.Context) error {
	tag := observed.Tag(o.p.Name, o.s.Name)
	var tagged, named []observed.Network
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { o.out.Routers, err = o.routers(ctx, o.spec.Router); return err })
	if o.spec.Gateway.Make() {
		g.Go(func() (err error) {
			o.out.GatewayRouters, err = o.routers(ctx, o.spec.Gateway.Router)
			return err
		})
	}
	g.Go(func() error {
		return listInto(ctx, o, client.GatewayDevices, url.Values{"fields": deviceFields}, &o.out.Devices, device)
	})
	g.Go(func() error { return listInto(ctx, o, client.L2Gateways, nil, &o.out.L2Gateways, l2Gateway) })
	g.Go(func() error {
		return listInto(ctx, o, client.L2GatewayConnections, nil, &o.out.Connections, connection)
	})
	g.Go(func() error {
		return listInto(ctx, o, client.Networks, url.Values{"tags": {tag}, "fields": networkFields}, &tagged, network)
	})
	g.Go(func() error {
		name := observed.NetworkName(o.p.Name, o.s.Name)
		return listInto(ctx, o, client.Networks, url.Values{"name": {name}, "fields": networkFields}, &named, network)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	for _, n := range append(tagged, named...) {
		if site, _ := observed.SiteOfTag(o.p.Name, n.Tags, n.Description); site == o.s.Name {
			o.addNetwork(n)
		}
	}
	return nil
}

func (o *observer) addNetwork(n observed.Network) {
	if o.out.Network(n.ID) == nil {
		o.out.Networks = append(o.out.Networks, n)
	}
}

// routers are those that a name or id means.
func (o *observer) routers(ctx context.Context, nameOrID string) ([]observed.Router, error) {
	var out []observed.Router
	if client.IsUUID(nameOrID) {
		if err := listInto(ctx, o, client.Routers, url.Values{"id": {nameOrID}}, &out, router); err != nil || len(out) > 0 {
			return out, err
		}
	}
	err := listInto(ctx, o, client.Routers, url.Values{"name": {nameOrID}}, &out, router)
	// A server that does not know the filter answers with all.
	return slices.DeleteFunc(out, func(r observed.Router) bool { return r.Name != nameOrID }), err
}

// second reads what hangs on the router, on the networks and on the gateway device.
func (o *observer) second(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if len(o.out.Routers) == 1 {
		id := o.out.Routers[0].ID
		g.Go(func() error {
			err := listInto(ctx, o, client.Ports, url.Values{"device_id": {id}}, &o.out.Interfaces, port)
			o.out.Interfaces = slices.DeleteFunc(o.out.Interfaces, func(p observed.Port) bool { return p.DeviceID != id })
			return err
		})
	}
	if r := plan.GatewayRouter(&o.out); r != nil {
		g.Go(func() error {
			err := listInto(ctx, o, client.Ports, url.Values{"device_id": {r.ID}}, &o.out.GatewayPorts, port)
			o.out.GatewayPorts = slices.DeleteFunc(o.out.GatewayPorts, func(p observed.Port) bool { return p.DeviceID != r.ID })
			return err
		})
	}
	if d := plan.FindDevice(o.spec, &o.out); d != nil && !o.spec.Gateway.Make() && d.Type == "router_vtep" && d.RouterID != "" {
		g.Go(func() error {
			var found []observed.Router
			err := listInto(ctx, o, client.Routers, url.Values{"id": {d.RouterID}}, &found, router)
			if i := slices.IndexFunc(found, func(r observed.Router) bool { return r.ID == d.RouterID }); i >= 0 {
				o.out.VTEPRouter = &found[i]
			}
			return err
		})
	}
	ports := make([][]observed.Port, len(o.out.Networks))
	subnets := make([][]observed.Subnet, len(o.out.Networks))
	for i, n := range o.out.Networks {
		of := url.Values{"network_id": {n.ID}}
		g.Go(func() error { return listInto(ctx, o, client.Ports, of, &ports[i], port) })
		g.Go(func() error { return listInto(ctx, o, client.Subnets, of, &subnets[i], subnet) })
	}
	devices := o.devices()
	macs := make([][]observed.RemoteMAC, len(devices))
	for i, id := range devices {
		g.Go(func() error {
			return listInto(ctx, o, client.RemoteMACEntries(id), nil, &macs[i], func(a client.Attrs) (observed.RemoteMAC, error) { return remoteMAC(a, id) })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	o.out.Ports = slices.Concat(ports...)
	o.out.Subnets = slices.Concat(subnets...)
	o.out.RemoteMACs = slices.Concat(macs...)
	return nil
}

// devices are the gateway devices whose remote MAC tables matter: the site's own,
// and those that the peering's L2 gateways are on.
func (o *observer) devices() []string {
	var out []string
	add := func(id string) {
		if o.out.Device(id) != nil && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	if d := plan.FindDevice(o.spec, &o.out); d != nil {
		add(d.ID)
	}
	for _, g := range o.out.L2Gateways {
		if g.Name == observed.Tag(o.p.Name, o.s.Name) {
			add(g.DeviceID)
		}
	}
	for _, c := range o.out.Connections {
		if g := o.out.L2Gateway(c.L2GatewayID); g != nil && o.out.Network(c.NetworkID) != nil {
			add(g.DeviceID)
		}
	}
	return out
}

// third reads the subnets and networks of the router's interfaces, and the ports of
// a network that could be a hand-made multi-site network.
func (o *observer) third(ctx context.Context) error {
	var subnetIDs, networkIDs []string
	for _, p := range o.out.Interfaces {
		if o.out.Network(p.NetworkID) == nil && !slices.Contains(networkIDs, p.NetworkID) {
			networkIDs = append(networkIDs, p.NetworkID)
		}
		for _, ip := range p.IPs {
			if o.out.Subnet(ip.SubnetID) == nil && !slices.Contains(subnetIDs, ip.SubnetID) {
				subnetIDs = append(subnetIDs, ip.SubnetID)
			}
		}
	}
	var former []string
	for _, p := range o.out.Ports {
		if site, _ := observed.SiteOfTag(o.p.Name, p.Tags, p.Description); site == o.s.Name && observed.OwnerRouterInterface(p.DeviceOwner) &&
			!slices.ContainsFunc(o.out.Routers, func(r observed.Router) bool { return r.ID == p.DeviceID }) {
			former = append(former, p.DeviceID)
		}
	}
	var subnets []observed.Subnet
	var networks []observed.Network
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return byIDs(gctx, o, client.Subnets, nil, subnetIDs, &subnets, subnet) })
	g.Go(func() error { return byIDs(gctx, o, client.Networks, networkFields, networkIDs, &networks, network) })
	g.Go(func() error { return byIDs(gctx, o, client.Routers, nil, former, &o.out.FormerRouters, router) })
	if err := g.Wait(); err != nil {
		return err
	}
	owned := len(o.out.Networks)
	for _, n := range networks {
		o.addNetwork(n)
	}
	o.out.Subnets = append(o.out.Subnets, subnets...)
	if owned > 0 {
		return nil
	}
	for _, s := range subnets {
		if s.CIDR != o.p.Network.CIDR {
			continue
		}
		var ports []observed.Port
		if err := listInto(ctx, o, client.Ports, url.Values{"network_id": {s.NetworkID}}, &ports, port); err != nil {
			return err
		}
		o.out.Ports = append(o.out.Ports, ports...)
	}
	return nil
}

func byIDs[T any](ctx context.Context, o *observer, k client.Collection, fields, ids []string, into *[]T, convert func(client.Attrs) (T, error)) error {
	for some := range slices.Chunk(ids, chunk) {
		q := url.Values{"id": some}
		if fields != nil {
			q["fields"] = fields
		}
		var out []T
		if err := listInto(ctx, o, k, q, &out, convert); err != nil {
			return err
		}
		*into = append(*into, out...)
	}
	return nil
}
