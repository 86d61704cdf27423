package site

import (
	"context"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Interface is what adding or removing a router's interface answers.
type Interface struct {
	RouterID  model.RouterID
	ProjectID model.ProjectID
	PortID    model.PortID
	NetworkID model.NetworkID
	SubnetIDs []model.SubnetID
}

func interfaceOf(r *model.Router, p *model.Port) Interface {
	out := Interface{RouterID: r.ID, ProjectID: r.ProjectID, PortID: p.ID, NetworkID: p.NetworkID}
	for _, a := range p.FixedIPs {
		out.SubnetIDs = append(out.SubnetIDs, a.SubnetID)
	}
	return out
}

// AddInterface connects a router to a subnet, by a new port with the subnet's
// gateway address, or by an existing port. Exactly one of subnet and port is given.
func (s *Site) AddInterface(ctx context.Context, router string, subnet, port string) (Interface, error) {
	var out Interface
	err := s.update(ctx, func(t *tx) error {
		r, err := find(t, store.Routers, router, RouterNotFound)
		if err != nil {
			return err
		}
		var p *model.Port
		switch {
		case subnet != "" && port != "":
			return badRequest("router", "Cannot specify both subnet-id and port-id")
		case port != "":
			p, err = t.attachPort(r, port)
		case subnet != "":
			p, err = t.attachSubnet(r, subnet)
		default:
			return badRequest("router", "Either subnet_id or port_id must be specified")
		}
		if err != nil {
			return err
		}
		t.reviseRouter(r)
		out = interfaceOf(r, p)
		return nil
	})
	return out, err
}

// reviseRouter counts a change of a router's interfaces as one of the router.
func (t *tx) reviseRouter(old *model.Router) {
	r := *old
	t.touch(&r.Standard)
	store.Put(t, store.Routers, string(r.ID), &r)
}

func (t *tx) attachSubnet(r *model.Router, id string) (*model.Port, error) {
	sub, err := find(t, store.Subnets, id, SubnetNotFound)
	if err != nil {
		return nil, err
	}
	if !sub.Gateway.IsValid() {
		return nil, badRequest("router", "Subnet for router interface must have a gateway IP")
	}
	// The router's own rules come before the address's: who adds the same subnet
	// twice should read that, not that the address is taken.
	probe := &model.Port{NetworkID: sub.NetworkID, FixedIPs: []model.AddrPair{{SubnetID: sub.ID, IP: sub.Gateway}}}
	if err := t.checkInterfacePort(r, probe, ""); err != nil {
		return nil, err
	}
	return t.createPort(PortInput{
		Port: model.Port{
			Standard:     model.Standard{ProjectID: r.ProjectID},
			NetworkID:    sub.NetworkID,
			AdminStateUp: true,
			DeviceOwner:  model.OwnerRouterInterface,
			DeviceID:     string(r.ID),
		},
		Requests:          []FixedIP{{SubnetID: sub.ID, IP: sub.Gateway}},
		PortSecurityGiven: true, // off: a router sends from every address
	})
}

func (t *tx) attachPort(r *model.Router, id string) (*model.Port, error) {
	old, err := find(t, store.Ports, id, PortNotFound)
	if err != nil {
		return nil, err
	}
	if old.DeviceID != "" {
		return nil, portInUse(old)
	}
	if old.IsRemoteSite() {
		return nil, badRequest("router", "Port %s is a remote-site port: it belongs to a router of another site", id)
	}
	if err := t.checkInterfacePort(r, old, old.ID); err != nil {
		return nil, err
	}
	p := *old
	p.DeviceOwner, p.DeviceID = model.OwnerRouterInterface, string(r.ID)
	net, err := find(t.Tx, store.Networks, string(p.NetworkID), NetworkNotFound)
	if err != nil {
		return nil, err
	}
	if err := t.checkPort(&p, old, net); err != nil {
		return nil, err
	}
	// A route whose next hop becomes the router's own address would loop.
	own := portAddrs(&p)
	for _, x := range r.Routes {
		if own[x.NextHop] {
			return nil, invalidRoutes(r.Routes, "the nexthop is used by router")
		}
	}
	if err := t.storePort(old, &p); err != nil {
		return nil, err
	}
	return &p, nil
}

// checkInterfacePort checks a port's addresses against the router's other
// interfaces. self is the port itself where it is an interface already.
func (t *tx) checkInterfacePort(r *model.Router, p *model.Port, self model.PortID) error {
	switch {
	case len(p.FixedIPs) == 0:
		return badRequest("router", "Router port must have at least one fixed IP")
	case len(p.FixedIPs) > 1:
		return badRequest("router", "Cannot have multiple IPv4 subnets on router port")
	}
	sub, err := find(t.Tx, store.Subnets, string(p.FixedIPs[0].SubnetID), SubnetNotFound)
	if err != nil {
		return err
	}
	if u, some := model.UnroutedIn(sub.CIDR); some {
		return badRequest("router", "Cidr %s of subnet %s has addresses of %s, which no router forwards", sub.CIDR, sub.ID, u)
	}
	for _, other := range t.interfaces(r.ID) {
		if other.ID == self {
			continue
		}
		for _, o := range t.interfaceSubnets([]*model.Port{other}) {
			if o.ID == sub.ID {
				return badRequest("router", "Router already has a port on subnet %s", sub.ID)
			}
			if o.CIDR.Overlaps(sub.CIDR) {
				return badRequest("router", "Cidr %s of subnet %s overlaps with cidr %s of subnet %s", sub.CIDR, sub.ID, o.CIDR, o.ID)
			}
		}
	}
	return nil
}

// RemoveInterface takes an interface away by subnet, by port, or by both, and
// deletes its port, as Neutron does also for a port that somebody else made.
func (s *Site) RemoveInterface(ctx context.Context, router string, subnet, port string) (Interface, error) {
	var out Interface
	err := s.update(ctx, func(t *tx) error {
		r, err := find(t, store.Routers, router, RouterNotFound)
		if err != nil {
			return err
		}
		p, err := t.interfaceBy(r, subnet, port)
		if err != nil {
			return err
		}
		if err := t.checkRoutesWithout(r, p, nil); err != nil {
			return err
		}
		t.reviseRouter(r)
		out = interfaceOf(r, p)
		return t.removePort(p)
	})
	return out, err
}

// interfaceBy finds the interface that a removal means.
func (t *tx) interfaceBy(r *model.Router, subnet, port string) (*model.Port, error) {
	if subnet == "" && port == "" {
		return nil, badRequest("router", "Either subnet_id or port_id must be specified")
	}
	if port == "" {
		id, ok := t.Lookup(ixSubnetOfRouter, join(r.ID, subnet))
		if !ok {
			// Of an interface the subnet may be one that the caller sees no more.
			if _, err := find(t, store.Subnets, subnet, SubnetNotFound); err != nil {
				return nil, err
			}
			return nil, model.Errf(model.KindNotFound, "RouterInterfaceNotFoundForSubnet", "Router %s has no interface on subnet %s", r.ID, subnet)
		}
		port = id
	}
	p := store.Get(t, store.Ports, port)
	if p == nil || !isInterface(p) || p.DeviceID != string(r.ID) {
		return nil, model.Errf(model.KindNotFound, "RouterInterfaceNotFound", "Router %s does not have an interface with id %s", r.ID, port)
	}
	if subnet != "" && p.FixedIPs[0].SubnetID != model.SubnetID(subnet) {
		return nil, conflict("SubnetMismatchForPort", "Subnet on port %s does not match the requested subnet %s.", port, subnet)
	}
	return p, nil
}
