package site

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// RouterInput is a router as a request has it.
type RouterInput struct {
	model.Router
	// ExternalNetwork is the network by which the router is to reach the outside.
	ExternalNetwork model.NetworkID
}

// checkExternal refuses every network as the way out, for the reason that holds: no
// network is an external one.
func (t *tx) checkExternal(in *RouterInput) error {
	id := in.ExternalNetwork
	switch {
	case id == "":
		return nil
	case named(t, store.Networks, string(id)) == nil:
		return NetworkNotFound(string(id))
	}
	return model.Errf(model.KindInvalid, "BadRequest", "Bad router request: Network %s is not an external network: external networks do not exist yet.", id)
}

// CreateRouters creates all or none.
func (s *Site) CreateRouters(ctx context.Context, in []*RouterInput) ([]*model.Router, error) {
	var out []*model.Router
	err := s.update(ctx, func(t *tx) error {
		out = nil
		for _, req := range in {
			if err := t.checkExternal(req); err != nil {
				return err
			}
			r := req.Router
			id, err := t.newID(QuotaRouter, r.ProjectID)
			if err != nil {
				return err
			}
			r.ID = model.RouterID(id)
			if err := t.reindex(nil, routerEntries(&r)); err != nil {
				return err
			}
			key, err := t.newKey(store.Routers.Kind(), string(r.ID))
			if err != nil {
				return err
			}
			r.Key = model.RouterKey(key)
			t.stamp(&r.Standard, 1)
			store.Put(t, store.Routers, string(r.ID), &r)
			out = append(out, &r)
		}
		return nil
	})
	return out, err
}

func routerEntries(r *model.Router) []entry {
	return []entry{ownedEntry(QuotaRouter, r.ProjectID, string(r.ID))}
}

// UpdateRouter applies change to a copy of the router and stores it.
func (s *Site) UpdateRouter(ctx context.Context, id string, change func(*RouterInput) error) (*model.Router, error) {
	var out *model.Router
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.Routers, id, RouterNotFound)
		if err != nil {
			return err
		}
		in := RouterInput{Router: *old}
		if err := change(&in); err != nil {
			return err
		}
		if err := t.checkExternal(&in); err != nil {
			return err
		}
		r := in.Router
		if !slices.Equal(r.Routes, old.Routes) {
			if exceeds(r.Routes, old.Routes, t.s.limits.Routes) {
				return routesExhausted(r.ID, t.s.limits.Routes)
			}
			if err := t.checkRoutes(&r, old); err != nil {
				return err
			}
		}
		t.touch(&r.Standard)
		store.Put(t, store.Routers, id, &r)
		out = &r
		return nil
	})
	return out, err
}

// AddRoutes adds what the router does not have yet.
func (s *Site) AddRoutes(ctx context.Context, id string, routes []model.HostRoute) (*model.Router, error) {
	return s.UpdateRouter(ctx, id, func(r *RouterInput) error {
		have := make(map[model.HostRoute]bool, len(r.Routes))
		for _, x := range r.Routes {
			have[x] = true
		}
		all := slices.Clone(r.Routes)
		for _, x := range routes {
			if !have[x] {
				have[x] = true
				all = append(all, x)
			}
		}
		r.Routes = all
		return nil
	})
}

// RemoveRoutes removes routes; those that the router does not have are ignored.
func (s *Site) RemoveRoutes(ctx context.Context, id string, routes []model.HostRoute) (*model.Router, error) {
	return s.UpdateRouter(ctx, id, func(r *RouterInput) error {
		gone := make(map[model.HostRoute]bool, len(routes))
		for _, x := range routes {
			gone[x] = true
		}
		var left []model.HostRoute
		for _, x := range r.Routes {
			if !gone[x] {
				left = append(left, x)
			}
		}
		r.Routes = left
		return nil
	})
}

