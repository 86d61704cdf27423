package hoststate

import (
	"github.com/causeway-net/causeway/internal/model"
)

// Compiler keeps one host's State up to date: after every change it is what
// Compile would make of the topology, at a cost that follows the change. It is
// for one goroutine, as the Topology is.
type Compiler struct {
	view   view
	state  State
	routes map[model.RouterKey]map[RouteKey]Route
}

// NewCompiler compiles the present state of a host.
func NewCompiler(t *Topology, host model.HostName) *Compiler {
	c := &Compiler{view: view{t, host}, state: Compile(t, host), routes: map[model.RouterKey]map[RouteKey]Route{}}
	for k := range t.routerByKey {
		c.routes[k] = c.view.routes(k)
	}
	return c
}

// State is the host's state. The Compiler goes on changing it: Clone it to keep it.
func (c *Compiler) State() State { return c.state }

// Apply works the touched rows out again and tells what has changed. Revision is
// the caller's to set.
func (c *Compiler) Apply(touched Touched) Delta {
	d := Delta{Set: NewState()}
	update(c.state.Ports, touched.ports, c.view.port, Port.Equal, d.Set.Ports, &d.Unset.Ports)
	update(c.state.Networks, touched.networks, c.view.network, same, d.Set.Networks, &d.Unset.Networks)
	update(c.state.Routers, touched.routers, c.view.router, same, d.Set.Routers, &d.Unset.Routers)
	update(c.state.Endpoints, touched.endpoints, c.view.endpoint, same, d.Set.Endpoints, &d.Unset.Endpoints)
	update(c.state.Neighbors, touched.neighbors, c.view.neighbor, same, d.Set.Neighbors, &d.Unset.Neighbors)
	update(c.state.VNIs, touched.vnis, c.view.vni, same, d.Set.VNIs, &d.Unset.VNIs)
	update(c.state.Peers, touched.peers, c.view.peer, same, d.Set.Peers, &d.Unset.Peers)
	update(c.state.Gateways, touched.gateways, c.view.gateway, Gateway.Equal, d.Set.Gateways, &d.Unset.Gateways)
	update(c.state.VLANs, touched.vlans, c.view.vlan, VLAN.Equal, d.Set.VLANs, &d.Unset.VLANs)
	for k := range touched.routers {
		c.applyRoutes(k, &d)
	}
	return d
}

func update[K comparable, V any](state map[K]V, touched set[K], row func(K) (V, bool), equal func(V, V) bool, changed map[K]V, gone *[]K) {
	for k := range touched {
		old, was := state[k]
		v, is := row(k)
		switch {
		case is && (!was || !equal(old, v)):
			state[k] = v
			changed[k] = v
		case was && !is:
			delete(state, k)
			*gone = append(*gone, k)
		}
	}
}

func (c *Compiler) applyRoutes(k model.RouterKey, d *Delta) {
	old, routes := c.routes[k], c.view.routes(k)
	for key, row := range routes {
		if was, ok := old[key]; !ok || was != row {
			c.state.Routes[key] = row
			d.Set.Routes[key] = row
		}
	}
	for key := range old {
		if _, ok := routes[key]; !ok {
			delete(c.state.Routes, key)
			d.Unset.Routes = append(d.Unset.Routes, key)
		}
	}
	if routes == nil {
		delete(c.routes, k)
		return
	}
	c.routes[k] = routes
}
