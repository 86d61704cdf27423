package hoststate

import (
	"github.com/causeway-net/causeway/internal/model"
)

// Compiler keeps one host's State up to date: after every change it is what
// Compile would make of the topology, at a cost that follows the change. It is
// for one goroutine, as the Topology is.
type Compiler struct {
	view  view
	state State
	ways  map[model.RouterKey]ways
}

// NewCompiler compiles the present state of a host.
func NewCompiler(t *Topology, host model.HostName) *Compiler {
	c := &Compiler{view: view{t, host}, state: Compile(t, host), ways: map[model.RouterKey]ways{}}
	for k := range t.routerByKey {
		c.ways[k] = c.view.ways(k)
	}
	return c
}

// State is the host's state. The Compiler goes on changing it: Clone it to keep it.
func (c *Compiler) State() State { return c.state }

// Apply works the touched rows out again and tells what has changed. Revision is
// the caller's to set.
func (c *Compiler) Apply(touched Touched) Delta {
	d := Delta{Set: NewState()}
	for _, t := range tables {
		t.update(c.view, &c.state, &touched, &d)
	}
	for k := range touched.routers {
		c.applyWays(k, &d)
	}
	return d
}

func (c *Compiler) applyWays(k model.RouterKey, d *Delta) {
	old, now := c.ways[k], c.view.ways(k)
	Routes.replace(&c.state, d, old.routes, now.routes)
	Hops.replace(&c.state, d, old.hops, now.hops)
	if now.routes == nil {
		delete(c.ways, k)
		return
	}
	c.ways[k] = now
}