// DeleteRouter deletes a router without interfaces that no gateway device names.
func (s *Site) DeleteRouter(ctx context.Context, id string, guard func(*model.Router) error) error {
	return s.update(ctx, func(t *tx) error {
		r, err := find(t, store.Routers, id, RouterNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, r); err != nil {
			return err
		}
		if _, used := t.Lookup(ixDeviceOfRouter, id); used {
			return deviceInUse(id, "router")
		}
		if ports := some(keysOf(t, ixPortOfRouter, id+"/")); len(ports) > 0 {
			return conflict("RouterInUse", "Router %s has ports still attached: %s", id, strings.Join(ports, ", "))
		}
		t.freeKey(store.Routers.Kind(), uint32(r.Key))
		store.Delete(t, store.Routers, id)
		return t.reindex(routerEntries(r), nil)
	})
}

// checkRoutes checks a router's extra routes against its interfaces, and those that old
// does not have by themselves.
func (t *tx) checkRoutes(r, old *model.Router) error {
	if len(r.Routes) == 0 {
		return nil
	}
	ports := t.interfaces(r.ID)
	own := portAddrs(ports...)
	connected := t.interfaceSubnets(ports)
	hops := make(map[netip.Prefix]int, len(r.Routes))
	for _, x := range r.Routes {
		if !x.Destination.Addr().Is4() || !x.NextHop.Is4() {
			return Unsupported("IPv6 routes do not exist yet: %s via %s", x.Destination, x.NextHop)
		}
		if hops[x.Destination.Masked()]++; hops[x.Destination.Masked()] > model.MaxNextHops {
			return Unsupported("a router has at most %d next hops for one destination: %s has more", model.MaxNextHops, x.Destination)
		}
		if model.IsUnrouted(x.Destination) && !slices.Contains(old.Routes, x) {
			return invalidRoutes(r.Routes, "no router forwards packets to "+x.Destination.String())
		}
		if own[x.NextHop] {
			return invalidRoutes(r.Routes, "the nexthop is used by router")
		}
		if !slices.ContainsFunc(connected, func(sub *model.Subnet) bool { return sub.CIDR.Contains(x.NextHop) }) {
			return invalidRoutes(r.Routes, "the nexthop is not connected with router")
		}
	}
	return nil
}

func invalidRoutes(routes []model.HostRoute, why string) *model.Error {
	texts := make([]string, 0, min(len(routes), 20))
	for _, x := range routes {
		if len(texts) == 20 {
			texts = append(texts, "...")
			break
		}
		texts = append(texts, fmt.Sprintf("{'destination': '%s', 'nexthop': '%s'}", x.Destination, x.NextHop))
	}
	return model.Errf(model.KindInvalid, "InvalidRoutes", "Invalid format for routes: [%s], %s", strings.Join(texts, ", "), why)
}

// interfaces are a router's ports.
func (t *tx) interfaces(id model.RouterID) []*model.Port {
	var out []*model.Port
	for _, pid := range PortsOfRouter(t, id) {
		if p := store.Get(t, store.Ports, pid); p != nil {
			out = append(out, p)
		}
	}
	return out
}

// interfaceSubnets are the subnets that ports have addresses of.
func (t *tx) interfaceSubnets(ports []*model.Port) []*model.Subnet {
	var out []*model.Subnet
	for _, p := range ports {
		for _, a := range p.FixedIPs {
			if sub := store.Get(t, store.Subnets, string(a.SubnetID)); sub != nil {
				out = append(out, sub)
			}
		}
	}
	return out
}

// checkRoutesWithout makes sure that the router's routes do not need what the
// interface old has and its successor now (nil: it goes) does not.
func (t *tx) checkRoutesWithout(r *model.Router, old, now *model.Port) error {
	if len(r.Routes) == 0 {
		return nil
	}
	var left []*model.Subnet
	if now != nil {
		left = t.interfaceSubnets([]*model.Port{now})
		own := portAddrs(now)
		for _, x := range r.Routes {
			if own[x.NextHop] {
				return invalidRoutes(r.Routes, "the nexthop is used by router")
			}
		}
	}
	for _, sub := range t.interfaceSubnets([]*model.Port{old}) {
		if slices.ContainsFunc(left, func(l *model.Subnet) bool { return l.ID == sub.ID }) {
			continue
		}
		for _, x := range r.Routes {
			if sub.CIDR.Contains(x.NextHop) {
				return interfaceInUseByRoute(r.ID, sub.ID)
			}
		}
	}
	return nil
}
